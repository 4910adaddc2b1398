"""Evaluation and batches as Prefect flows, for prefect.yaml to deploy beside the main job."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Failed

from flows.artifacts import Row, show_progress, show_table
from flows.batch import plan_batch, run_batch
from flows.evaluate import evaluate
from flows.learn_settings import EvaluateSettings
from flows.patience import PATIENT
from flows.progress import log_end, stopped_by_signals
from flows.scorebook import SHOWN
from flows.settings import BatchSettings
from pipeline.datasets import Name


@task(name="evaluate", **PATIENT)
def evaluate_task(settings: EvaluateSettings, dataset: Name, root: str, out: str) -> dict[str, Any]:
    """Score the checkpoint; returns what evaluation.json holds."""
    return evaluate(settings, dataset, root, Path(out), get_run_logger().info)


@flow(name="evaluate", persist_result=False)
def evaluate_flow(
    settings: EvaluateSettings, dataset: Name, root: str, out: str
) -> dict[str, Any] | State[Any]:
    """Score a checkpoint on the scenes under ``root``; cubes, JSON and CSV go to ``out``.

    It fails where scenes failed, after the others.
    """
    whole = evaluate_task(settings, dataset, root, out)
    rows = [*whole["scenes"], *({"scene": "mean", **row} for row in whole["means"])]
    shown = [{key: row[key] for key in ("scene", "method", *SHOWN)} for row in rows]
    show_table("scores", shown, "A row a scene and method, and their means")
    if failed := whole["failed"]:
        return Failed(message=f"{len(failed)} scenes could not be scored: {[*failed][:3]}")
    return whole


@flow(name="batch", persist_result=False)
def batch_flow(settings: BatchSettings) -> list[Row] | State[Any]:
    """Reconstruct many rasters, one after the other; returns the rows of the report.

    Run again it goes on with what is not done. It fails where scenes failed, or where another run
    is writing one, after the others.
    """
    with stopped_by_signals() as stop:
        planned = plan_batch(settings, stop)
        done = show_progress(len(planned.entries), "scenes")

        def ended(row: Row) -> None:
            log_end(row)
            done(1)

        rows = run_batch(planned, stop, ended)
    show_table("scenes", rows, "What became of each scene")
    if any(row["state"] in ("stopped", "waiting") for row in rows):
        return Cancelled(message="told to stop; run it again")
    if failed := [row["source"] for row in rows if row["state"] == "failed"]:
        return Failed(message=f"{len(failed)} of {len(rows)} scenes failed: {failed[:3]}")
    if busy := [row["source"] for row in rows if row["state"] == "busy"]:
        return Failed(message=f"another run is writing {busy[:3]}; run it again later")
    return rows
