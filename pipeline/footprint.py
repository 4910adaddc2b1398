"""Where a cube lies on Earth: its outline in longitude and latitude, after RFC 7946."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # warp lets them through
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from pipeline.labels import Labels
from pipeline.lonlat import LONLAT, pixels_of

_EDGE = 8  # points a side of the footprint, which may be bent in longitude and latitude
_DIGITS = 7  # of a degree: a centimetre
Ring = NDArray[np.float64]
"""Longitude and latitude (n, 2), closed."""


def footprint(labels: Labels) -> dict[str, Any] | None:
    """GeoJSON of the outline in longitude and latitude; None where it has no place on Earth.

    Cut at the antimeridian. Around a pole it goes there along it, as RFC 7946 has no other way to
    hold one; of both, or where a projection tells no pole, there is none. What goes around the
    Earth is all longitudes, from its south to its north.
    """
    if labels.transform is None or not labels.crs_wkt:
        return None
    crs = CRS.from_wkt(labels.crs_wkt)
    # Of a geocentric one PROJ would take x and y for a point at the height 0.
    if not (crs.is_geographic or crs.is_projected):
        return None
    ring = _ring(labels, labels.transform, crs)
    rings = [] if ring is None else _cut(ring, _pole(labels, labels.transform, crs))
    pieces = [[_counterclockwise(np.round(one, _DIGITS).tolist())] for one in rings]
    if len(pieces) < 2:
        return {"type": "Polygon", "coordinates": pieces[0]} if pieces else None
    return {"type": "MultiPolygon", "coordinates": pieces}


def bounds(geometry: dict[str, Any]) -> list[float]:
    """West, south, east, north; west is the larger where it is cut at the antimeridian."""
    cut = geometry["type"] == "MultiPolygon"
    parts = geometry["coordinates"] if cut else [geometry["coordinates"]]
    boxes = np.array([[*np.min(part[0], axis=0), *np.max(part[0], axis=0)] for part in parts])
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    if cut:
        west, east = boxes[boxes[:, 2] == 180, 0].min(), boxes[boxes[:, 0] == -180, 2].max()
        if east >= west:  # all around
            west, east = -180, 180
    return [float(value) for value in (west, south, east, north)]


def _ring(labels: Labels, transform: Affine, crs: CRS) -> Ring | None:
    """The outline, its longitudes going on beyond 180; None where a part has no place on Earth."""
    corners = np.array(list(_outline(labels, transform)))
    if crs.is_geographic:  # a raster may have the centres of its pixels on the poles
        pole = np.radians(90) / crs.units_factor[1]
        if np.abs(corners[:, 1]).max() - pole > abs(transform.e):
            return None
        corners[:, 1] = np.clip(corners[:, 1], -pole, pole)
    try:
        ring = np.array(warp(crs, LONLAT, *corners.T)).T
    except CPLE_BaseError:
        return None
    if not np.isfinite(ring).all():
        return None
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    return ring


def _pole(labels: Labels, transform: Affine, crs: CRS) -> float | None:
    """Latitude of the one pole that lies in the raster of a projection."""
    found = []
    for latitude in (90.0, -90.0):
        with suppress(CPLE_BaseError):
            ((col, row),) = pixels_of(np.array([[0.0, latitude]]), crs, transform)
            if 0 <= col <= labels.width and 0 <= row <= labels.height:
                found.append(latitude)
    return found[0] if len(found) == 1 else None


def _cut(ring: Ring, pole: float | None) -> list[Ring]:
    """A ring whose longitudes go on, in pieces between -180 and 180; none where that fails."""
    along = ring[:, 0]
    turns = round((along[-1] - along[0]) / 360)
    if turns:
        steps = np.diff(along) * turns
        return [] if pole is None or steps.min() <= 0 else [_around(ring, pole)]
    (_, south), (_, north) = ends = ring.min(axis=0), ring.max(axis=0)
    if np.ptp(along) >= 360 - 10.0**-_DIGITS and _is_box(ring, ends):
        box = [(-180, south), (180, south), (180, north), (-180, north), (-180, south)]
        return [np.array(box, np.float64)]
    ring = ring - (360 * np.floor((along.min() + 180) / 360), 0)
    if (east := ring[:, 0].max()) <= 180:
        return [ring]
    if east > 540:
        return []
    return [_side(ring, 1, 0.0), _side(ring, -1, 360.0)]


def _is_box(ring: Ring, ends: tuple[Ring, Ring]) -> bool:
    """Whether all of a ring lies on its bounds."""
    return bool(np.any([np.isclose(ring, end) for end in ends], axis=(0, 2)).all())


def _around(ring: Ring, pole: float) -> Ring:
    """A ring around a pole, opened at 180 degrees and closed over the pole."""
    along, up = ring[:-1].T
    at = np.mod(along + 180, 360) - 180
    order = np.argsort(at)
    at, up = at[order], up[order]
    edge = np.interp(180, [at[-1], at[0] + 360], [up[-1], up[0]])
    path = [(-180, edge), *zip(at, up, strict=True), (180, edge), (180, pole), (-180, pole)]
    return np.array([*path, path[0]], np.float64)


def _side(ring: Ring, sign: int, turn: float) -> Ring:
    """Of a convex ring what is west (``sign`` 1) or east (-1) of 180 degrees, less a ``turn``."""
    kept: list[tuple[float, float]] = []
    for (x, y), (to_x, to_y) in pairwise(ring.tolist()):
        if sign * (180 - x) >= 0:
            kept.append((x, y))
        if (180 - x) * (180 - to_x) < 0:
            kept.append((180.0, y + (180 - x) / (to_x - x) * (to_y - y)))
    return np.array([*kept, kept[0]]) - (turn, 0)


def _counterclockwise(ring: list[Any]) -> list[Any]:
    """As RFC 7946 has an outline."""
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    return ring if area >= 0 else ring[::-1]


def _outline(labels: Labels, transform: Affine) -> Iterator[tuple[float, float]]:
    """A closed ring, counterclockwise on the map."""
    steps = np.linspace(0, 1, _EDGE, endpoint=False)
    down = [(0.0, step) for step in steps]
    right = [(step, 1.0) for step in steps]
    up = [(1.0, 1 - step) for step in steps]
    left = [(1 - step, 0.0) for step in steps]
    ring = [*down, *right, *up, *left, (0.0, 0.0)]
    # Down an image is up the map where its transform is not mirrored.
    for col, row in ring if transform.determinant < 0 else reversed(ring):
        yield transform @ (col * labels.width, row * labels.height)
