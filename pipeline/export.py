"""A cube, or a window of it, in the forms that other software asks for.

Each is written in parts of a chunk: memory does not grow with the cube.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePath, PurePosixPath

import fsspec
import numpy as np
from rasterio.enums import ColorInterp

from pipeline import taken
from pipeline.cog import cog, fill
from pipeline.convert import convert
from pipeline.cube import SpectralCube, unpack
from pipeline.envi import header_of, write_envi
from pipeline.errors import Refusal
from pipeline.grid import Window, regions
from pipeline.labels import Labels, Parts
from pipeline.layout import NOTE
from pipeline.light import Light
from pipeline.publish import published
from pipeline.sensor import Sensor
from pipeline.vrt import band_items, imagery_items
from pipeline.whole import kept, refuse_lost

Writer = Callable[[Path, Labels, Parts], None]
SUFFIXES = {
    ".img": "envi",
    ".tif": "cog",
    ".tiff": "cog",
    ".nc": "netcdf",
    ".mat": "mat",
    ".npy": "npy",
}
BESIDE: dict[str, Callable[[PurePath], PurePath]] = {
    "envi": header_of,
    "npy": lambda path: path.with_name(f"{path.name}.json"),
}
"""What a format has beside its file."""


def export(
    cube: SpectralCube,
    uri: str | Path,
    form: str | None = None,
    window: Window | None = None,
    sensor: Sensor | None = None,
    light: Light | None = None,
) -> str:
    """Write a window of a sealed cube (all of it) at ``uri``; returns the form that was chosen.

    Values are those stored, or what `convert` makes of them for a sensor or a light.
    ``form`` is a key of `FORMS`; else the name's ending says it. Raises Refusal where it does not,
    where the window leaves the cube, where the cube is not whole, or a run writes it meanwhile.
    """
    uri = os.fspath(uri)
    chosen = _form(uri, form)
    if not cube.sealed:
        rule, fix = "only a finished cube is exported", "Finish it with --resume."
        raise Refusal(rule, cube.uri, fix)
    place = window or Window(0, 0, cube.height, cube.width)
    labels, parts = Labels.of(cube).within(place), _parts(cube, place)
    if labels.transform is None and chosen in ("cog", "envi"):
        taken.refuse_place(uri)
    if sensor or light:
        labels, parts = convert(labels, parts, sensor, light)
    with published(uri) as path, kept(cube):
        refuse_lost(cube)
        FORMS[chosen](path, labels, parts)
    return chosen


def refuse_taken(cube: str, uri: str, form: str | None = None, overwrite: bool = False) -> None:
    """Raise Refusal where `export` may not write at ``uri``, or beside it: see `pipeline.taken`."""
    target, beside = PurePosixPath(fsspec.core.url_to_fs(uri)[1]), BESIDE.get(_form(uri, form))
    made = (target, beside(target)) if beside else (target,)
    taken.refuse_taken(cube, uri, made, overwrite)


def _form(uri: str, form: str | None) -> str:
    chosen = form or SUFFIXES.get(PurePosixPath(uri).suffix.lower())
    if chosen not in FORMS:
        raise Refusal(f"the format is one of {', '.join(FORMS)}", form or uri, "Give --format.")
    return chosen


def _parts(cube: SpectralCube, window: Window) -> Parts:
    for part in regions(window.height, window.width, cube.chunk, cube.chunk):
        yield part, cube.raw(part.shifted(window.row, window.col))


def write_cog(path: Path, labels: Labels, parts: Parts) -> None:
    """A cloud-optimised GeoTIFF of the stored values, a band a wavelength, with overviews."""
    colours = [ColorInterp.gray] * len(labels.wavelengths)
    for band, name in labels.coloured.items():
        colours[band - 1] = ColorInterp[name]
    with cog(path, **labels.profile) as file:
        file.colorinterp = colours
        file.scales = [labels.scale] * file.count
        file.update_tags(DESCRIPTION=labels.origin, R2H=json.dumps(labels.settings))
        for band, name in enumerate(labels.names, 1):
            file.set_band_description(band, name)
            file.update_tags(band, **band_items(labels, band))
            file.update_tags(band, ns="IMAGERY", **imagery_items(labels, band))
        fill(file, parts)


def write_npy(path: Path, labels: Labels, parts: Parts) -> None:
    """NumPy: float32 values (wavelength, row, column), NaN where nodata; labels beside it."""
    shape = (len(labels.wavelengths), labels.height, labels.width)
    array = np.lib.format.open_memmap(path, "w+", np.dtype(np.float32), shape)
    for part, raw in parts:
        array[:, *part.slices] = unpack(raw)[0]
    array.flush()
    here = labels.window
    about = {
        "note": NOTE,
        "quantity": labels.quantity,
        "bands": labels.names,
        "dimensions": ["wavelength", "row", "column"],
        "wavelength_nm": labels.wavelengths,
        "fwhm_nm": labels.fwhm,
        "transform": list(labels.transform)[:6] if labels.transform else None,
        "crs_wkt": labels.crs_wkt,
        "window": [here.row, here.col, here.height, here.width] if here else None,
        "r2h": labels.settings,
    }
    Path(BESIDE["npy"](path)).write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def _of_hdf5(name: str) -> Writer:
    """A writer of `pipeline.hdf5`, whose packages are an extra. Raises Refusal without them."""

    def write(path: Path, labels: Labels, parts: Parts) -> None:
        try:
            module = import_module("pipeline.hdf5")
        except ModuleNotFoundError as error:
            fix = "Run pip install 'r2h[export]'."
            raise Refusal("this format needs a package", error.name, fix) from error
        getattr(module, f"write_{name}")(path, labels, parts)

    return write


FORMS: dict[str, Writer] = {
    "envi": write_envi,
    "cog": write_cog,
    "netcdf": _of_hdf5("netcdf"),
    "mat": _of_hdf5("mat"),
    "npy": write_npy,
    "ntire": _of_hdf5("ntire"),
}
"""How each format is written."""
