"""A cube, or a window of it, in the forms that other software asks for.

Each is written in parts of a chunk: memory does not grow with the cube.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import fsspec
import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetWriter

from pipeline.cog import cog, window_of
from pipeline.convert import convert
from pipeline.cube import SpectralCube, unpack
from pipeline.errors import Refusal
from pipeline.grid import Window, regions
from pipeline.labels import Labels, Parts
from pipeline.layout import NOTE
from pipeline.light import Light
from pipeline.publish import published, refuse_there
from pipeline.remote import without_place
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
    "envi": lambda path: path.with_suffix(".hdr"),
    "npy": lambda path: path.with_name(f"{path.name}.json"),
}
"""What a format has beside its file."""


def export(
    cube: SpectralCube,
    uri: str,
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
    chosen = _form(uri, form)
    if not cube.sealed:
        rule, fix = "only a finished cube is exported", "Finish it with --resume."
        raise Refusal(rule, cube.uri, fix)
    place = window or Window(0, 0, cube.height, cube.width)
    labels, parts = Labels.of(cube).within(place), _parts(cube, place)
    if sensor or light:
        labels, parts = convert(labels, parts, sensor, light)
    with published(uri) as path, kept(cube):
        refuse_lost(cube)
        FORMS[chosen](path, labels, parts)
    return chosen


def refuse_taken(uri: str, form: str | None = None) -> None:
    """Raise Refusal where a file that `export` would make at ``uri``, or beside it, is there."""
    fs, path = fsspec.core.url_to_fs(uri)
    target, beside = PurePosixPath(path), BESIDE.get(_form(uri, form))
    for made in (target, beside(target)) if beside else (target,):
        refuse_there(made, fs)


def _form(uri: str, form: str | None) -> str:
    chosen = form or SUFFIXES.get(PurePosixPath(uri).suffix.lower())
    if chosen not in FORMS:
        raise Refusal(f"the format is one of {', '.join(FORMS)}", form or uri, "Give --format.")
    return chosen


def _parts(cube: SpectralCube, window: Window) -> Parts:
    for part in regions(window.height, window.width, cube.chunk, cube.chunk):
        yield part, cube.raw(part.shifted(window.row, window.col))


def _profile(labels: Labels) -> dict[str, Any]:
    return {
        "width": labels.width,
        "height": labels.height,
        "count": len(labels.wavelengths),
        "dtype": labels.dtype,
        "nodata": labels.nodata,
        "crs": labels.crs_wkt,
        "transform": labels.transform,
    }


def write_cog(path: Path, labels: Labels, parts: Parts) -> None:
    """A cloud-optimised GeoTIFF of the stored values, a band a wavelength, with overviews."""
    colours = [ColorInterp.gray] * len(labels.wavelengths)
    kinds = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    for band, kind in zip(labels.rgb, kinds, strict=True):
        colours[band - 1] = kind
    with cog(path, **_profile(labels)) as file:
        file.colorinterp = colours
        file.scales = [labels.scale] * file.count
        file.update_tags(DESCRIPTION=labels.origin, R2H=json.dumps(labels.settings))
        for band, name in enumerate(labels.names, 1):
            file.set_band_description(band, name)
            file.update_tags(band, **band_items(labels, band))
            file.update_tags(band, ns="IMAGERY", **imagery_items(labels, band))
        _fill(file, parts)


def write_envi(path: Path, labels: Labels, parts: Parts) -> None:
    """ENVI, band sequential, of the stored values, with its header beside it."""
    refuse_moved(path, labels)
    with without_place():
        file = rasterio.open(path, "w", driver="ENVI", **_profile(labels))
    with file:
        file.update_tags(ns="ENVI", **_envi_items(labels))
        for band, name in enumerate(labels.names, 1):
            file.set_band_description(band, name)
        _fill(file, parts)
    # Of GDAL alone, and nothing that the header does not say.
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    header = Path(BESIDE["envi"](path))
    # GDAL describes a new file by its path.
    text = header.read_text("utf-8").replace(str(path), labels.origin)
    header.write_text(text, "utf-8")


def refuse_moved(path: Path, labels: Labels) -> None:
    """Raise Refusal for a place that an ENVI header at ``path`` cannot hold.

    It is written with one pixel and read back: no corner may be off by a thousandth of a pixel.
    """
    place = labels.transform
    if place is None:
        return
    _refuse_unit(labels.crs_wkt)
    one = {"driver": "ENVI", **_profile(labels), "height": 1, "width": 1, "count": 1}
    with without_place():
        rasterio.open(path, "w", **one).close()
        with rasterio.open(path) as file:
            found = file.transform
    pixels = [(col, row) for col in (0, labels.width) for row in (0, labels.height)]
    off = np.subtract([~place @ (found @ pixel) for pixel in pixels], pixels)
    # Rows that go up GDAL writes, and reads, as what to others is a half turn.
    if place.determinant > 0 or not np.abs(off).max() < 1e-3:
        rule = "an ENVI header holds no shear, mirroring or half turn, and turns square pixels only"
        raise Refusal(rule, place[:6], "Export as cog or netcdf.")


def _refuse_unit(crs_wkt: str | None) -> None:
    # Other software goes by the header's `map info`, which GDAL gives no unit but feet, and
    # reads those of the US survey as others.
    name, size = CRS.from_wkt(crs_wkt).units_factor if crs_wkt else ("metre", 1.0)
    if not np.isclose(size, (1, np.pi / 180, 0.3048), rtol=1e-9, atol=0).any():
        rule = "an ENVI header's place is in metres, degrees or feet of 0.3048 m"
        raise Refusal(rule, name, "Export as cog or netcdf.")


def _envi_items(labels: Labels) -> dict[str, str]:
    items = {
        "wavelength": _listed(labels.wavelengths),
        "wavelength_units": "Nanometers",
        "fwhm": _listed(labels.fwhm),
        "bbl": _listed((1,) * len(labels.wavelengths)),
        "default_bands": _listed(labels.rgb),
    }
    if white := labels.white:
        items |= {"quantity": labels.quantity, "white": _listed(white)}
    if labels.scale != 1:
        items["reflectance_scale_factor"] = f"{1 / labels.scale:g}"
    if here := labels.window:
        items |= {"x_start": f"{here.col + 1}", "y_start": f"{here.row + 1}"}
    return items


def _listed(values: tuple[float, ...]) -> str:
    return f"{{{', '.join(f'{value:g}' for value in values)}}}"


def _fill(file: DatasetWriter, parts: Parts) -> None:
    for part, raw in parts:
        file.write(raw, window=window_of(part))


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
