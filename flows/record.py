"""`run.json` beside a cube: where it came from, how it was made, what it took."""

import json
from pathlib import PurePath
from typing import Any

import fsspec

from flows.environment import environment
from flows.job import Job
from pipeline.errors import Refusal
from pipeline.redact import redacted
from pipeline.source import State, alike, known, state
from pipeline.store import put
from pipeline.uri import absolute, is_file

_FILES = ("aoi", "camera", "checkpoint", "illuminant")
"""Settings that may name a file; without an ending they are names of what ships."""
_OWN, _MOVE = (
    "only a cube's own record is replaced",
    "Move it, or choose another name for the cube.",
)


def record_path(destination: str) -> str:
    """Where `run.json` of a cube is: beside it."""
    return destination.rstrip("/").removesuffix(".zarr") + ".run.json"


def write_record(job: Job, original: State, more: dict[str, Any]) -> dict[str, Any]:
    """Write `run.json`, with ``more`` in it and without secrets; returns what it holds.

    ``original`` is the input as it was when the cube was begun. In which ``environments`` its
    chunks were made is kept from the record that is there, where ``more`` does not say it.
    """
    before = {} if "environments" in more else recorded(job.settings.destination) or {}
    record: dict[str, Any] = {
        "cube": job.settings.destination,
        "run": job.run,
        "input": {**original, "source": absolute(original["source"])},
        "settings": _settings(job),
        "provenance": dict(job.spec.settings),
        "assumptions": job.assumptions,
        "environment": environment(job),
        "environments": before.get("environments", []),
        "tiles": job.plan.tiles,
        "regions": len(job.plan.regions),
        "halo": round(job.plan.halo, 4),
        "megapixels": job.plan.place.height * job.plan.place.width / 1e6,
        **more,
    }
    shown: dict[str, Any] = redacted(record)
    put(record_path(job.settings.destination), json.dumps(shown, indent=2).encode())
    return shown


def _settings(job: Job) -> dict[str, Any]:
    """The settings, with files as they are named from any folder: others make parts of it again."""
    settings = job.settings.model_dump(mode="json")
    named = {key: name for key in _FILES if PurePath(name := settings[key] or "").suffix}
    files = {key: name for key, name in named.items() if is_file(name)}
    files["source"] = job.settings.source  # with a * it is no file
    return settings | {key: absolute(name) for key, name in files.items()}


def recorded(destination: str) -> dict[str, Any] | None:
    """What `run.json` beside a cube holds; None where there is none.

    Raises Refusal where it is cut or another's: what the cube was begun with is not known then.
    """
    path = record_path(destination)
    try:
        with fsspec.open(path) as file:
            record = json.load(file)
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError) as error:
        raise _unreadable(path, error) from error
    whole = isinstance(record, dict) and isinstance(record.get("input"), dict)
    if not whole or not isinstance(record["input"].get("files"), list):
        raise _unreadable(path, "no input with its files in it")
    return dict(record)


def _unreadable(path: str, found: object) -> Refusal:
    fix = "Restore it, or delete it with its cube and begin again."
    return Refusal("the record beside a cube says what it was made of", f"{path}: {found}", fix)


def refuse_foreign_record(destination: str) -> None:
    """Raise Refusal where something that is no record of a run has the place of `run.json`."""
    try:
        recorded(destination)
    except Refusal:
        raise Refusal(_OWN, record_path(destination), _MOVE) from None


def refuse_shared_record(destination: str) -> None:
    """Raise Refusal where the record is of the cube whose name differs by `.zarr` alone.

    Of a cube that was renamed with what lies beside it the record is its own all the same.
    """
    named = ((recorded(destination) or {}).get("cube", ""), destination)
    of, mine = (uri.rstrip("/").rpartition("/")[2] for uri in named)
    if of != mine and of.removesuffix(".zarr") == mine.removesuffix(".zarr"):
        raise Refusal(_OWN, f"{record_path(destination)} of {of}", _MOVE)


def environments(record: dict[str, Any]) -> list[dict[str, Any]]:
    """In which the chunks of a cube were made: one, or several where it was resumed elsewhere."""
    return record.get("environments") or [record["environment"]]


def with_places(job: Job, more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The environments that are recorded, and those of ``more`` that are others."""
    record = recorded(job.settings.destination)
    places = list(environments(record)) if record else []
    for one in more:
        if one not in places:
            places.append(one)
    return places


def refuse_elsewhere(job: Job) -> None:
    """Raise Refusal where a part of a cube would be made on another device or by other versions.

    Processors may differ, and are recorded.
    """
    record, here = recorded(job.settings.destination), environment(job)
    before = record["environment"] if record else here
    for key in here.keys() - {"processor"}:
        if here[key] != before.get(key):
            change = f"{key} {before.get(key)} where it was begun, {here[key]} here"
            fix = "Give all workers the same device and versions."
            raise Refusal("parts of a cube are made alike", change, fix)


def recorded_input(job: Job) -> State | None:
    """The input as it was when the cube was begun; None where nothing says it."""
    record = recorded(job.settings.destination)
    return record["input"] if record else None


def first_input(job: Job) -> State:
    """The input as the job found it, with its digest. Raises Refusal where it is another by now."""
    files = job.scene.files
    original, now = known(None, job.input, files), state(job.settings.source, files)
    if not alike(original["files"], now["files"]):
        change = f"{original['files']} when it was opened, {now['files']} now"
        raise Refusal("an input stays what it was when it was opened", change, "Run it again.")
    return original


def same_input(job: Job) -> State:
    """The input as the job found it. Raises Refusal where its cube was begun with another."""
    return known(recorded_input(job), job.input, job.scene.files)


def unchanged_input(job: Job) -> State:
    """The input as it is. Raises Refusal where it is no longer what the cube was begun with."""
    files = job.scene.files
    now = state(job.settings.source, files)
    try:
        return known(recorded_input(job), now, files)
    except Refusal:
        # Some chunks may be of the other: no later run goes on, not even with the first again.
        write_record(job, {**now, "files": [], "sha256": "changed during a run"}, {})
        raise
