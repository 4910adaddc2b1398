"""The main job: one RGB raster to one cube. Nothing here knows Prefect; `flows.tasks` wraps it."""

import json
import logging
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fsspec
import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from flows.job import Job, open_job
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.plan import refuse_too_big

PACKAGES = ("r2h", "torch", "numpy", "zarr", "rasterio", "prefect")
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
    if isinstance(fs, LocalFileSystem):
        refuse_too_big(job.plan, next(p for p in Path(path).absolute().parents if p.is_dir()))
    if exists and not job.settings.overwrite:
        _check_resume(job)


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
            fs.rm(path, recursive=True)
        raise Refusal("the destination must be writable", error, "Choose another place.") from error


def run_region(job: Job, region: Window, done: Callable[[int], None] = lambda _: None) -> None:
    """Write what a region of a prepared cube lacks. Doing it twice changes nothing."""
    job.connect(SpectralCube.open(job.settings.destination)).run(region, done)


def finish(job: Job, seconds: float) -> dict[str, Any]:
    """Seal the cube and complete `run.json` beside it; returns that record."""
    SpectralCube.open(job.settings.destination).seal()
    return _write_record(job, {"seconds": round(seconds, 3)})


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
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in PACKAGES},
        "tiles": job.plan.tiles,
        "regions": len(job.plan.regions),
        "halo": round(job.plan.halo, 4),
        "megapixels": job.plan.place.height * job.plan.place.width / 1e6,
        **more,
    }
    with fsspec.open(record_path(job.settings.destination), "w") as file:
        json.dump(record, file, indent=2)
    return record


def _input(job: Job) -> dict[str, Any]:
    """Where the input is and when it was last changed, as far as its file system says."""
    source = job.settings.source
    local = Path(source.removeprefix("file://"))
    return {"source": source, "modified": local.stat().st_mtime if local.is_file() else None}


def reconstruct(
    settings: ReconstructSettings, watch: Callable[[Job, int], Callable[[int], None]]
) -> dict[str, Any]:
    """The whole job in this process.

    ``watch(job, tiles)`` learns how many tiles are to be done and gives what is told of each.
    """
    start = time.perf_counter()
    job = open_job(settings)
    prepare(job)
    stream = job.connect(SpectralCube.open(settings.destination))
    todo = [rows for region in job.plan.regions for rows in stream.unfinished(region)]
    done = watch(job, sum(map(stream.tiles, todo)))
    for region in job.plan.regions:
        run_region(job, region, done)
    return finish(job, time.perf_counter() - start)


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
