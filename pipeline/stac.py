"""A cube as a STAC item: what it is, where, of when, of which files with which checksums.

STAC 1.1 with the extensions projection, raster, eo, processing and file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # transform_geom lets them through
from rasterio.crs import CRS
from rasterio.warp import transform_geom

from pipeline.companion import Companion
from pipeline.geozarr import proj
from pipeline.labels import Labels
from pipeline.layout import NOTE
from pipeline.moment import Moment

EXTENSIONS = {
    "projection": "v2.0.0",
    "raster": "v2.0.0",
    "eo": "v2.0.0",
    "processing": "v1.2.0",
    "file": "v2.1.0",
}
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
JSON = "application/json"
_EDGE = 8  # points a side of the footprint, which may be bent in longitude and latitude
_DIGITS = 7  # of a degree: a centimetre
_SHA256 = "1220"  # multihash: what it is, and how many bytes follow


def item(uri: str, labels: Labels, when: Moment, factor: int) -> dict[str, Any]:
    """The item of the sealed cube at ``uri``, to lie beside it; its sidecars must be written.

    ``factor`` is how many of the cube's pixels a side one of the quicklook's is. Equal for equal
    stores and moments.
    """
    name = PurePosixPath(uri.rstrip("/")).name
    geometry = footprint(labels)
    links: list[Any] = []
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{name}/{release}/schema.json"
            for name, release in EXTENSIONS.items()
        ],
        "id": name.removesuffix(".zarr"),
        "geometry": geometry,
        **({"bbox": _bounds(geometry)} if geometry else {}),
        "properties": _properties(labels, when),
        "links": links,
        "assets": _assets(uri, labels, factor),
    }


def _properties(labels: Labels, when: Moment) -> dict[str, Any]:
    code = proj(labels.crs_wkt) if labels.crs_wkt else {}
    given = labels.settings.get("input", {}).get("name", "an RGB raster")
    return {
        "datetime": when.text,
        "description": f"Reflectance {NOTE}. Time: {when.source}.",
        # Null says that there is none, or none with a code.
        "proj:code": None,
        **code,
        "processing:lineage": f"{NOTE}: reconstructed from {given}",
        "processing:software": {"r2h": version("r2h")},
        "processing:expression": {"format": "r2h-settings", "expression": labels.settings},
    }


def _assets(uri: str, labels: Labels, factor: int) -> dict[str, Any]:
    root = uri.rstrip("/")
    name = PurePosixPath(root).name
    stem, folder = name.removesuffix(".zarr"), root[: -len(name)]
    zarr = f"application/vnd.zarr; version={labels.zarr_format}"
    inner = ".zmetadata" if labels.zarr_format == 2 else "zarr.json"
    place = _place((labels.height, labels.width), labels.transform)
    shape = (-(-labels.height // factor), -(-labels.width // factor))
    smaller = None if labels.transform is None else labels.transform @ Affine.scale(factor)
    bands = {"bands": list(_bands(labels))}
    colours = {"bands": [{"name": n, "eo:common_name": n} for n in ("red", "green", "blue")]}
    aux = PurePosixPath(Companion.uri(root)).name
    return {
        "cube": _asset(name, zarr, "Hyperspectral cube", "data") | place | bands,
        "cube-metadata": _asset(f"{name}/{inner}", JSON, "Its metadata", "metadata")
        | _checked(f"{root}/{inner}"),
        "aux": _asset(aux, zarr, "What belongs to its pixels", "metadata"),
        "vrt": _asset(f"{stem}.vrt", "application/xml", "The cube for GDAL and QGIS", "data")
        | place
        | bands
        | _checked(f"{folder}{stem}.vrt"),
        "quicklook": _asset(f"{stem}.quicklook.tif", COG, "The cube as sRGB", "overview", "visual")
        | _place(shape, smaller)
        | colours
        | _checked(f"{folder}{stem}.quicklook.tif"),
        "run": _asset(f"{stem}.run.json", JSON, "Record of the run", "metadata"),
    }


def _asset(name: str, kind: str, title: str, *roles: str) -> dict[str, Any]:
    return {"href": f"./{quote(name)}", "type": kind, "title": title, "roles": list(roles)}


def _bands(labels: Labels) -> Iterator[dict[str, Any]]:
    for name, nm, fwhm in zip(labels.names, labels.wavelengths, labels.fwhm, strict=True):
        yield {
            "name": name,
            "description": NOTE,
            "data_type": labels.dtype,
            "nodata": "nan" if np.isnan(labels.nodata) else labels.nodata,
            "unit": "1",
            "raster:scale": labels.scale,
            "raster:offset": 0,
            "eo:center_wavelength": nm / 1000,
            **({"eo:full_width_half_max": fwhm / 1000} if fwhm > 0 else {}),
        }


def _place(shape: tuple[int, int], transform: Affine | None) -> dict[str, Any]:
    place: dict[str, Any] = {"proj:shape": list(shape)}
    return place if transform is None else place | {"proj:transform": list(transform)[:6]}


def _checked(uri: str) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with fsspec.open(uri, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"file:checksum": _SHA256 + digest.hexdigest(), "file:size": size}


def footprint(labels: Labels) -> dict[str, Any] | None:
    """GeoJSON of the outline in longitude and latitude; None where it has no place on Earth.

    Cut at the antimeridian.
    """
    if labels.transform is None or not labels.crs_wkt or not _is_flat(CRS.from_wkt(labels.crs_wkt)):
        return None
    outline = {"type": "Polygon", "coordinates": [list(_outline(labels, labels.transform))]}
    try:
        drawn: dict[str, Any] = transform_geom(
            labels.crs_wkt, "OGC:CRS84", outline, antimeridian_cutting=True, precision=_DIGITS
        )
    except CPLE_BaseError:
        return None
    pieces = [
        [_counterclockwise(ring) for ring in piece]
        for part in _parts(drawn)
        for piece in _wrapped(part)
    ]
    points = np.concatenate([ring for piece in pieces for ring in piece])
    if not (np.isfinite(points).all() and (np.abs(points) <= (180, 90)).all()):
        return None
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _counterclockwise(ring: list[Any]) -> list[Any]:
    """As RFC 7946 has an outline; GDAL's cut pieces come either way."""
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    return ring if area >= 0 else ring[::-1]


