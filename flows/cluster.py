"""The main job on a Dask cluster: a region a future, on workers that each open the job once.

The workers plan, write and seal; the machine that asks need see neither source nor destination.
Between them go settings, windows and small records, never pixels. A region that runs again, because
its worker was lost, writes what is not there yet.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from rich.text import Text

from flows.bound import threads_of
from flows.client import LOCAL, connect
from flows.destination import refuse_other_settings
from flows.environment import environment
from flows.finish import finish, log_done, stages
from flows.forecast import line, peak_resident
from flows.hold import kept
from flows.progress import stopped_by_signals, tile_bar
from flows.reconstruct import check, log_region, prepare, run_region
from flows.record import refuse_elsewhere, with_places
from flows.regions import going_on, opened, tiles_to_do
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube
from pipeline.errors import Stopped, by_itself
from pipeline.grid import Window
from pipeline.plan import Parts
from pipeline.redact import for_people

if TYPE_CHECKING:
    from distributed import Client, Future

REGIONS = 4
"""Regions a worker, where tiles computed twice allow it: so that none waits long for the last."""
TRIES = 4
"""Times a region is tried; lost workers are counted by Dask (allowed-failures)."""
JOIN = 60
"""Seconds that the first worker may take to appear."""

logger = logging.getLogger("r2h")
_busy = Lock()


class _Ask(NamedTuple):
    """What a worker needs to know to open the job."""

    settings: ReconstructSettings
    parts: Parts
    run: str


class _Begun(NamedTuple):
    """What the worker that planned answers."""

    about: str
    todo: list[tuple[Window, int]]
    """Regions that lack chunks, and the tiles of each."""
    megapixels: float
    """Of a tile."""


@cache
def _stop(run: str) -> Event:  # noqa: ARG001
    return Event()


@by_itself()
def begin(ask: _Ask) -> _Begun:
    """Open, check and create, on a worker."""
    job = opened(*ask._replace(settings=going_on(ask.settings, ask.run)), _stop(ask.run))
    about = f"{job.assumptions}\n{line(job, check(job, _stop(ask.run)))}"
    prepare(job)
    tiles = zip(job.plan.regions, tiles_to_do(job), strict=True)
    each = job.plan.place.height * job.plan.place.width / 1e6 / job.plan.tiles
    return _Begun(about, [(region, n) for region, n in tiles if n], each)


@by_itself()
def fill(ask: _Ask, region: Window) -> dict[str, Any]:
    """Write what a region lacks, on a worker; one at a time in a process, the model uses it all."""
    with _busy:
        job = opened(*ask, _stop(ask.run))
        # A worker with another engine, device or version would mix two results in one cube.
        refuse_other_settings(job)
        refuse_elsewhere(job)
        before = job.scene.retries
        run_region(job, region, _stop(ask.run), lambda _: None)
        taken = {"peak_bytes": peak_resident(), "retries": job.scene.retries - before}
        return {**taken, "environment": environment(job)}


@by_itself()
def end(ask: _Ask, taken: dict[str, float], more: dict[str, Any]) -> dict[str, Any]:
    """Seal, on a worker."""
    job, cube = opened(*ask, _stop(ask.run)), SpectralCube.open(ask.settings.destination, "r+")
    more["environments"] = with_places(job, more["environments"])
    return finish(job, cube, taken, more)


async def _halt(run: str) -> None:
    """Stop the region under way in this process; returns when it has ended."""
    _stop(run).set()
    while _busy.locked():
        await asyncio.sleep(0.05)


def reconstruct_on(
    cluster: str, settings: ReconstructSettings, log: str | None = None
) -> dict[str, Any]:
    """The whole job on a cluster; returns what `run.json` holds.

    What is planned and done is told on standard error with a bar, or logged as ``log`` says. Raises
    Stopped after a signal, with all that is summed written.
    """
    start, run = time.perf_counter(), uuid4().hex
    with (
        stopped_by_signals() as stop,
        _killed(),
        connect(cluster, log) as client,
        tile_bar(log is None) as shown,
        ExitStack() as stack,
    ):
        settings = _shared(client, settings, cluster.startswith(LOCAL))
        needs = _needs(client)
        workers = len(_workers(client))
        ask = _Ask(settings, Parts(REGIONS * workers, least=workers), run)
        held = stack.enter_context(kept(client, settings, run))
        begun = _begun(client, ask, needs, stop)
        shown.console.print(Text(for_people(begun.about)), soft_wrap=True)
        tiles = sum(n for _, n in begun.todo)
        facts = settings.model_dump(include={"source", "destination"})
        logger.info("scene begun", extra={**facts, "tiles": tiles, "about": begun.about})
        row = shown.add_task("reconstruct", total=tiles, speed=0.0)

        def done(region: Window, tiles: int) -> None:
            held()
            log_region(settings.destination, region)
            shown.advance(row, tiles)
            task = shown.tasks[row]
            shown.update(row, speed=begun.megapixels * task.completed / (task.elapsed or 1))

        ready = time.perf_counter()
        more = _run(client, ask, begun, needs, stop, done)
        more["workers"] = len(_workers(client))
        taken = stages(start, ready)
        sealing = client.submit(end, ask, taken, more, resources=needs, pure=False)
        record: dict[str, Any] = sealing.result()
    log_done(record, settings)
    return record


def _begun(client: "Client", ask: _Ask, needs: dict[str, float], stop: Event) -> _Begun:
    """Plan on a worker; its future is let go with the answer, or a lost one would plan again."""
    from distributed import wait  # noqa: PLC0415

    planning = client.submit(begin, ask, resources=needs, pure=False)
    while not stop.is_set():
        with suppress(TimeoutError):
            wait([planning], timeout=1)
        # Its own time-out, as of a store, is told.
        if planning.done():
            answer: _Begun = planning.result()
            return answer
    client.run(_halt, ask.run)
    wait([planning])
    raise Stopped


def _run(
    client: "Client",
    ask: _Ask,
    begun: _Begun,
    needs: dict[str, float],
    stop: Event,
    done: Callable[[Window, int], None],
) -> dict[str, Any]:
    """Fill all regions; returns the most memory a worker held, bytes, reads tried again, places."""
    from distributed import wait  # noqa: PLC0415

    todo: dict[Future[Any], tuple[Window, int]] = {
        client.submit(fill, ask, one[0], resources=needs, retries=TRIES - 1, pure=False): one
        for one in begun.todo
    }
    taken: dict[str, Any] = {"peak_bytes": 0, "retries": 0, "environments": []}
    try:
        while todo and not stop.is_set():
            with suppress(TimeoutError):
                wait(list(todo), timeout=1, return_when="FIRST_COMPLETED")
            for future in [future for future in todo if future.done()]:
                one = future.result()
                taken["peak_bytes"] = max(taken["peak_bytes"], one["peak_bytes"])
                taken["retries"] += one["retries"]
                taken["environments"].append(one["environment"])
                done(*todo.pop(future))
        if todo:
            raise Stopped
    except BaseException:
        client.cancel(list(todo))
        client.run(_halt, ask.run)
        raise
    return taken


@contextmanager
def _killed() -> Iterator[None]:
    """Raise OSError where Dask gives up on what several workers died of."""
    from distributed import KilledWorker  # noqa: PLC0415

    try:
        yield
    except KilledWorker as error:
        raise OSError(f"workers died, as of too little memory: {error}") from error


def _workers(client: "Client") -> dict[str, Any]:
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return workers


def _needs(client: "Client") -> dict[str, float]:
    """Of a region: a GPU where workers have one, as `--resources GPU=1` says."""
    gpus = any("GPU" in worker["resources"] for worker in _workers(client).values())
    return {"GPU": 1} if gpus else {}


def _shared(client: "Client", settings: ReconstructSettings, local: bool) -> ReconstructSettings:
    """The settings with a worker's share of memory and cores, where nothing else is asked for."""
    client.wait_for_workers(1, timeout=JOIN)
    workers = _workers(client)
    limits = [w["memory_limit"] for w in workers.values() if w["memory_limit"]]
    share: dict[str, Any] = {}
    if limits and settings.memory is None:
        share["memory"] = min(limits) / 1e9
    if local and settings.threads is None:
        share["threads"] = max(1, threads_of(settings) // len(workers))
    return settings.model_copy(update=share)
