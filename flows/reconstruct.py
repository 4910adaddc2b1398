"""The main job: one RGB raster to one cube. Nothing here knows Prefect; `flows.tasks` wraps it."""

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fsspec
import torch
from fsspec.implementations.local import LocalFileSystem

from flows.job import Job, open_job
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.plan import refuse_too_big


def prepare(job: Job) -> None:
    """Create the cube, or take up the one that is there; then regions can be written.

    Raises Refusal with nothing left behind.
    """
    fs, path = fsspec.core.url_to_fs(job.settings.destination)
    if fs.exists(path) and not job.settings.overwrite:
        return _take_up(job)
    if fs.exists(path):
        _remove(fs, path)
    return _create(job, fs, path)


def _take_up(job: Job) -> None:
    destination, resume = job.settings.destination, job.settings.resume
    cube = SpectralCube.open(destination)
    if not resume and cube.sealed:
        fix = "Add --overwrite to replace it."
        raise Refusal("the destination must be new", f"{destination}, a finished cube", fix)
    if not resume:
        fix = "Add --resume to go on with it, --overwrite to begin again."
        raise Refusal("the destination must be new", f"{destination}, a half-finished cube", fix)
    wanted = json.loads(json.dumps(dict(job.spec.settings)))
    for key in sorted(wanted.keys() | cube.settings.keys()):
        if wanted.get(key) != cube.settings.get(key):
            change = f"{key} {cube.settings.get(key)} in the cube, {wanted.get(key)} now"
            fix = "Resume as it was begun, or begin again with --overwrite."
            raise Refusal("a cube is resumed under the settings it was begun with", change, fix)


def _remove(fs: fsspec.AbstractFileSystem, path: str) -> None:
    if not any(fs.exists(f"{path}/{name}") for name in (".zgroup", "zarr.json")):
        rule, fix = "--overwrite replaces cubes only", "Delete it yourself, or choose another name."
        raise Refusal(rule, path, fix)
    fs.rm(path, recursive=True)


def _create(job: Job, fs: fsspec.AbstractFileSystem, path: str) -> None:
    if isinstance(fs, LocalFileSystem):
        refuse_too_big(job.plan, _existing(Path(path)))
    try:
        SpectralCube.create(job.settings.destination, job.spec)
    except OSError as error:
        if fs.exists(path):
            fs.rm(path, recursive=True)
        raise Refusal("the destination must be writable", error, "Choose another place.") from error


def _existing(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())


def run_region(job: Job, region: Window, done: Callable[[int], None] = lambda _: None) -> None:
    """Write what a region of a prepared cube lacks. Doing it twice changes nothing."""
    job.connect(SpectralCube.open(job.settings.destination)).run(region, done)


def finish(job: Job, seconds: float) -> dict[str, Any]:
    """Seal the cube and write `run.json` beside it; returns that record."""
    cube = SpectralCube.open(job.settings.destination)
    cube.seal()
    record = {
        "cube": job.settings.destination,
        "source": job.settings.source,
        "settings": job.settings.model_dump(mode="json"),
        "provenance": dict(job.spec.settings),
        "environment": _environment(),
        "tiles": job.plan.tiles,
        "regions": len(job.plan.regions),
        "megapixels": job.plan.place.height * job.plan.place.width / 1e6,
        "seconds": round(seconds, 3),
    }
    with fsspec.open(record_path(job.settings.destination), "w") as file:
        json.dump(record, file, indent=2)
    return record


def record_path(destination: str) -> str:
    """Where `run.json` of a cube is: beside it."""
    return destination.rstrip("/").removesuffix(".zarr") + ".run.json"


def _environment() -> dict[str, Any]:
    packages = ("torch", "numpy", "zarr", "rasterio", "prefect", "r2h")
    return {
        "versions": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


def reconstruct(
    settings: ReconstructSettings, watch: Callable[[Job], Callable[[int], None]]
) -> dict[str, Any]:
    """The whole job in this process; ``watch(job)`` gives what is told of finished tiles."""
    start = time.perf_counter()
    job = open_job(settings)
    prepare(job)
    done = watch(job)
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
