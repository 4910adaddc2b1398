"""A part of a scene: by bounding box or by polygons."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import WindowError
from rasterio.features import bounds, geometry_mask
from rasterio.warp import transform_geom
from rasterio.windows import from_bounds

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import Scene

Box = tuple[float, float, float, float]


def box_window(scene: Scene, box: Box) -> Window:
    """The pixels that (left, bottom, right, top) in the scene's CRS touches.

    Raises Refusal where the scene has no upright transform or the box misses it.
    """
    transform = _transform(scene)
    if transform.b or transform.d:
        fix = "Give a window in pixels."
        raise Refusal("a bounding box needs a raster that is not rotated", transform, fix)
    left, bottom, right, top = box
    if not (left < right and bottom < top):
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
        """True (height, width) where the centre of a pixel is inside."""
        corner = self.transform @ Affine.translation(window.col, window.row)
        shape = (window.height, window.width)
        inside: NDArray[np.bool_] = geometry_mask(self.polygons, shape, corner, invert=True)
        return inside


def load_area(scene: Scene, path: str) -> Area:
    """Polygons of a GeoJSON file (longitude and latitude, RFC 7946), in the scene's CRS."""
    transform = _transform(scene)
    if scene.crs_wkt is None:
        fix = "Give a window in pixels."
        raise Refusal("an area needs a scene with a CRS", "a scene without one", fix)
    crs = CRS.from_wkt(scene.crs_wkt)
    polygons = tuple(transform_geom("OGC:CRS84", crs, shape) for shape in _polygons(path))
    boxes = np.array([bounds(shape) for shape in polygons])
    (left, bottom), (right, top) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return Area(polygons, transform, box_window(scene, (left, bottom, right, top)))


def _polygons(path: str) -> list[dict[str, Any]]:
    rule, fix = "an area is a GeoJSON file of polygons", "Give a Polygon, Feature or collection."
    try:
        top = json.loads(Path(path).read_text())
        features = top["features"] if top["type"] == "FeatureCollection" else [top]
        shapes = [f["geometry"] if f["type"] == "Feature" else f for f in features]
        kinds = {shape["type"] for shape in shapes}
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise Refusal(rule, f"{path}: {error}", fix) from None
    if not shapes or not kinds <= {"Polygon", "MultiPolygon"}:
        raise Refusal(rule, f"{path} with {sorted(kinds) or 'nothing'}", fix)
    return shapes
