"""A part of a scene: by bounding box or by polygons."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import WindowError
from rasterio.features import geometry_mask
from rasterio.warp import transform as warp
from rasterio.warp import transform_geom
from rasterio.windows import from_bounds

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.remote import without_place
from pipeline.scene import Scene

Box = tuple[float, float, float, float]
_BLOCK = 512
_ANYWHERE: Box = (-np.inf, -np.inf, np.inf, np.inf)
_LONLAT = "OGC:CRS84"
_BEND = 0.01  # of a pixel: how far an edge may be from its chord
_HALVINGS, _POINTS = 40, 1_000_000  # of an edge, of a ring: where one jumps, no number is enough
Points = NDArray[np.float64]
_RULE = "an area is a GeoJSON file of polygons in longitude and latitude"
_FIX = "Give a Polygon, Feature or FeatureCollection in WGS 84."


def box_window(scene: Scene, box: Box) -> Window:
    """The pixels that (left, bottom, right, top) in the scene's CRS touches.

    Raises Refusal where the scene has no upright transform or the box misses it.
    """
    transform = _transform(scene)
    if transform.b or transform.d:
        fix = "Give a window in pixels."
        raise Refusal("a bounding box needs a raster that is not rotated", transform, fix)
    left, bottom, right, top = box
    if not (np.isfinite(box).all() and left < right and bottom < top):
        raise Refusal("a box is left, bottom, right, top", box, "Order its sides.")
    try:
        found = from_bounds(*_upright(box, transform), transform=transform)
    except WindowError as error:
        raise Refusal("a box must be a rectangle", f"{box} ({error})", "Order its sides.") from None
    # A thousandth of a pixel forgives the rounding of coordinates typed in decimal.
    row, col = (int(np.floor(v + 1e-3)) for v in (found.row_off, found.col_off))
    row_stop = int(np.ceil(found.row_off + found.height - 1e-3))
    col_stop = int(np.ceil(found.col_off + found.width - 1e-3))
    asked = Window(row, col, max(1, row_stop - row), max(1, col_stop - col))
    inside = asked.intersection(Window(0, 0, scene.height, scene.width))
    if inside is None:
        raise Refusal("the part asked for must touch the scene", box, "Give it in the scene's CRS.")
    return inside


def _upright(box: Box, transform: Affine) -> Box:
    # rasterio wants the box in the raster's own sense: a south-up one has its top below.
    left, bottom, right, top = box
    return (left, bottom, right, top) if transform.e < 0 else (left, top, right, bottom)


def _transform(scene: Scene) -> Affine:
    if scene.transform is None:
        rule, fix = "a part in map units needs a georeferenced scene", "Give a window in pixels."
        raise Refusal(rule, "a scene without a transform", fix)
    return scene.transform


@dataclass(frozen=True, slots=True)
class Area:
    """Polygons in a scene; called with a window it says which pixels' centres are in them."""

    polygons: tuple[dict[str, Any], ...]
    """GeoJSON geometries in the scene's CRS."""
    transform: Affine
    window: Window
    """The pixels their bounds touch."""

    def __call__(self, window: Window) -> NDArray[np.bool_]:
        """True (height, width) where the centre of a pixel is inside.

        A pixel on an edge may fall either way, but the same way in every window: the polygons are
        drawn on fixed blocks of the scene, of which windows are cut.
        """
        inside = np.empty((window.height, window.width), bool)
        for block in _blocks(window):
            shared = block.intersection(window)
            assert shared is not None, "a block touches its window"
            drawn = self._draw(block)[shared.relative_to(block).slices]
            inside[shared.relative_to(window).slices] = drawn
        return inside

    def _draw(self, block: Window) -> NDArray[np.bool_]:
        corner = self.transform @ Affine.translation(block.col, block.row)
        shape = (block.height, block.width)
        with without_place():
            drawn: NDArray[np.bool_] = geometry_mask(self.polygons, shape, corner, invert=True)
        return drawn


