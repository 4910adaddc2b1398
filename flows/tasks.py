"""The main job as a Prefect flow: plan, one task a region, seal.

Between tasks pass URIs and windows only, and Prefect keeps no results: what is done is read from
the cube itself, so a task that runs again changes nothing.
"""

import time
from functools import lru_cache
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff

from flows.job import Job, open_job
from flows.reconstruct import finish, prepare, run_region
from flows.settings import ReconstructSettings
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.lock import locked

REGIONS = 16
"""Tasks of a run, where tiles computed twice allow it: each is shown, retried and stopped alone."""


@lru_cache(maxsize=1)
def _job(settings: ReconstructSettings, run: str) -> Job:  # noqa: ARG001
    # The model loads once a run and process; `run` keeps a later run from an older input.
    return open_job(settings, parts=REGIONS)


def _job_here(settings: ReconstructSettings) -> Job:
    return _job(settings, str(flow_run.id))


def _may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may succeed: not where the input or a setting is at fault."""
    return not isinstance(state.result(raise_on_failure=False), Refusal)


@task(name="plan", persist_result=False)
def plan_task(settings: ReconstructSettings) -> list[tuple[int, int, int, int]]:
    """Open, check and create; returns the regions as (row, col, height, width)."""
    if flow_run.run_count > 1:
        # A retry of the whole run goes on with what the first try left.
        settings = settings.model_copy(update={"resume": True, "overwrite": False})
    job = _job_here(settings)
    prepare(job)
    get_run_logger().info(job.assumptions)
    return [(r.row, r.col, r.height, r.width) for r in job.plan.regions]


@task(
    name="region",
    persist_result=False,
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_pass,
)
def region_task(settings: ReconstructSettings, region: tuple[int, int, int, int]) -> None:
    """Write what one region lacks."""
    run_region(_job_here(settings), Window(*region))


@task(name="seal", persist_result=False)
def seal_task(settings: ReconstructSettings, seconds: float) -> dict[str, Any]:
    """Mark the cube complete and write its record."""
    return finish(_job_here(settings), seconds)


# One region at a time: the model already uses every core, or the whole GPU.
@flow(
    name="reconstruct",
    task_runner=ThreadPoolTaskRunner(max_workers=1),  # type: ignore[arg-type]
    persist_result=False,
)
def reconstruct_flow(settings: ReconstructSettings) -> dict[str, Any]:
    """Reconstruct one raster; returns what `run.json` holds."""
    start = time.perf_counter()
    with locked(settings.destination) as held:
        regions = plan_task(settings)
        for future in [region_task.submit(settings, region) for region in regions]:
            future.result()
        held()
        return seal_task(settings, time.perf_counter() - start)
