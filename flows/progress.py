"""A run that a person watches: a bar on standard error, and signals that stop it in order."""

import logging
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.forecast import Forecast, line
from flows.job import Job
from flows.reconstruct import reconstruct
from flows.settings import ReconstructSettings
from pipeline.redact import for_people

logger = logging.getLogger("r2h")


def in_sight(settings: ReconstructSettings, bar: bool = True) -> dict[str, Any]:
    """Run in this process, a signal stopping it at the next tile.

    What is taken for granted and planned is told on standard error with a bar, or logged.
    """
    if not bar:
        with stopped_by_signals() as stop:
            return reconstruct(settings, logged, stop)
    with tile_bar() as shown:

        def watch(job: Job, known: Forecast, tiles: int) -> Callable[[int], None]:
            told = f"{for_people(job.assumptions)}\n{line(job, known)}"
            shown.console.print(Text(told), soft_wrap=True)
            megapixels = job.plan.place.height * job.plan.place.width / 1e6
            row = shown.add_task("reconstruct", total=tiles, speed=0.0)

            def done(tiles: int) -> None:
                shown.advance(row, tiles)
                task = shown.tasks[row]
                speed = megapixels * task.completed / job.plan.tiles / (task.elapsed or 1)
                shown.update(row, speed=speed)

            return done

        with stopped_by_signals() as stop:
            return reconstruct(settings, watch, stop)


def tile_bar(shown: bool = True) -> Progress:
    """A bar of tiles on standard error, or none; its tasks have a field ``speed``, Mpx/s."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles  {task.fields[speed]:.3f} Mpx/s  left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, transient=True, console=Console(stderr=True, quiet=not shown))


def logged(job: Job, known: Forecast, tiles: int) -> Callable[[int], None]:
    """Log what is planned, and of the tiles nothing."""
    facts = {"source": job.settings.source, "destination": job.settings.destination}
    expected = {"tiles": tiles, "forecast_seconds": round(known.seconds, 3)}
    logger.info("scene begun", extra={**facts, **expected})
    logger.info("%s", job.assumptions, extra=facts)
    return lambda _: None


def log_end(row: Mapping[str, Any]) -> None:
    """Log how a scene ended that is not done, of which its run tells itself."""
    if (state := row["state"]) in ("failed", "busy", "stopped"):
        known = ("source", "destination", "reason", "seconds")
        facts = {key: row[key] for key in known if row.get(key) is not None}
        level = logging.ERROR if state == "failed" else logging.WARNING
        logger.log(level, "scene %s", state, extra=facts)


def _silence_terminals() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)


AT_ONCE = 1.0
"""Seconds in which signals are one: `timeout` and schedulers send a process its own and its
group's."""


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """Set by SIGTERM, as a spot machine sends it, Ctrl-C or SIGHUP.

    Another SIGTERM or Ctrl-C, a second after the first or later, ends the process. In a thread
    beside the main one, to which alone signals come, nothing sets it.
    """
    stop, ours = Event(), (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    if current_thread() is not main_thread():
        yield stop
        return
    # A terminal that closes hangs up, unless nohup had that ignored.
    numbers = [number for number in ours if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.getsignal(number) for number in numbers}

    first: list[float] = []

    def told(which: int, _frame: object) -> None:
        stop.set()
        first.append(time.monotonic())
        if which == signal.SIGHUP:
            # It may come twice, from shell and kernel, or after SIGTERM, from systemd.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _silence_terminals()  # what is closed takes no words
        elif first[-1] - first[0] > AT_ONCE:
            signal.signal(which, before[signal.Signals(which)])
            signal.raise_signal(which)

    for number in numbers:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])
