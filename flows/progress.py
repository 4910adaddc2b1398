"""A run that a person watches: a bar on standard error, and signals that stop it in order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.forecast import Forecast, line
from flows.job import Job
from flows.reconstruct import reconstruct
from flows.settings import ReconstructSettings


def in_sight(settings: ReconstructSettings) -> dict[str, Any]:
    """Run in this process with a bar on standard error; a signal stops it at the next tile."""
    with tile_bar() as bar:

        def watch(job: Job, known: Forecast, tiles: int) -> Callable[[int], None]:
            bar.console.print(
                job.assumptions, line(job, known), sep="\n", highlight=False, soft_wrap=True
            )
            megapixels = job.plan.place.height * job.plan.place.width / 1e6
            row = bar.add_task("reconstruct", total=tiles, speed=0.0)

            def done(tiles: int) -> None:
                bar.advance(row, tiles)
                task = bar.tasks[row]
                speed = megapixels * task.completed / job.plan.tiles / (task.elapsed or 1)
                bar.update(row, speed=speed)

            return done

        with stopped_by_signals() as stop:
            return reconstruct(settings, watch, stop)


def tile_bar() -> Progress:
    """A bar of tiles on standard error; its tasks have a field ``speed``, Mpx/s."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles  {task.fields[speed]:.3f} Mpx/s  left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, transient=True, console=Console(stderr=True))


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """Set by SIGTERM, as a spot machine sends it, or Ctrl-C; a second one ends the process."""
    stop, numbers = Event(), (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def told(_number: int, _frame: object) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])
