"""Evaluation and training as Prefect flows, for prefect.yaml to deploy beside the main job."""

from pathlib import Path

from prefect import flow, get_run_logger, task

from flows.artifacts import Row, show_progress, show_table
from flows.evaluate import evaluate
from flows.settings import EvaluateSettings, TrainSettings
from flows.tasks import PATIENT
from flows.train import train


@task(name="evaluate", **PATIENT)
def evaluate_task(settings: EvaluateSettings, root: str, out: str) -> list[Row]:
    """Score the checkpoint; a row a scene and method."""
    return evaluate(settings, Path(root), Path(out), get_run_logger().info)


@flow(name="evaluate", persist_result=False)
def evaluate_flow(settings: EvaluateSettings, root: str, out: str) -> list[Row]:
    """Score a checkpoint on the scenes under ``root``; cubes and figures go to ``out``."""
    rows = evaluate_task(settings, root, out)
    show_table("scores", rows, "A row a scene and method, and their means")
    return rows


@task(name="train", **PATIENT)
def train_task(settings: TrainSettings, root: str, out: str) -> str:
    """Train; a try after the first goes on from the last save."""
    advance, seen = show_progress(settings.iterations, "iterations"), 0

    def report(iteration: int, _loss: float) -> None:
        nonlocal seen
        advance(iteration - seen)
        seen = iteration

    return str(train(settings, Path(root), Path(out), report))


@flow(name="train", persist_result=False)
def train_flow(settings: TrainSettings, root: str, out: str) -> str:
    """Train a checkpoint on the scenes under ``root`` into ``out``; returns its path.

    Run again with the same ``out`` it goes on from the last save.
    """
    return train_task(settings, root, out)