def _blocks(window: Window) -> Iterator[Window]:
    for row in range(window.row // _BLOCK, -(-window.row_stop // _BLOCK)):
        for col in range(window.col // _BLOCK, -(-window.col_stop // _BLOCK)):
            yield Window(row * _BLOCK, col * _BLOCK, _BLOCK, _BLOCK)


def load_area(scene: Scene, path: str) -> Area:
    """Polygons of a GeoJSON file (longitude and latitude, RFC 7946), in the scene's CRS.

    Their edges are straight in longitude and latitude; in the scene they are, to a hundredth of a
    pixel, the curves that these are there.
    """
    transform = _transform(scene)
    if scene.crs_wkt is None:
        fix = "Give a window in pixels."
        raise Refusal("an area needs a scene with a CRS", "a scene without one", fix)
    crs = CRS.from_wkt(scene.crs_wkt)
    shapes = _polygons(path)
    _box(path, shapes, within=(-180, -90, 180, 90))
    try:
        bent = [_bent(shape, crs, transform) for shape in shapes]
        polygons = tuple(transform_geom(_LONLAT, crs, shape) for shape in bent)
    except CPLE_BaseError as error:
        rule, fix = "the scene's CRS can be reached from longitude and latitude", "Give a window."
        raise Refusal(rule, error, fix) from None
    left, bottom, right, top = _box(path, polygons)
    area = Area(polygons, transform, box_window(scene, (left, bottom, right, top)))
    blocks = (block.intersection(area.window) for block in _blocks(area.window))
    if not any(area(block).any() for block in blocks if block):
        rule, fix = "an area holds a pixel's centre", "Give a larger one, or a window."
        raise Refusal(rule, f"{path} with none in {area.window}", fix)
    return area


def _bent(shape: dict[str, Any], crs: CRS, transform: Affine) -> dict[str, Any]:
    """A polygon or multipolygon, with points between where an edge bends in the scene."""
    many = shape["type"] == "MultiPolygon"
    polygons = shape["coordinates"] if many else [shape["coordinates"]]
    rings = [
        [_filled(np.asarray(ring, np.float64)[:, :2], crs, transform).tolist() for ring in polygon]
        for polygon in polygons
    ]
    return {"type": shape["type"], "coordinates": rings if many else rings[0]}


def _filled(ring: Points, crs: CRS, transform: Affine) -> Points:
    """A ring in longitude and latitude, edges halved until each is straight in the scene."""
    for _ in range(_HALVINGS):
        bends = np.flatnonzero(_sagittas(ring, crs, transform) > _BEND)
        if not bends.size:
            return ring
        if ring.shape[0] > _POINTS:
            break
        middles = (ring[bends] + ring[bends + 1]) / 2
        ring = np.insert(ring, bends + 1, middles, axis=0)
    rule = f"an area's edges can be drawn in the scene's CRS to {_BEND} of a pixel"
    raise Refusal(rule, "one that jumps, or is too long", "Give a smaller area.")


def _sagittas(ring: Points, crs: CRS, transform: Affine) -> NDArray[np.float64]:
    """How far in the scene, in pixels, each edge (points - 1,) is from its chord."""
    start, end = ring[:-1], ring[1:]
    first, last = (_pixels(points, crs, transform) for points in (start, end))
    # A curve may cross its chord, in the middle where it is symmetrical.
    off = [
        _pixels(start + t * (end - start), crs, transform) - (first + t * (last - first))
        for t in (0.25, 0.5, 0.75)
    ]
    farthest: NDArray[np.float64] = np.linalg.norm(np.array(off), axis=2).max(axis=0)
    return farthest


def _pixels(points: Points, crs: CRS, transform: Affine) -> Points:
    """Longitudes and latitudes (points, 2) as columns and rows of the scene."""
    x, y = warp(_LONLAT, crs, *points.T)
    return np.stack(~transform @ (np.array(x), np.array(y)), axis=1)


def _box(path: str, shapes: Iterable[dict[str, Any]], within: Box = _ANYWHERE) -> Box:
    """Bounds of all shapes. Raises Refusal where one is malformed or they are not ``within``."""
    try:
        # Looked through here: rasterio crashes on coordinates that are not numbers.
        points = np.concatenate([ring for shape in shapes for ring in _rings(shape)])
    except (ValueError, TypeError, KeyError) as error:
        raise Refusal(_RULE, f"{path}: {error}", _FIX) from None
    (left, bottom), (right, top) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    least_x, least_y, most_x, most_y = within
    inside = least_x <= left and least_y <= bottom and right <= most_x and top <= most_y
    if not (np.isfinite(points).all() and inside):
        raise Refusal(_RULE, f"{path} with bounds {left, bottom, right, top}", _FIX)
    return left, bottom, right, top


def _rings(shape: dict[str, Any]) -> Iterator[NDArray[np.float64]]:
    """The rings (points, 2) of a polygon or multipolygon; ValueError where one is not closed."""
    many = shape["type"] == "MultiPolygon"
    for polygon in shape["coordinates"] if many else [shape["coordinates"]]:
        for ring in polygon:
            points = np.asarray(ring, np.float64)
            if points.ndim != 2 or points.shape[0] < 4 or points.shape[1] < 2:
                raise ValueError("a ring needs four points or more")
            if (points[0, :2] != points[-1, :2]).any():
                raise ValueError("a ring ends where it begins")
            yield points[:, :2]


def _polygons(path: str) -> list[dict[str, Any]]:
    try:
        top = json.loads(Path(path).read_text())
        features = top["features"] if top["type"] == "FeatureCollection" else [top]
        shapes = [f["geometry"] if f["type"] == "Feature" else f for f in features]
        kinds = {shape["type"] for shape in shapes}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise Refusal(_RULE, f"{path}: {error}", _FIX) from None
    if not shapes or not kinds <= {"Polygon", "MultiPolygon"}:
        raise Refusal(_RULE, f"{path} with {sorted(kinds) or 'nothing'}", _FIX)
    return shapes
