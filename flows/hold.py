"""A destination kept for a run on a cluster: by one of its workers, as it may see it alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.settings import ReconstructSettings
from pipeline.errors import by_itself
from pipeline.lock import Check, locked
from pipeline.store import use_endpoint

if TYPE_CHECKING:
    from dask.typing import Key
    from distributed import Client, Worker

GONE = 60
"""Seconds that a worker may take to let go."""


@by_itself()
def hold(settings: ReconstructSettings, run: str) -> None:
    """Keep a destination, on a worker, beside its regions, until the run is over.

    When the worker is lost, Dask begins it again on another; when who asked is lost, it ends.
    """
    from distributed import Event, get_worker, secede  # noqa: PLC0415 (an extra)

    worker = get_worker()
    key = worker.get_current_task()
    secede()
    use_endpoint(settings.endpoint)
    with locked(settings.destination, run) as held:
        Event(f"held-{run}").set()
        over = Event(f"over-{run}")
        while not over.wait(1) and _wanted(worker, key):
            held()


def _wanted(worker: "Worker", key: "Key") -> bool:
    task = worker.state.tasks.get(key)
    return task is not None and task.state == "long-running"


@contextmanager
def kept(client: "Client", settings: ReconstructSettings, run: str) -> Iterator[Check]:
    """The destination kept by a worker. Raises Busy where another run has it."""
    from distributed import Event  # noqa: PLC0415

    holding = client.submit(hold, settings, run, pure=False)

    def check() -> None:
        if holding.done():
            holding.result()

    try:
        while not Event(f"held-{run}", client).wait(0.5):
            check()
        yield check
    finally:
        Event(f"over-{run}", client).set()
        holding.exception(GONE)
