"""The main job: one RGB raster to one cube. Nothing here knows Prefect; `flows.tasks` wraps it."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from flows.bound import threads_kept
from flows.destination import check_destination, check_new
from flows.environment import environment
from flows.finish import finish, stages
from flows.forecast import Forecast, forecast, refuse_what_does_not_fit
from flows.job import Job, open_job
from flows.record import (
    environments,
    first_input,
    recorded,
    same_input,
    unchanged_input,
    write_record,
)
from flows.settings import ReconstructSettings
from pipeline.agreement import relabel
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal, heed
from pipeline.grid import Window
from pipeline.lock import locked
from pipeline.place import is_free
from pipeline.sidecar import withdraw
from pipeline.source import State
from pipeline.store import reason, storage_errors, use_endpoint
from pipeline.stream import Stream
from pipeline.sums import Index
from pipeline.verify import mend

logger = logging.getLogger("r2h")


def prepare(job: Job) -> SpectralCube:
    """Create the cube, or take up the one that is there; then its regions can be written.

    Raises Refusal with nothing changed.
    """
    check_destination(job)
    settings = job.settings
    fs, path = url_to_fs(settings.destination)
    if settings.resume and not is_free(settings.destination):
        return _take_up(job)
    original = first_input(job)
    withdraw(settings.destination)
    if fs.exists(path):
        SpectralCube.remove(settings.destination)
    return _create(job, original, fs, path)


def check(job: Job, stop: Event | None = None) -> Forecast:
    """Raise Refusal where the job cannot be done, or say what it takes; changes nothing.

    Raises Stopped soon after ``stop`` is set.
    """
    check_destination(job)
    needed = forecast(job, stop)
    refuse_what_does_not_fit(job, needed)
    return needed


def _take_up(job: Job) -> SpectralCube:
    for name in relabel(job.settings.destination, job.spec):
        logger.warning("%s was missing or cut: written again", name)
    cube = SpectralCube.open(job.settings.destination, "r+")
    cube.sweep()
    for fault in mend(cube):
        logger.warning("%s: made again", fault.what)
    if not cube.sealed:
        withdraw(job.settings.destination)
    before, here = recorded(job.settings.destination), environment(job)
    made_in = environments(before) if before else []
    if here not in made_in and cube.chunks() - cube.finished():
        _tell_of_another(job, made_in, here)
        made_in = [*made_in, here]
    # A copy of the input that was let in is known from here on without being read.
    write_record(job, same_input(job), {"environments": made_in})
    return cube


def _tell_of_another(job: Job, made_in: list[dict[str, Any]], here: dict[str, Any]) -> None:
    """Where products are rounded to bfloat16 another device moves more than a last bit."""
    before = made_in[-1] if made_in else here
    changed = [f"{key} {before.get(key)}, {here[key]} now" for key in ("device", "processor")
               if before.get(key) != here[key]]  # fmt: skip
    if changed and job.spec.settings["precision"] == "bfloat16":
        what = "the rest of the cube differs by 1e-4 (root mean square)"
        logger.warning("begun in bfloat16 elsewhere (%s): %s", "; ".join(changed), what)


def _create(job: Job, original: State, fs: fsspec.AbstractFileSystem, path: str) -> SpectralCube:
    try:
        # The record first: a cube that exists has one.
        write_record(job, original, {"environments": [environment(job)]})
        return SpectralCube.create(job.settings.destination, job.spec)
    except storage_errors() as error:
        if fs.isdir(path):
            SpectralCube.remove(job.settings.destination)
        rule, fix = "the destination must be writable", "Choose another place."
        raise Refusal(rule, reason(error), fix) from error


def run_region(job: Job, region: Window, stop: Event, done: Callable[[int], None]) -> int:
    """Write what a region of a prepared cube lacks; returns how many tiles that took.

    Doing it twice changes nothing. Raises Stopped soon after ``stop`` is set.
    """
    total = 0

    def count(tiles: int) -> None:
        nonlocal total
        total += tiles
        done(tiles)

    cube = SpectralCube.open(job.settings.destination, "r+")
    _run(job, job.connect(cube, stop), region, count)
    return total


def _run(
    job: Job,
    stream: Stream,
    region: Window,
    done: Callable[[int], None],
    written: set[Index] | None = None,
) -> None:
    try:
        stream.run(region, done, written)
    except Exception:
        # An input that was replaced may be why, or be in what is written: that is told first.
        with suppress(*storage_errors()):
            unchanged_input(job)
        raise
    unchanged_input(job)
    log_region(job.settings.destination, region)


def log_region(destination: str, region: Window) -> None:
    """Log that a region is done."""
    at = [region.row, region.col, region.height, region.width]
    logger.info("region done", extra={"destination": destination, "region": at})


Watch = Callable[[Job, Forecast, int], Callable[[int], None]]


def reconstruct(
    settings: ReconstructSettings, watch: Watch, stop: Event | None = None
) -> dict[str, Any]:
    """The whole job in this process.

    ``watch(job, forecast, tiles)`` learns what is planned and how many tiles are to be done, and
    gives what is told of each. Raises Stopped soon after ``stop`` is set, with all that is summed
    written.
    """
    start = time.perf_counter()
    use_endpoint(settings.endpoint)
    check_new(settings)  # before its scene is looked at
    with threads_kept():
        job = open_job(settings, stop=stop)
        return carry_out(job, check(job, stop), watch, stop, start)


def carry_out(
    job: Job, needed: Forecast, watch: Watch, stop: Event | None, start: float
) -> dict[str, Any]:
    """Write the cube of a job that was checked; ``start`` is when it began, by perf_counter."""
    heed(stop)
    with locked(job.settings.destination) as held:
        cube = prepare(job)
        # Listed once: a large cube has more objects than a region.
        stream, written = job.connect(cube, stop), cube.finished()
        todo = [rows for region in job.plan.regions for rows in stream.unfinished(region, written)]
        done = watch(job, needed, sum(map(stream.tiles, todo)))
        ready = time.perf_counter()
        for region in job.plan.regions:
            _run(job, stream, region, done, written)
            held()
        return finish(job, cube, stages(start, ready), {"forecast_seconds": needed.seconds})