def _wrapped(part: list[Any]) -> list[list[Any]]:
    """A polygon in longitude and latitude, cut where it goes on beyond 180 degrees.

    GDAL cuts what it projects, but leaves longitudes of a raster that counts on as they are, and of
    a cylinder, as Web Mercator, it lets an edge run around the Earth.
    """
    ring = np.asarray(part[0], np.float64)[:, :2]
    if not np.isfinite(ring).all():
        return [part]
    along = np.unwrap(ring[:, 0], period=360)
    if np.isclose(along[0], along[-1]):  # it goes around no pole
        ring = np.stack([along, ring[:, 1]], axis=1)
    if np.abs(ring[:, 0]).max() <= 180:
        return [part]
    ring[:, 0] -= 360 * np.floor((ring[:, 0].min() + 180) / 360)
    if ring[:, 0].max() <= 180:
        return [[ring.tolist()]]
    return [[_side(ring, 1, 0.0)], [_side(ring, -1, 360.0)]]


def _side(ring: NDArray[np.float64], sign: int, turn: float) -> list[list[float]]:
    """Of a convex ring what is west (``sign`` 1) or east (-1) of 180 degrees, less a ``turn``."""
    kept: list[tuple[float, float]] = []
    for (x, y), (to_x, to_y) in pairwise(ring.tolist()):
        if sign * (180 - x) >= 0:
            kept.append((x, y))
        if (180 - x) * (180 - to_x) < 0:
            kept.append((180.0, y + (180 - x) / (to_x - x) * (to_y - y)))
    return [[round(x - turn, _DIGITS), round(y, _DIGITS)] for x, y in [*kept, kept[0]]]


def _is_flat(crs: CRS) -> bool:
    # Of a geocentric one PROJ would take x and y for a point at the height 0.
    return bool(crs.is_geographic or crs.is_projected)


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


def _parts(geometry: dict[str, Any]) -> list[Any]:
    coordinates = geometry["coordinates"]
    return list(coordinates) if geometry["type"] == "MultiPolygon" else [coordinates]


def _bounds(geometry: dict[str, Any]) -> list[float]:
    """West, south, east, north; west is the larger where it is cut at the antimeridian."""
    boxes = np.array(
        [[*np.min(part[0], axis=0)[:2], *np.max(part[0], axis=0)[:2]] for part in _parts(geometry)]
    )
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    if len(boxes) > 1 and west == -180 and east == 180:
        west, east = boxes[boxes[:, 2] == 180, 0].min(), boxes[boxes[:, 0] == -180, 2].max()
    return [float(value) for value in (west, south, east, north)]
