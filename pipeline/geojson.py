"""Polygons of a GeoJSON file, in longitude and latitude."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal

Box = tuple[float, float, float, float]
Shape = dict[str, Any]
"""A geometry: Polygon or MultiPolygon."""
Ring = list[list[float]]
_ANYWHERE: Box = (-np.inf, -np.inf, np.inf, np.inf)
_EARTH: Box = (-180, -90, 180, 90)
_RULE = "an area is a GeoJSON file of polygons in longitude and latitude"
_FIX = "Give a Polygon, Feature or FeatureCollection in WGS 84."
_WGS84 = re.compile(
    r"(urn:(x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?"
    r"((OGC[:/]([\d.]*[:/])?)?CRS84|EPSG[:/]([\d.]*[:/])?4326)",
    re.IGNORECASE,
)


def polygons(path: str) -> list[Shape]:
    """Those of a Polygon, MultiPolygon, Feature or FeatureCollection (RFC 7946).

    Raises Refusal for what is none, is malformed, or says that it is not in WGS 84.
    """
    try:
        top = json.loads(Path(path).read_text("utf-8-sig"))
        features = top["features"] if top["type"] == "FeatureCollection" else [top]
        given = [f["geometry"] if f["type"] == "Feature" else f for f in features]
        shapes = [shape for shape in given if shape is not None]  # a feature without a place
        kinds = {shape["type"] for shape in shapes}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise Refusal(_RULE, f"{path}: {error}", _FIX) from None
    if not shapes or not kinds <= {"Polygon", "MultiPolygon"}:
        raise Refusal(_RULE, f"{path} with {sorted(map(str, kinds)) or 'nothing'}", _FIX)
    for part in (top, *features, *shapes):
        _refuse_crs(part.get("crs"), path)
    bounds(path, shapes, within=_EARTH)
    _refuse_far_way(path, shapes)
    # An empty one is no mistake, but GDAL takes none.
    whole = [{**shape, "coordinates": _drawn(shape)} for shape in shapes]
    return [shape for shape in whole if shape["coordinates"]]


def _drawn(shape: Shape) -> Any:
    """Coordinates of a shape without polygons that have no ring."""
    if shape["type"] == "Polygon":
        return shape["coordinates"]
    return [polygon for polygon in parts(shape) if polygon]


def _refuse_far_way(path: str, shapes: Iterable[Shape]) -> None:
    """Refuse an edge that may as well go the other way around the Earth.

    One of 360 degrees, along the whole of a parallel, is meant.
    """
    for ring in (ring for shape in shapes for ring in rings(shape)):
        along = np.abs(np.diff(ring[:, 0]))
        if ((along > 180) & (along < 360)).any():
            rule = "an area that crosses 180 degrees is cut there (RFC 7946, 3.1.9)"
            found = f"{path} with an edge over {along[along < 360].max():g} degrees of longitude"
            raise Refusal(rule, found, "Cut it in two, or put points on the edge.")


def _refuse_crs(crs: Any, path: str) -> None:
    """What GeoJSON was before RFC 7946 may name one, and GIS software still writes it."""
    try:
        about = {"name": "CRS84"} if crs is None else crs["properties"]
        name = str(about.get("name") or f"EPSG:{about['code']}")
    except (KeyError, TypeError, AttributeError):
        name = str(crs)
    if not _WGS84.fullmatch(name):
        fix = f"Run ogr2ogr -t_srs EPSG:4326 wgs84.geojson {path}."
        raise Refusal("an area is in WGS 84 (CRS84, EPSG:4326)", f"{path} in {name}", fix)


def bounds(path: str, shapes: Iterable[Shape], within: Box = _ANYWHERE) -> Box:
    """Those of all shapes. Raises Refusal where one is malformed or they are not ``within``."""
    try:
        # Looked through here: rasterio crashes on coordinates that are not numbers.
        points = np.concatenate([ring for shape in shapes for ring in rings(shape)])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise Refusal(_RULE, f"{path}: {error}", _FIX) from None
    (left, bottom), (right, top) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    least_x, least_y, most_x, most_y = within
    inside = least_x <= left and least_y <= bottom and right <= most_x and top <= most_y
    if not (np.isfinite(points).all() and inside):
        raise Refusal(_RULE, f"{path} with bounds {left, bottom, right, top}", _FIX)
    return left, bottom, right, top


def parts(shape: Shape) -> list[list[Ring]]:
    """The rings of each of its polygons, the outer one first."""
    many = shape["type"] == "MultiPolygon"
    found: list[list[Ring]] = shape["coordinates"] if many else [shape["coordinates"]]
    return found


def rings(shape: Shape) -> Iterator[NDArray[np.float64]]:
    """The rings (points, 2) of a polygon or multipolygon; ValueError where one is not closed."""
    for polygon in parts(shape):
        for ring in polygon:
            points = np.asarray(ring, np.float64)
            if points.ndim != 2 or points.shape[0] < 4 or points.shape[1] < 2:
                raise ValueError("a ring needs four points or more")
            if (points[0, :2] != points[-1, :2]).any():
                raise ValueError("a ring ends where it begins")
            yield points[:, :2]
