"""How a cube lies in its store: one array with its labels, as xarray, rioxarray and GDAL want it.

GDAL shows bands only when the store's one array of two or more dimensions is the cube.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.geozarr import cf_axis, cf_mapping, conventions
from pipeline.grid import Window

ARRAY = "reflectance"
NOTE = "estimated from RGB, not measured"
SCALE = 1e-4  # reflectance of one uint16 count
PEAK = 6.5534  # the largest reflectance that uint16 holds beside its nodata value
ZSTD: dict[str, Any] = {"level": 1, "checksum": True}  # how chunks are compressed
NODATA = {"uint16": 65535, "float32": float("nan")}


@dataclass(frozen=True, slots=True)
class CubeSpec:
    """What a cube is before it has values. Raises Refusal for what cannot be stored."""

    height: int
    """Rows of the cube."""
    width: int
    """Columns of the cube."""
    wavelengths: tuple[float, ...]
    """Band centres in nm, ascending."""
    chunk: int = 256
    """Rows and columns of a chunk, which holds all wavelengths."""
    dtype: Literal["uint16", "float32"] = "uint16"
    """Stored type; a uint16 count is 1e-4."""
    zarr_format: Literal[2, 3] = 2
    """GDAL 3.10 reads 2 only."""
    transform: Affine | None = None
    """The scene's transform, from pixel corner (col, row) to map (x, y)."""
    crs_wkt: str | None = None
    """The scene's coordinate reference system."""
    row0: int = 0
    """The scene's row of the cube's first row."""
    col0: int = 0
    """The scene's column of the cube's first column."""
    spread: bool = False
    """Whether standard deviations are kept beside it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able provenance, kept in the root attribute `r2h`."""

    def __post_init__(self) -> None:
        Window(self.row0, self.col0, self.height, self.width)
        if not self.wavelengths or list(self.wavelengths) != sorted(set(self.wavelengths)):
            raise Refusal("wavelengths ascend, in nm", self.wavelengths, "Sort them.")
        if self.chunk < 1:
            raise Refusal("a chunk has at least one pixel", self.chunk, "Use 256.")
        if self.dtype not in NODATA:
            raise Refusal("a cube is uint16 or float32", self.dtype, "Use uint16.")
        if self.zarr_format not in (2, 3):
            raise Refusal("the Zarr format is 2 or 3", self.zarr_format, "Use 2.")

    @property
    def rotated(self) -> bool:
        """Whether there is a transform that y and x labels cannot hold."""
        return self.transform is not None and not self.upright

    @property
    def upright(self) -> bool:
        """Whether there is a transform without rotation or shear."""
        return self.transform is not None and self.transform.b == self.transform.d == 0

    def legible(self, factor: int = 1) -> bool:
        """Whether GDAL 3.10 finds the place in y and x: upright, and two or more of each."""
        return self.upright and min(self.height, self.width) > factor

    @property
    def place(self) -> Affine | None:
        """The cube's own transform: the scene's, moved to the cube's first pixel."""
        if self.transform is None:
            return None
        a, b, c, d, e, f = (float(value) for value in self.transform[:6])
        row, col = self.row0, self.col0
        return Affine(a, b, c + a * col + b * row, d, e, f + d * col + e * row)

    def pixel_centres(self, factor: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The y (height,) and x (width,) of the cube's pixels, or of squares of ``factor`` pixels.

        Map units where the transform is upright; else pixels from the scene's upper left corner,
        so that the first centre is 0.5 and the transform that readers guess is the identity.
        """
        sides = (-(-side // factor) for side in (self.height, self.width))
        rows, cols = ((np.arange(side, dtype=np.float64) + 0.5) * factor for side in sides)
        place = self.place
        if place is None or not self.upright:
            return rows + self.row0, cols + self.col0
        return place.f + place.e * rows, place.c + place.a * cols


def about(spec: CubeSpec) -> dict[str, Any]:
    """What the root group says to readers that know a convention: CF and GeoZarr."""
    place = conventions((spec.height, spec.width), spec.place, spec.crs_wkt, spec.legible())
    return {"Conventions": "CF-1.11", "comment": NOTE, **place}


def lay_out(group: zarr.Group, spec: CubeSpec) -> None:
    """Create the cube's array, without values, and its coordinates in a new group."""
    add_reflectance(group, ARRAY, spec)
    add_labels(group, spec)


def add_labels(group: zarr.Group, spec: CubeSpec) -> None:
    """Create the coordinates that a cube and what is beside it share."""
    _add_wavelengths(group, np.array(spec.wavelengths, np.float64))
    add_centres(group, spec)
    if spec.crs_wkt or spec.rotated:
        _add_coordinate(group, "spatial_ref", None, np.array(0), reference(spec))


def add_centres(group: zarr.Group, spec: CubeSpec, factor: int = 1) -> tuple[str, str]:
    """Create the y and x of squares of ``factor`` pixels; returns their names."""
    names = ("y", "x") if factor == 1 else (f"y_{factor}", f"x_{factor}")
    for name, axis, centres in zip(names, ("y", "x"), spec.pixel_centres(factor), strict=True):
        _add_coordinate(group, name, name, centres, axis_attributes(axis, spec))
    return names


def add_reflectance(
    group: zarr.Group,
    name: str,
    spec: CubeSpec,
    axes: tuple[str, str] = ("y", "x"),
    factor: int = 1,
    chunk: int | None = None,
) -> None:
    """Create an array of reflectance as a cube stores it, of squares of ``factor`` pixels."""
    bands, side = len(spec.wavelengths), chunk or spec.chunk
    shape = (-(-spec.height // factor), -(-spec.width // factor))
    place = spec.place and spec.place @ Affine.scale(factor)
    add_array(
        group,
        name,
        ("wavelength", *axes),
        _reflectance_attributes(spec, factor)
        | conventions(shape, place, spec.crs_wkt, spec.legible(factor)),
        shape=(bands, *shape),
        chunks=(bands, side, side),
        dtype=spec.dtype,
        fill_value=NODATA[spec.dtype],
    )


def _reflectance_attributes(spec: CubeSpec, factor: int) -> dict[str, Any]:
    name = "reflectance relative to white"
    attributes: dict[str, Any] = {"long_name": name, "comment": NOTE, "units": "1"}
    if spec.dtype == "uint16":
        attributes |= {"scale_factor": SCALE, "valid_range": [0, 65534]}
        # v2 has no attribute for it: there xarray and GDAL read the array's fill value.
        attributes |= {"_FillValue": NODATA["uint16"]} if spec.zarr_format == 3 else {}
    else:
        attributes |= {"valid_range": [0.0, PEAK]}
    return attributes | georeferenced(spec, "fwhm", "good_wavelengths", factor=factor)


def georeferenced(spec: CubeSpec, *labels: str, factor: int = 1) -> dict[str, str]:
    """Attributes of an array that name its further coordinates and where its CRS is."""
    attributes = {}
    if spec.crs_wkt or spec.rotated:
        labels = (*labels, "spatial_ref")
    if spec.crs_wkt and spec.legible(factor):
        # GDAL takes no transform for the identity: with this it would put what it cannot read in a
        # wrong place, without it in none. rioxarray goes by the name.
        attributes["grid_mapping"] = "spatial_ref"
    return attributes | ({"coordinates": " ".join(labels)} if labels else {})


def _add_wavelengths(group: zarr.Group, nm: NDArray[np.float64]) -> None:
    spacing = np.gradient(nm) if nm.size > 1 else np.full(1, np.nan)
    note = "full width at half maximum, taken as the spacing of the wavelengths"
    centre = {"units": "nm", "standard_name": "radiation_wavelength"}
    _add_coordinate(group, "wavelength", "wavelength", nm, centre)
    _add_coordinate(group, "fwhm", "wavelength", spacing, {"units": "nm", "long_name": note})
    good = np.ones(nm.size, np.uint8)
    _add_coordinate(group, "good_wavelengths", "wavelength", good, {"long_name": "1 where usable"})


def axis_attributes(name: str, spec: CubeSpec) -> dict[str, str]:
    """What the coordinate y or x says of itself, after CF."""
    axis = {"axis": name.upper()}
    if not spec.upright:
        return axis | {"long_name": "pixel centre, in pixels from the scene's upper left corner"}
    return axis | cf_axis(name, spec.crs_wkt)


def reference(spec: CubeSpec) -> dict[str, Any]:
    """What `spatial_ref` says: the CRS as WKT and after CF, and the transform."""
    mapping = cf_mapping(spec.crs_wkt) if spec.crs_wkt else {}
    attributes = {**mapping, "crs_wkt": spec.crs_wkt} if spec.crs_wkt else {}
    if spec.place:
        attributes["GeoTransform"] = " ".join(map(repr, spec.place.to_gdal()))
    return attributes


def _add_coordinate(
    group: zarr.Group,
    name: str,
    dimension: str | None,
    values: NDArray[Any],
    attributes: Mapping[str, Any],
) -> None:
    array: dict[str, Any] = {"shape": values.shape, "chunks": values.shape, "dtype": values.dtype}
    # In v2 xarray takes any fill value for nodata: it would turn a coordinate of 0 into NaN.
    array["fill_value"] = None if group.metadata.zarr_format == 2 else 0
    dimensions = (dimension,) if dimension else ()
    add_array(group, name, dimensions, attributes, **array)[...] = values


def add_array(
    group: zarr.Group,
    name: str,
    dimensions: tuple[str, ...],
    attributes: Mapping[str, Any],
    **array: Any,
) -> zarr.Array[Any]:
    """Create an array with named dimensions and ``ZSTD``, as each format spells them."""
    kind: dict[str, Any] = {"attributes": dict(attributes)}
    if group.metadata.zarr_format == 2:
        kind["attributes"]["_ARRAY_DIMENSIONS"] = list(dimensions)
        # Said, as a user's own Zarr settings have another for arrays that say none.
        kind |= {"compressors": {"id": "zstd", **ZSTD}, "filters": None, "order": "C"}
    else:
        kind["dimension_names"] = dimensions
        kind["compressors"] = {"name": "zstd", "configuration": ZSTD}
    return group.create_array(name, **kind, **array)
