"""A cube as ENVI: band sequential, and a header beside it that other software goes by."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import numpy as np
import rasterio
from rasterio.crs import CRS

from pipeline.cog import fill
from pipeline.errors import Refusal
from pipeline.labels import Labels, Parts
from pipeline.remote import without_place


def header_of(path: PurePath) -> PurePath:
    """Where the header of a file is."""
    return path.with_suffix(".hdr")


def write_envi(path: Path, labels: Labels, parts: Parts) -> None:
    """ENVI, band sequential, of the stored values, with its header beside it."""
    refuse_moved(path, labels)
    with without_place():
        file = rasterio.open(path, "w", driver="ENVI", **labels.profile)
    with file:
        file.update_tags(ns="ENVI", **_envi_items(labels))
        for band, name in enumerate(labels.names, 1):
            # A comma would end the name in the header's list, a brace the list.
            file.set_band_description(band, " ".join(re.split(r"[,{}\s]+", name)).strip())
        fill(file, parts)
    # Of GDAL alone, and nothing that the header does not say.
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    header = Path(header_of(path))
    # GDAL describes a new file by its path.
    text = header.read_text("utf-8").replace(str(path), labels.origin)
    header.write_text(text, "utf-8")


def refuse_moved(path: Path, labels: Labels) -> None:
    """Raise Refusal for a place that an ENVI header at ``path`` cannot hold.

    It is written with one pixel and read back: no corner may be off by a thousandth of a pixel.
    """
    place = labels.transform
    if place is None:
        return
    _refuse_unit(labels.crs_wkt)
    one = {"driver": "ENVI", **labels.profile, "height": 1, "width": 1, "count": 1}
    with without_place():
        rasterio.open(path, "w", **one).close()
        path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)  # GDAL's own: see above
        with rasterio.open(path) as file:
            found, named = file.transform, file.crs
    pixels = [(col, row) for col in (0, labels.width) for row in (0, labels.height)]
    off = np.subtract([~place @ (found @ pixel) for pixel in pixels], pixels)
    # Rows that go up GDAL writes, and reads, as what to others is a half turn.
    if place.determinant > 0 or not np.abs(off).max() < 1e-3:
        rule = "an ENVI header holds no shear, mirroring or half turn, and turns square pixels only"
        raise Refusal(rule, place[:6], "Export as cog.")
    if labels.crs_wkt and _is_earths(CRS.from_wkt(labels.crs_wkt)) and not _is_earths(named):
        known = CRS.from_wkt(labels.crs_wkt).to_string()
        raise Refusal("an ENVI header can name the CRS", known, "Export as cog or netcdf.")


def _is_earths(crs: CRS | None) -> bool:
    return crs is not None and bool(crs.is_geographic or crs.is_projected)


def _refuse_unit(crs_wkt: str | None) -> None:
    # Other software goes by the header's `map info`, which GDAL gives no unit but feet, and
    # reads those of the US survey as others.
    name, size = CRS.from_wkt(crs_wkt).units_factor if crs_wkt else ("metre", 1.0)
    if not np.isclose(size, (1, np.pi / 180, 0.3048), rtol=1e-9, atol=0).any():
        rule = "an ENVI header's place is in metres, degrees or feet of 0.3048 m"
        raise Refusal(rule, name, "Export as cog or netcdf.")


def _envi_items(labels: Labels) -> dict[str, str]:
    items = {
        "wavelength": _listed(labels.wavelengths),
        "wavelength_units": "Nanometers",
        "fwhm": _listed(labels.fwhm),
        "bbl": _listed((1,) * len(labels.wavelengths)),
        "default_bands": _listed(labels.rgb),
    }
    if white := labels.white:
        items |= {"quantity": labels.quantity, "white": _listed(white)}
    if labels.scale != 1:
        items["reflectance_scale_factor"] = f"{1 / labels.scale:g}"
    if here := labels.window:
        items |= {"x_start": f"{here.col + 1}", "y_start": f"{here.row + 1}"}
    return items


def _listed(values: tuple[float, ...]) -> str:
    return f"{{{', '.join(f'{value:g}' for value in values)}}}"
