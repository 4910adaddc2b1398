"""`run.json` beside a cube: where it came from, how it was made, what it took."""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import fsspec
import torch
from fsspec.core import url_to_fs

from flows.job import Job
from pipeline.redact import redact, redacted
from pipeline.remote import local_path
from pipeline.store import storage_errors

PACKAGES = ("r2h", "torch", "onnxruntime", "numpy", "zarr", "rasterio", "prefect")


def record_path(destination: str) -> str:
    """Where `run.json` of a cube is: beside it."""
    return destination.rstrip("/").removesuffix(".zarr") + ".run.json"


def write_record(job: Job, more: dict[str, Any]) -> dict[str, Any]:
    """Write `run.json`, with ``more`` in it and without secrets; returns what it holds."""
    record: dict[str, Any] = {
        "cube": job.settings.destination,
        "input": input_of(job),
        "settings": job.settings.model_dump(mode="json"),
        "provenance": dict(job.spec.settings),
        "device": job.device,
        "threads_per_tile": torch.get_num_threads(),
        "batch": job.settings.batch,
        "versions": {name: installed(name) for name in PACKAGES},
        "tiles": job.plan.tiles,
        "regions": len(job.plan.regions),
        "halo": round(job.plan.halo, 4),
        "megapixels": job.plan.place.height * job.plan.place.width / 1e6,
        **more,
    }
    shown: dict[str, Any] = redacted(record)
    with fsspec.open(record_path(job.settings.destination), "w") as file:
        json.dump(shown, file, indent=2)
    return shown


def installed(name: str) -> str | None:
    """Version of a package; None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def input_of(job: Job) -> dict[str, Any]:
    """Where the input is and when it was last changed, as far as its file system says."""
    source = job.settings.source
    return {"source": redact(source), "modified": _modified(source)}


def _modified(source: str) -> float | str | None:
    if (local := local_path(source)) is not None:
        return local.stat().st_mtime if local.is_file() else None
    try:
        fs, path = url_to_fs(source)
        about = fs.info(path)
    except storage_errors(ValueError, ImportError):
        return None  # GDAL reads what fsspec may have no driver for
    found = (about.get(key) for key in ("ETag", "etag", "LastModified", "created"))
    return next((str(value) for value in found if value), None)


def input_changed(job: Job) -> dict[str, Any] | None:
    """What the input was when the cube was begun, where it is another now; None where it is not."""
    try:
        with fsspec.open(record_path(job.settings.destination)) as file:
            before: dict[str, Any] = json.load(file)["input"]
    except FileNotFoundError:
        return None
    return before if before != input_of(job) else None
