"""What is at a run's destination, and whether the run may go on with it or replace it."""

import json
from pathlib import PurePath
from typing import Any

from fsspec.core import url_to_fs

from flows.job import Job
from flows.record import refuse_foreign_record, refuse_shared_record, same_input
from flows.settings import ReconstructSettings
from pipeline import reach, sidecar
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.export import SUFFIXES
from pipeline.place import is_free, refuse_foreign, refuse_inside
from pipeline.store import storage_errors
from pipeline.uri import local_path

OTHERS = {*SUFFIXES, ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".img", ".vrt", ".json"}
"""Ends of names that promise another format than a cube's."""


def check_destination(job: Job) -> None:
    """Raise Refusal where `prepare` would; changes nothing."""
    if check_new(job.settings) and not job.settings.overwrite:
        # First: of another input the scale is another too, which is no setting.
        same_input(job)
        refuse_other_settings(job)
        _ = SpectralCube.open(job.settings.destination).companion


def check_new(settings: ReconstructSettings) -> bool:
    """Whether a cube is at the destination, which the settings may go on with or replace.

    Raises Refusal where they may not: that is known before a pixel is read.
    """
    if not is_there(settings):
        return False
    destination = settings.destination
    if settings.overwrite:
        refuse_foreign(destination)
        return True
    cube = SpectralCube.open(destination)
    if not settings.resume:
        state, fix = (
            ("a finished cube", "Add --overwrite to replace it.")
            if cube.sealed
            else ("a half-finished cube", "Add --resume to go on, --overwrite to begin again.")
        )
        raise Refusal("the destination must be new", f"{destination}, {state}", fix)
    return True


def is_there(settings: ReconstructSettings) -> bool:
    """Whether a cube is at the destination.

    Raises Refusal where something else is, or has the place of what lies beside a cube.
    """
    try:
        local_path(settings.destination)  # refuses a file URI that leads elsewhere
        _, path = url_to_fs(settings.destination)
        path.encode()  # GDAL, which writes beside it, has names in UTF-8
        exists = not is_free(settings.destination)
        if not exists:
            _refuse_other_format(settings.destination)
            refuse_inside(settings.destination)
            refuse_foreign_record(settings.destination)
        refuse_shared_record(settings.destination)
    except Refusal:
        raise
    except storage_errors(ValueError, ImportError) as error:
        fix = "Give a path, or a URI whose file system is installed."
        raise reach.failed(error, "the destination must be reachable", fix) from None
    if settings.sidecars:
        sidecar.refuse_foreign(settings.destination)
    return exists


def _refuse_other_format(destination: str) -> None:
    """What asks for a GeoTIFF by its name would be given a folder of that name.

    And the item of ``NAME.run.zarr`` would be the record of ``NAME.zarr``.
    """
    if sidecar.stem(destination).endswith(".run"):
        found, fix = f"{destination}, beside records NAME.run.json", "Choose another name."
        raise Refusal("a cube's name does not end in .run", found, fix)
    if PurePath(destination).suffix.lower() in OTHERS:
        fix = "Name it NAME.zarr; `r2h export` makes files of other formats of it."
        raise Refusal("a cube is a Zarr store, which is a folder", destination, fix)


def refuse_other_settings(job: Job) -> None:
    """Raise Refusal where the cube was begun under settings that give another result."""
    cube = SpectralCube.open(job.settings.destination)
    for key, (found, wanted) in other_settings(job, cube).items():
        change = f"{key} {found} in the cube, {wanted} now"
        how = "with the version that began it" if key == "format" else "as it was begun"
        fix = f"Resume {how}, or begin again with --overwrite."
        raise Refusal("a cube is resumed under the settings it was begun with", change, fix)


def other_settings(job: Job, cube: SpectralCube) -> dict[str, tuple[Any, Any]]:
    """Of settings that give another result than the cube's: its value, and the job's."""
    found, wanted = cube.settings, json.loads(json.dumps(dict(job.spec.settings)))
    # Of another version much may differ: that it is one is told first.
    keys = sorted(wanted.keys() | found.keys(), key=lambda key: (key != "format", key))
    both = {key: (found.get(key), wanted.get(key)) for key in keys}
    return {key: (there, now) for key, (there, now) in both.items() if there != now}
