"""How a raster's place is said in attributes: by the GeoZarr conventions, and by CF.

https://github.com/zarr-conventions (spatial, proj and multiscales, version 1); CF conventions 1.11,
appendix F.
"""

from typing import Any

import numpy as np
import pyproj
from affine import Affine
from pyproj.exceptions import CRSError
from rasterio.crs import CRS

_HOME = "https://raw.githubusercontent.com/zarr-conventions"
_SPATIAL = {
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial",
    "schema_url": f"{_HOME}/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "description": "Spatial coordinate information",
}
_PROJ = {
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "schema_url": f"{_HOME}/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    "description": "Coordinate reference system information for geospatial data",
}
_LENGTHS = {"metre": 1, "kilometre": 1000, "foot": 0.3048, "US_survey_foot": 1200 / 3937}
_PLACED = ("spatial:shape", "spatial:transform")
_MULTISCALES = {
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "schema_url": f"{_HOME}/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "description": "Multiscale layout of zarr datasets",
}


def multiscales(levels: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """GeoZarr attributes of a group that holds these levels, by array name, finest first.

    Each halves rows and columns of the one before; with it comes what `conventions` says of it.
    """
    layout: list[dict[str, Any]] = []
    for name, about in levels:
        level: dict[str, Any] = {"asset": name}
        if layout:
            level |= {"derived_from": layout[-1]["asset"], "transform": {"scale": [1.0, 2.0, 2.0]}}
        layout.append(level | {key: about[key] for key in _PLACED if key in about})
    spatial = [_SPATIAL] if _PLACED[0] in layout[0] else []
    return {
        "zarr_conventions": [*spatial, _MULTISCALES],
        "multiscales": {"layout": layout, "resampling_method": "average"},
    }


def conventions(
    shape: tuple[int, int], transform: Affine | None, crs_wkt: str | None, legible: bool
) -> dict[str, Any]:
    """GeoZarr attributes of a raster (height, width); nothing where it has no place.

    The transform is from pixel corner (col, row) to map (x, y), rotation included. Where that is
    not ``legible`` to GDAL, the CRS is named by its code alone (`spatial_ref` holds all of it): of
    `proj:wkt2` GDAL 3.12 takes the CRS, and the identity for the transform that it does not find.
    """
    known: list[dict[str, str]] = []
    attributes: dict[str, Any] = {}
    if transform is not None:
        known.append(_SPATIAL)
        attributes["spatial:dimensions"] = ["y", "x"]
        attributes["spatial:shape"] = list(shape)
        attributes["spatial:transform"] = [float(value) for value in transform[:6]]
    said = proj(crs_wkt) if crs_wkt else {}
    if not legible:
        said.pop("proj:wkt2", None)
    if said:
        known.append(_PROJ)
        attributes |= said
    return {"zarr_conventions": known, **attributes} if known else {}


def proj(crs_wkt: str) -> dict[str, str]:
    """`proj:wkt2`, and `proj:code` where an authority's CRS is exactly this one."""
    crs = CRS.from_wkt(crs_wkt)
    found = {"proj:wkt2": crs.to_wkt(version="WKT2_2019")}
    authority = crs.to_authority(confidence_threshold=100)
    return {"proj:code": ":".join(authority), **found} if authority else found


def cf_axis(name: str, crs_wkt: str | None) -> dict[str, str]:
    """What the coordinate y or x, in map units, says of itself."""
    crs = CRS.from_wkt(crs_wkt) if crs_wkt else None
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return {"long_name": "pixel centre, in map units"}
    if crs.is_projected:
        return {"standard_name": f"projection_{name}_coordinate", "units": _length(crs)}
    named, units = {"y": ("latitude", "degrees_north"), "x": ("longitude", "degrees_east")}[name]
    degrees = float(np.rad2deg(crs.units_factor[1]))
    return {
        "standard_name": named,
        "units": units if np.isclose(degrees, 1, 1e-9) else f"{degrees:.12g} degree",
    }


def _length(crs: CRS) -> str:
    """The unit of a projected CRS as UDUNITS, whose names CF takes, has it."""
    size = float(crs.units_factor[1])
    near = (name for name, metres in _LENGTHS.items() if np.isclose(size, metres, 1e-9, 0))
    return next(near, f"{size:.12g} metre")


def cf_mapping(crs_wkt: str) -> dict[str, Any]:
    """CF's grid mapping parameters of a CRS; none where CF has no name for it."""
    try:
        parameters = pyproj.CRS.from_wkt(crs_wkt).to_cf()
    except CRSError:
        return {}
    parameters.pop("crs_wkt", None)
    return parameters if "grid_mapping_name" in parameters else {}
