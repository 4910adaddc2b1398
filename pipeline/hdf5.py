"""Exports that are HDF5 underneath: NetCDF-4 and MATLAB 7.3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from pipeline.cube import unpack
from pipeline.labels import Labels, Parts
from pipeline.layout import NOTE, axis_attributes, reference

_SIDE = 256
_HEADER = b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 ."
# Where MATLAB looks for its version, and in which order the bytes of a word are.
_VERSION = b"\x00\x02IM"
_BLOCK = 512


def write_netcdf(path: Path, labels: Labels, parts: Parts) -> None:
    """NetCDF-4 after CF of the stored values (wavelength, y, x), packed as in the cube."""
    with h5netcdf.File(path, "w") as file:
        file.attrs.update({"Conventions": "CF-1.11", "title": labels.quantity})
        file.attrs["comment"] = labels.origin
        file.attrs["r2h"] = json.dumps(labels.settings)
        file.dimensions = dict(zip(("wavelength", "y", "x"), labels.shape, strict=True))
        _coordinates(file, labels)
        dtype = np.dtype(labels.dtype)
        chunks = (1, min(_SIDE, labels.height), min(_SIDE, labels.width))
        cube = file.create_variable(
            labels.quantity,
            ("wavelength", "y", "x"),
            dtype,
            fillvalue=dtype.type(labels.nodata),
            chunks=chunks,
            compression="gzip",
            compression_opts=4,
            shuffle=True,
        )
        cube.attrs.update(
            {"long_name": f"{labels.quantity} relative to {labels.unit}", "units": "1"}
        )
        cube.attrs.update({"comment": NOTE, "coordinates": "fwhm"} | _place(file, labels))
        if labels.scale != 1:
            cube.attrs["scale_factor"] = labels.scale
        for part, raw in parts:
            cube[:, *part.slices] = raw


def _place(file: h5netcdf.File, labels: Labels) -> dict[str, str]:
    if "spatial_ref" not in file.variables:
        return {}
    # With a mapping GDAL takes y and x for map units, also where they count pixels.
    counted = {"coordinates": "fwhm spatial_ref"}
    return {"grid_mapping": "spatial_ref"} if labels.spec.upright else counted


def _coordinates(file: h5netcdf.File, labels: Labels) -> None:
    centre = {"units": "nm", "standard_name": "radiation_wavelength"}
    width = {"units": "nm", "long_name": "full width at half maximum"}
    _variable(file, "wavelength", ("wavelength",), labels.wavelengths, centre)
    _variable(file, "fwhm", ("wavelength",), labels.fwhm, width)
    if labels.white:
        white = {
            "units": "1",
            "long_name": "radiance of a white surface, by which it is reflectance",
        }
        _variable(file, "white", ("wavelength",), labels.white, white)
    spec = labels.spec
    for name, values in zip(("y", "x"), labels.pixel_centres, strict=True):
        _variable(file, name, (name,), values, axis_attributes(name, spec))
    known = reference(spec)
    if spec.legible() and spec.place and spec.place.e > 0:
        # GDAL 3.12 turns what runs south to north, and its transform not: y and x say it all.
        del known["GeoTransform"]
    if known:
        _variable(file, "spatial_ref", (), 0, known)


def _variable(
    file: h5netcdf.File,
    name: str,
    dimensions: tuple[str, ...],
    values: Any,
    attributes: dict[str, Any],
) -> None:
    array = np.asarray(values, np.float64 if dimensions else np.int32)
    file.create_variable(name, dimensions, array.dtype, data=array).attrs.update(attributes)


def write_mat(path: Path, labels: Labels, parts: Parts) -> None:
    """MATLAB 7.3 with `reflectance` or `radiance` (row, column, wavelength), single, NaN: nodata.

    Beside it `wavelength` and `fwhm` in nm, `transform` (a, b, c, d, e, f), `crs_wkt`, `note`, and
    of radiance `quantity` and `white`, what a white surface sends back in each band.
    """
    with _matlab(path) as file:
        _put(file, "wavelength", labels.wavelengths)
        _put(file, "fwhm", labels.fwhm)
        if labels.transform is not None:
            _put(file, "transform", labels.transform[:6])
        _put_text(file, "crs_wkt", labels.crs_wkt or "")
        _put_origin(file, labels)
        _put_cube(file, labels.quantity, labels, parts)
    _stamp(path)


def write_ntire(path: Path, labels: Labels, parts: Parts) -> None:
    """MATLAB 7.3 as ARAD_1K of NTIRE 2022 has it: `cube`, `bands` in nm, `norm_factor` 1.

    `norm_factor` is what values were divided by; these are as they are.
    """
    with _matlab(path) as file:
        _put(file, "bands", labels.wavelengths)
        _put(file, "norm_factor", (1.0,))
        _put_origin(file, labels)
        _put_cube(file, "cube", labels, parts)
    _stamp(path)


def _matlab(path: Path) -> h5py.File:
    return h5py.File(path, "w", userblock_size=_BLOCK)


def _stamp(path: Path) -> None:
    # 116 bytes of text, 8 of an offset that is not used, the version.
    with path.open("r+b") as file:
        file.write(_HEADER.ljust(116) + bytes(8) + _VERSION)


def _put(file: h5py.File, name: str, row: tuple[float, ...]) -> None:
    """A row vector; HDF5 has MATLAB's dimensions in reverse."""
    file.create_dataset(name, data=np.array(row, np.float64)[:, None])
    _class(file, name, "double")


def _put_text(file: h5py.File, name: str, text: str) -> None:
    # MATLAB's own way to write an empty string is a special case; a space is none.
    codes = np.frombuffer((text or " ").encode("utf-16-le"), np.uint16)
    file.create_dataset(name, data=codes[:, None])
    _class(file, name, "char")
    file[name].attrs["MATLAB_int_decode"] = np.int32(2)


def _put_origin(file: h5py.File, labels: Labels) -> None:
    _put_text(file, "note", labels.origin)
    if labels.white:
        _put_text(file, "quantity", labels.quantity)
        _put(file, "white", labels.white)


def _put_cube(file: h5py.File, name: str, labels: Labels, parts: Parts) -> None:
    bands, height, width = labels.shape
    chunks = (1, min(_SIDE, width), min(_SIDE, height))
    layout = {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True}
    cube = file.create_dataset(name, (bands, width, height), np.float32, **layout)
    _class(file, name, "single")
    for part, raw in parts:
        rows, cols = part.slices
        cube[:, cols, rows] = unpack(raw)[0].transpose(0, 2, 1)


def _class(file: h5py.File, name: str, kind: str) -> None:
    file[name].attrs["MATLAB_class"] = np.bytes_(kind)
