"""The main job: one RGB raster to one cube. Nothing here knows Prefect; `flows.tasks` wraps it."""

import json
import logging
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event
from typing import Any

import fsspec
import torch
from fsspec.core import url_to_fs

from flows.forecast import Forecast, forecast, peak_resident, refuse_what_does_not_fit
from flows.job import Job, open_job
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal, Stopped
from pipeline.grid import Window
from pipeline.seam import certificate

PACKAGES = ("r2h", "torch", "onnxruntime", "numpy", "zarr", "rasterio", "prefect")
logger = logging.getLogger("r2h")


def prepare(job: Job) -> None:
    """Create the cube, or take up the one that is there; then regions can be written.

    Raises Refusal with nothing changed.
    """
    check_destination(job)
    settings = job.settings
    fs, path = url_to_fs(settings.destination)
    if fs.exists(path) and settings.resume:
        return SpectralCube.open(settings.destination).sweep()
    if fs.exists(path):
        SpectralCube.remove(settings.destination)
    return _create(job, fs, path)


def check_destination(job: Job) -> None:
    """Raise Refusal where `prepare` would; changes nothing."""
    try:
        fs, path = url_to_fs(job.settings.destination)
        exists = fs.exists(path)
    except (ValueError, ImportError, OSError) as error:
        fix = "Give a path, or a URI whose file system is installed."
        raise Refusal("the destination must be reachable", error, fix) from error
    if exists and not job.settings.overwrite:
        _check_resume(job)


def check(job: Job) -> Forecast:
    """Raise Refusal where the job cannot be done, or say what it takes; changes nothing."""
    check_destination(job)
    known = forecast(job)
    refuse_what_does_not_fit(job, known)
    return known


def _check_resume(job: Job) -> None:
    destination = job.settings.destination
    cube = SpectralCube.open(destination)
    if not job.settings.resume:
        state, fix = (
            ("a finished cube", "Add --overwrite to replace it.")
            if cube.sealed
            else ("a half-finished cube", "Add --resume to go on, --overwrite to begin again.")
        )
        raise Refusal("the destination must be new", f"{destination}, {state}", fix)
    wanted = json.loads(json.dumps(dict(job.spec.settings)))
    for key in sorted(wanted.keys() | cube.settings.keys()):
        if wanted.get(key) != cube.settings.get(key):
            change = f"{key} {cube.settings.get(key)} in the cube, {wanted.get(key)} now"
            fix = "Resume as it was begun, or begin again with --overwrite."
            raise Refusal("a cube is resumed under the settings it was begun with", change, fix)
    _ = cube.companion
    _note_changed_input(job)


def _note_changed_input(job: Job) -> None:
    # Noted, not refused: a copy on another machine has another time and the same pixels.
    try:
        with fsspec.open(record_path(job.settings.destination)) as file:
            before = json.load(file)["input"]
    except FileNotFoundError:
        return
    if before != (now := _input(job)):
        logger.warning("the input was %s when the cube was begun and is %s now", before, now)


def _create(job: Job, fs: fsspec.AbstractFileSystem, path: str) -> None:
    try:
        SpectralCube.create(job.settings.destination, job.spec)
        _write_record(job, {})
    except OSError as error:
        if fs.isdir(path):
            SpectralCube.remove(job.settings.destination)
        raise Refusal("the destination must be writable", error, "Choose another place.") from error


def run_region(job: Job, region: Window) -> None:
    """Write what a region of a prepared cube lacks. Doing it twice changes nothing."""
    job.connect(SpectralCube.open(job.settings.destination)).run(region)


class SeamError(RuntimeError):
    """Tiles disagree more than the run allows; the cube is whole but not sealed."""


def finish(job: Job, seconds: float, **told: Any) -> dict[str, Any]:
    """Seal the cube and complete `run.json` beside it with what is ``told``; returns that record.

    Raises SeamError, with the record written, where tiles disagree more than ``max_seam``.
    """
    cube = SpectralCube.open(job.settings.destination)
    seam = certificate(cube.companion.total())
    measured = {"seconds": round(seconds, 3), "peak_bytes": peak_resident(), "seam": seam, **told}
    record = _write_record(job, measured)
    worst, allowed = seam["disagreement_p99"], job.settings.max_seam
    if allowed is not None and worst is not None and worst > allowed:
        state = "is sealed by an earlier run" if cube.sealed else "is not sealed"
        raise SeamError(
            f"tiles must agree within --max-seam {allowed} in 99 % of the pixels they share; got "
            f"{worst:.4f}. The cube {state}: --resume with a higher limit seals it, --overwrite "
            "with larger tiles begins again."
        )
    cube.seal()
    return record


def record_path(destination: str) -> str:
    """Where `run.json` of a cube is: beside it."""
    return destination.rstrip("/").removesuffix(".zarr") + ".run.json"


def _write_record(job: Job, more: dict[str, Any]) -> dict[str, Any]:
    record = {
        "cube": job.settings.destination,
        "input": _input(job),
        "settings": job.settings.model_dump(mode="json"),
        "provenance": dict(job.spec.settings),
        "device": job.device,
        "threads_per_tile": torch.get_num_threads(),
        "batch": job.settings.batch,
        "versions": {name: _version(name) for name in PACKAGES},
        "tiles": job.plan.tiles,
        "regions": len(job.plan.regions),
        "halo": round(job.plan.halo, 4),
        "megapixels": job.plan.place.height * job.plan.place.width / 1e6,
        **more,
    }
    with fsspec.open(record_path(job.settings.destination), "w") as file:
        json.dump(record, file, indent=2)
    return record


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _input(job: Job) -> dict[str, Any]:
    """Where the input is and when it was last changed, as far as its file system says."""
    source = job.settings.source
    local = Path(source.removeprefix("file://"))
    return {"source": source, "modified": local.stat().st_mtime if local.is_file() else None}


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
    job = open_job(settings)
    opened = time.perf_counter()
    known = check(job)
    checked = time.perf_counter()
    if stop is not None and stop.is_set():
        raise Stopped
    prepare(job)
    stream = job.connect(SpectralCube.open(settings.destination), stop)
    todo = [rows for region in job.plan.regions for rows in stream.unfinished(region)]
    done = watch(job, known, sum(map(stream.tiles, todo)))
    for region in job.plan.regions:
        stream.run(region, done)
    done_at = time.perf_counter()
    stages = {"open": opened - start, "forecast": checked - opened, "tiles": done_at - checked}
    return finish(job, done_at - start, stages=stages, forecast_seconds=known.seconds)


def describe_cube(uri: str) -> dict[str, Any]:
    """What a cube is, for people and programs."""
    cube = SpectralCube.open(uri)
    chunks = -(-cube.height // cube.chunk) * -(-cube.width // cube.chunk)
    return {
        "cube": uri,
        "height": cube.height,
        "width": cube.width,
        "wavelengths_nm": list(cube.wavelengths),
        "finished_chunks": f"{len(cube.finished())} of {chunks}",
        "sealed": cube.sealed,
        "note": "estimated from RGB, not measured",
        **cube.settings,
    }
