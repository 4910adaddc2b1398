"""A cube as a STAC item: what it is, where, of when, of which files with which checksums.

STAC 1.1 with the extensions projection, raster, eo, processing and file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
from affine import Affine

from pipeline.companion import Companion
from pipeline.footprint import bounds, footprint
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
        **({"bbox": bounds(geometry)} if geometry else {}),
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
