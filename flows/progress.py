"""A run that a person watches: a bar on standard error, and signals that stop it in order."""

import signal
from collections.abc import Callable
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
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles  {task.fields[speed]:.3f} Mpx/s  left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True, console=Console(stderr=True)) as bar:

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

        return reconstruct(settings, watch, _stop_on_signals())


def _stop_on_signals() -> Event:
    """Set by SIGTERM, as a spot machine sends it, and by the first Ctrl-C."""
    stop = Event()

    def told(number: int, _frame: object) -> None:
        stop.set()
        # A second one ends the process as usual.
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop
