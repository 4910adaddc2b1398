"""Longitude and latitude in a scene: where they lie, how well they are known, where they end."""

import warnings
from itertools import product
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from pyproj.aoi import AreaOfInterest
from pyproj.exceptions import CRSError, ProjError
from pyproj.transformer import TransformerGroup
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from pipeline.errors import Refusal
from pipeline.geojson import Shape, rings
from pipeline.scene import Scene

LONLAT = "OGC:CRS84"
Points = NDArray[np.float64]
_EQUATOR = 6378137.0  # m, the radius there


def pixels_of(points: Points, crs: CRS, transform: Affine) -> Points:
    """Longitudes and latitudes (points, 2) as columns and rows of the scene."""
    x, y = warp(LONLAT, crs, *points.T)
    return np.stack(~transform @ (np.array(x), np.array(y)), axis=1)


def refuse_lost(scene: Scene, crs: CRS, transform: Affine, pixels: Points) -> None:
    """Refuse an area (n, 2) of which a part is drawn at the other end of the world.

    A scene may go on beyond its projection's end, as at 180 degrees; what lies there comes back
    from longitude and latitude at the other end.
    """

    def back(points: Points) -> Points:
        there = np.array([transform @ tuple(point) for point in points])
        x, y = warp(crs, LONLAT, *there.T)
        return pixels_of(np.stack([x, y], axis=1), crs, transform)

    for corner in product((0, scene.width), (0, scene.height)):
        try:
            turn = back(np.array([corner], np.float64)) - corner
            again = pixels - turn
            # Off the Earth some projections wrap as well, to where nothing comes a second time.
            same = np.abs(back(again[:1]) - pixels[:1]).max() <= 1 < np.abs(turn).max()
        except CPLE_BaseError:
            continue  # a corner off the Earth
        ends = (scene.width - 1, scene.height - 1)
        if same and (again.max(axis=0) > 1).all() and (again.min(axis=0) < ends).all():
            rule = "an area lies within the scene's projection, which begins anew at 180 degrees"
            raise Refusal(rule, "one that goes on beyond it", "Give a window in pixels.")


def blur(crs: CRS, transform: Affine, shapes: list[Shape]) -> float:
    """Pixels to which longitude and latitude in WGS 84 are known in a CRS, by PROJ's grids here."""
    points = np.concatenate([ring for shape in shapes for ring in rings(shape)])
    where: Any = AreaOfInterest(*points.min(axis=0), *points.max(axis=0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of grids that are not here: see below
            ways = TransformerGroup(LONLAT, pyproj.CRS.from_wkt(crs.to_wkt()), True, where)
    except (CRSError, ProjError):
        return 0.0
    metres = ways.transformers[0].accuracy if ways.transformers else 0.0
    unit = crs.units_factor[1] * (_EQUATOR if crs.is_geographic else 1)
    return float(max(0.0, metres) / (unit * np.sqrt(abs(transform.determinant))))
