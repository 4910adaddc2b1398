"""The main job as a Prefect flow: plan, one task a region, seal.

Between tasks pass URIs and windows only, and Prefect keeps no results: what is done is read from
the cube itself, so a task that runs again changes nothing.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Any, cast

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows.artifacts import Row, show_progress, show_report, show_table
from flows.finish import finish, stages
from flows.job import Job
from flows.patience import PATIENT
from flows.progress import stopped_by_signals
from flows.reconstruct import check, prepare, run_region
from flows.regions import going_on, opened, tiles_to_do
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube
from pipeline.errors import Stopped, by_itself
from pipeline.grid import Window
from pipeline.lock import locked
from pipeline.plan import Parts
from pipeline.redact import redact
from pipeline.store import use_endpoint

REGIONS = Parts(16)
"""Tasks of a run, where tiles computed twice allow it: each is shown, retried and stopped alone."""


def _job(settings: ReconstructSettings) -> Job:
    return opened(settings, REGIONS, str(flow_run.id))


@task(name="plan", **PATIENT)
def plan_task(settings: ReconstructSettings) -> list[tuple[int, int, int, int]]:
    """Open, check and create; returns the regions as (row, col, height, width)."""
    with by_itself():
        job = _job(going_on(settings, str(flow_run.id)))
        check(job)
        prepare(job)
    get_run_logger().info(redact(job.assumptions))
    return [(r.row, r.col, r.height, r.width) for r in job.plan.regions]


@task(name="region", **PATIENT)
def region_task(
    settings: ReconstructSettings,
    region: tuple[int, int, int, int],
    stop: Event,
    done: Callable[[int], None],
) -> Row | State[Any]:
    """Write what one region lacks; returns its row of the table, or that it was cancelled."""
    start, window = time.perf_counter(), Window(*region)
    try:
        with by_itself():
            tiles = run_region(_job(settings), window, stop, done)
    except Stopped:
        return Cancelled(message="told to stop; what was summed is written")
    seconds = round(time.perf_counter() - start, 3)
    place = dict(zip(("row", "col", "height", "width"), region, strict=True))
    return {**place, "tiles": tiles, "seconds": seconds}


@task(name="seal", **PATIENT)
def seal_task(settings: ReconstructSettings, taken: dict[str, float]) -> dict[str, Any]:
    """Mark the cube complete and write its record, with the seconds of each stage."""
    with by_itself():
        return finish(_job(settings), SpectralCube.open(settings.destination, "r+"), taken)


# One region after the other: the model already uses every core, or the whole GPU.
@flow(name="reconstruct", persist_result=False)
def reconstruct_flow(settings: ReconstructSettings) -> dict[str, Any] | State[Any]:
    """Reconstruct one raster; returns what `run.json` holds.

    Told to stop, by a signal or because the run is cancelled, it ends in order: chunks that are
    complete are written and the run is Cancelled. It goes on under ``resume``.
    """
    start = time.perf_counter()
    use_endpoint(settings.endpoint)
    with by_itself(), stopped_by_signals() as stop, locked(settings.destination) as held:
        regions = plan_task(settings)
        done = show_progress(sum(tiles_to_do(_job(settings))), "tiles")
        ready, rows = time.perf_counter(), []
        for region in regions:
            state = region_task(settings, region, stop, done, return_state=True)
            if state.is_cancelled():
                return Cancelled(message="told to stop; run it again with resume")
            rows.append(cast(Row, state.result()))
            held()
        show_table("regions", rows, "What each region took")
        record = seal_task(settings, stages(start, ready))
    show_report(record)
    return record
