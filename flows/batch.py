"""Many rasters, one after the other, under one configuration."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from threading import Event
from traceback import format_exception
from typing import Any

from flows.destination import is_there, other_settings
from flows.finish import SeamError, ended
from flows.forecast import GB, Forecast, forecast, room_of
from flows.inputs import refuse_unsaid, scenes
from flows.item import NAMELESS, Item
from flows.job import Job, open_job
from flows.progress import logged
from flows.reconstruct import carry_out
from flows.record import recorded
from flows.settings import BatchSettings, ReconstructSettings
from flows.written import refuse_unwritable, write
from pipeline.context import GREY, Measured
from pipeline.cube import SpectralCube
from pipeline.errors import Busy, Changed, Refusal, Stopped
from pipeline.place import refuse_foreign
from pipeline.plan import refuse_too_big
from pipeline.redact import redact, redacted
from pipeline.source import known
from pipeline.store import storage_errors, use_endpoint
from pipeline.uri import local_path
from pipeline.whole import lost, lost_beside

Row = dict[str, Any]
_SIGN = b'{"source": '
"""How a report begins."""
_KEPT = {"assumptions", "tiles", "megapixels", "stages"}
_KEPT |= {"peak_bytes", "read_bytes", "stored_bytes", "retries"}
"""Of the record of a scene, what its line in the report says too."""
logger = logging.getLogger("r2h")


@dataclass(frozen=True, slots=True)
class Entry:
    """A scene of a batch, looked at and not begun."""

    settings: ReconstructSettings
    state: str
    """new, resume, replace, done or failed; waiting where a stop came before it was looked at."""
    reason: str | None = None
    alone: bool = False
    """Whether the others are done where it failed: it is out of reach, or not what it was."""
    assumptions: str | None = None
    """What its pixel values are taken for."""
    tiles: int = 0
    megapixels: float = 0.0
    buffer_bytes: int = 0
    disk_bytes: int = 0

    @property
    def row(self) -> Row:
        """Of the report, before anything is done."""
        where = self.settings.destination
        return {
            "source": self.settings.source,
            "destination": None if where == NAMELESS else where,
            "state": self.state,
            "reason": self.reason,
            "assumptions": self.assumptions,
            "megapixels": self.megapixels,
            "tiles": self.tiles,
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """All scenes, and what they will take."""

    entries: tuple[Entry, ...]
    forecast: Forecast | None
    """None where nothing is to be done, or a stop came before it was known."""
    report: str

    @property
    def todo(self) -> list[Entry]:
        """Those that will be worked on."""
        return [entry for entry in self.entries if entry.state not in ("done", "failed")]


def plan_batch(settings: BatchSettings, stop: Event) -> Batch:
    """Open every input, look at every destination, and reckon time, memory and disk.

    Writes nothing. What is not looked at when ``stop`` is set is waiting. Raises Refusal where the
    configuration is bad, an input cannot be done (unless ``keep_going``, or it is out of reach or
    was changed), or memory or disk would not do.
    """
    use_endpoint(settings.scene.endpoint)
    entries = tuple(
        Entry(of, "waiting") if stop.is_set() else _look(item, of) for item, of in scenes(settings)
    )
    bad = [entry for entry in entries if entry.state == "failed" and not entry.alone]
    if bad and not settings.keep_going:
        first = "; ".join(f"{entry.settings.source}: {entry.reason}" for entry in bad[:3])
        rule = "every input of a batch can be done"
        fix = "Mend them, or set keep_going."
        raise Refusal(rule, f"{len(bad)} of {len(entries)} that cannot ({first})", fix)
    report = settings.report or f"{settings.output.rstrip('/')}/batch.jsonl"
    refuse_unwritable(report, "a batch's report", _SIGN)
    batch = Batch(entries, None, report)
    with suppress(Stopped):
        if batch.todo and not stop.is_set():
            return replace(batch, forecast=_refuse_what_does_not_fit(batch.todo, settings, stop))
    return batch


def _look(item: Item, settings: ReconstructSettings) -> Entry:
    try:
        if item.refused:
            return Entry(settings, "failed", redact(item.refused))
        # No pixel is read: the scene is looked at in its turn.
        job = open_job(settings, seen=Measured(1.0))
        refuse_unsaid(item, job.scene, settings.bands is not None)
        state = _state(job)
    except Exception as error:
        return Entry(settings, "failed", _why(error), isinstance(error, storage_errors(Changed)))
    return Entry(
        settings=settings,
        state=state,
        assumptions=job.taken_as,
        tiles=job.plan.tiles,
        megapixels=job.plan.place.height * job.plan.place.width / 1e6,
        buffer_bytes=job.plan.buffer_bytes,
        disk_bytes=job.plan.disk_bytes,
    )


def _state(job: Job) -> str:
    """What is to be done for a destination. Raises Refusal where something else is there."""
    if not is_there(job.settings):
        return "new"
    cube = SpectralCube.open(job.settings.destination)
    if differ := [key for key in other_settings(job, cube) if key != "scale"]:
        if job.settings.overwrite:
            return _replace(job)
        fix = "Set overwrite, or choose another output."
        raise Refusal("a cube that is there has the same settings", f"other {differ}", fix)
    before = recorded(job.settings.destination)
    try:
        if before:
            known(before["input"], job.input, job.scene.files)
    except Changed:
        if job.settings.overwrite:
            return _replace(job)
        raise
    whole = cube.sealed and not lost(cube) and not lost_beside(cube)
    return "done" if whole and before and _ended_so(job, before) else "resume"


def _replace(job: Job) -> str:
    refuse_foreign(job.settings.destination)
    return "replace"


def _ended_so(job: Job, before: Mapping[str, Any]) -> bool:
    """Whether a cube was made of the same input, and finished as is asked for now."""
    return before["input"].get("files") == job.input["files"] and before.get("ended") == ended(job)


def _refuse_what_does_not_fit(todo: list[Entry], settings: BatchSettings, stop: Event) -> Forecast:
    """What the batch takes; the largest scene needs the most memory."""
    largest = max(todo, key=lambda entry: entry.buffer_bytes)
    seen = Measured(1.0, [GREY] if largest.tiles > 1 else [])
    job = open_job(largest.settings, seen=seen)
    one = forecast(job, stop)
    refuse_too_big(job.plan, one.peak_bytes, job.memory, float("inf"))
    disk = (settings.scene.disk or float("inf")) * GB
    if (place := local_path(settings.output)) is not None:
        there = next(p for p in (place.absolute(), *place.absolute().parents) if p.is_dir())
        # What is there of the cubes is either kept or makes room for the new ones.
        held = sum(room_of(entry.settings, entry.disk_bytes) for entry in todo)
        disk = min(disk, shutil.disk_usage(there).free + held)
    if (needed := sum(entry.disk_bytes for entry in todo)) > disk:
        rule = f"the cubes must have room; they take up to {needed / GB:.2f} GB"
        raise Refusal(rule, f"{disk / GB:.2f} GB", "Choose another disk or fewer scenes.")
    tiles = sum(entry.tiles for entry in todo)
    return Forecast(one.seconds / job.plan.tiles * tiles, one.peak_bytes)


def run_batch(batch: Batch, stop: Event, watch: Callable[[Row], None]) -> list[Row]:
    """Do what is to be done; ``watch`` is told of each scene as it ends.

    A scene that fails is told with its reason and the others go on. The report is written however
    the batch ends; what was not begun when it was stopped is `waiting` there.
    """
    rows = [{**entry.row, "state": "waiting"} for entry in batch.entries]
    try:
        for number, entry in enumerate(batch.entries):
            if entry.state in ("done", "failed"):
                rows[number]["state"] = "skipped" if entry.state == "done" else "failed"
            elif stop.is_set():
                continue
            else:
                # A second signal ends the process: then this scene was stopped.
                rows[number]["state"] = "stopped"
                rows[number] |= _do(entry, batch, stop)
            rows[number] = redacted(rows[number])
            watch(rows[number])
    finally:
        lines = [json.dumps(redacted(row)) + "\n" for row in rows]
        write(batch.report, "".join(lines).encode())
    return rows


def _do(entry: Entry, batch: Batch, stop: Event) -> Row:
    start = time.perf_counter()
    assert batch.forecast is not None, "there is something to do"
    tiles = sum(other.tiles for other in batch.todo)
    own = replace(batch.forecast, seconds=batch.forecast.seconds * entry.tiles / tiles)
    try:
        job = open_job(entry.settings, stop=stop)
        with closing(job.scene):
            # Another run may have been at it since the batch was planned.
            if (state := _state(job)) == "done":
                return {"state": "skipped"}
            way = {"resume": state == "resume", "overwrite": state == "replace"}
            job = replace(job, settings=entry.settings.model_copy(update=way))
            record = carry_out(job, own, logged, stop, start)
    except Stopped:
        return {"state": "stopped", "seconds": _since(start)}
    except Busy as error:
        return {"state": "busy", "reason": f"{error}", "seconds": _since(start)}
    except Exception as error:
        return {"state": "failed", "reason": _why(error), "seconds": _since(start)}
    known = {key: value for key, value in record.items() if key in _KEPT}
    return {"state": "done", **known, "seconds": _since(start)}


def _why(error: Exception) -> str:
    """Why a scene failed. What nobody foresaw, which ends no batch, is logged as it was raised."""
    said = " ".join(f"{error}".split())
    if isinstance(error, storage_errors(Refusal, SeamError, RuntimeError, MemoryError)):
        return redact(said or type(error).__name__)
    logger.error("not foreseen, please report it: %s", redact("".join(format_exception(error))))
    return redact(f"{type(error).__name__}: {said}")


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)
