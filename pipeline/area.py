"""A part of a scene: by bounding box or by polygons."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

from pipeline.errors import Refusal
from pipeline.geojson import Box, Ring, Shape, bounds, parts, polygons, rings
from pipeline.grid import Window
from pipeline.lonlat import LONLAT, Points, blur, pixels_of, refuse_lost
from pipeline.remote import without_place
from pipeline.scene import Scene

_BLOCK = 512
_BEND = 0.01  # of a pixel: how far an edge may be from its chord
_HALVINGS, _POINTS = 40, 1_000_000  # of an edge, of a ring: where one jumps, no number is enough


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
    return _touched(scene, _corners(box, transform), box)


def _touched(scene: Scene, corners: Points, asked_for: object) -> Window:
    """The pixels between columns and rows (n, 2). Raises Refusal where they miss the scene."""
    pixels = np.clip(corners, -1, (scene.width + 1, scene.height + 1))
    # A thousandth of a pixel forgives the rounding of coordinates typed in decimal.
    col, row = np.floor(pixels.min(axis=0) + 1e-3).astype(int).tolist()
    col_stop, row_stop = np.ceil(pixels.max(axis=0) - 1e-3).astype(int).tolist()
    asked = Window(row, col, max(1, row_stop - row), max(1, col_stop - col))
    inside = asked.intersection(Window(0, 0, scene.height, scene.width))
    if inside is None:
        fix = "Give a box in the scene's CRS, or an area in longitude and latitude."
        raise Refusal("the part asked for must touch the scene", asked_for, fix)
    return inside


def beyond(scene: Scene, box: Box) -> bool:
    """Whether a box reaches beyond a scene that is not rotated, by more than a pixel."""
    return _beyond(scene, _corners(box, _transform(scene)))


def _beyond(scene: Scene, pixels: Points) -> bool:
    return bool((pixels < -1).any() or (pixels > (scene.width + 1, scene.height + 1)).any())


def _corners(box: Box, transform: Affine) -> Points:
    """Columns and rows (2, 2) of two corners of a box."""
    left, bottom, right, top = box
    return np.array([~transform @ corner for corner in ((left, bottom), (right, top))])


def _transform(scene: Scene) -> Affine:
    if scene.transform is None:
        rule, fix = "a part in map units needs a georeferenced scene", "Give a window in pixels."
        raise Refusal(rule, "a scene without a transform", fix)
    return scene.transform


@dataclass(frozen=True, slots=True)
class Area:
    """Polygons in a scene; called with a window it says which pixels' centres are in them."""

    polygons: tuple[Shape, ...]
    """GeoJSON geometries in the scene's CRS."""
    transform: Affine
    window: Window
    """The pixels their bounds touch."""
    cut: bool = False
    """Whether they reach beyond the scene by more than a pixel."""
    blur: float = 0.0
    """Pixels to which PROJ knows their place in the scene's datum; 0 where it does not say."""

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
    try:
        bent = [_bent(shape, crs, transform) for shape in polygons(path)]
        shapes = tuple(transform_geom(LONLAT, crs, shape) for shape in bent)
    except CPLE_BaseError as error:
        rule, fix = "the scene's CRS can be reached from longitude and latitude", "Give a window."
        raise Refusal(rule, error, fix) from None
    if crs.is_geographic:
        turn = round(2 * np.pi / crs.units_factor[1], 6)  # 360 degrees, or 400 grads
        shapes = tuple(_around(shape, scene, transform, turn) for shape in shapes)
    bounds(path, shapes)  # refuses what has no place in the CRS
    pixels = np.concatenate(
        [np.stack(~transform @ ring.T, axis=1) for shape in shapes for ring in rings(shape)]
    )
    if not crs.is_geographic:
        refuse_lost(scene, crs, transform, pixels)
    window, cut = _touched(scene, pixels, path), _beyond(scene, pixels)
    area = Area(shapes, transform, window, cut, blur(crs, transform, bent))
    blocks = (block.intersection(area.window) for block in _blocks(area.window))
    if not any(area(block).any() for block in blocks if block):
        rule, fix = "an area holds a pixel's centre", "Give a larger one, or a window."
        raise Refusal(rule, f"{path} with none in {area.window}", fix)
    return area


def _around(shape: Shape, scene: Scene, transform: Affine, turn: float) -> Shape:
    """A shape in longitude and latitude, parts moved by a ``turn`` if the scene meets them there.

    RFC 7946 cuts areas at 180 degrees, beyond which a scene may go on.
    """
    xs = [(transform @ (col, row))[0] for col in (0, scene.width) for row in (0, scene.height)]
    # Without a pixel's centre nothing is met, or rounding would bring in the scene's far side.
    half = (abs(transform.a) + abs(transform.b)) / 2
    west, east = min(xs) + half, max(xs) - half
    moves: list[tuple[list[Ring], float]] = []
    for part in parts(shape):
        along = [x for ring in part for x, _ in ring]
        least, most = min(along, default=0), max(along, default=0)
        met = [by for by in (-turn, 0, turn) if least + by <= east and west <= most + by]
        moves += [(part, by) for by in met or [0]]
    if not any(by for _, by in moves):
        return shape
    moved = [[[(x + by, y) for x, y in ring] for ring in part] for part, by in moves]
    return {"type": "MultiPolygon", "coordinates": moved}


def _bent(shape: Shape, crs: CRS, transform: Affine) -> Shape:
    """A polygon or multipolygon, with points between where an edge bends in the scene."""
    rings = [
        [_filled(np.asarray(ring, np.float64)[:, :2], crs, transform).tolist() for ring in polygon]
        for polygon in parts(shape)
    ]
    many = shape["type"] == "MultiPolygon"
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
    first, last = (pixels_of(points, crs, transform) for points in (start, end))
    # A curve may cross its chord, in the middle where it is symmetrical.
    off = [
        pixels_of(start + t * (end - start), crs, transform) - (first + t * (last - first))
        for t in (0.25, 0.5, 0.75)
    ]
    farthest: NDArray[np.float64] = np.linalg.norm(np.array(off), axis=2).max(axis=0)
    return farthest
