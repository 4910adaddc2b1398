"""A raster's pixels, and which are known: by mask, alpha and nodata (docs/decisions/0029)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from pipeline.bands import alpha_of, holds
from pipeline.damage import undamaged
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.guard import beside
from pipeline.recent import Pixels
from pipeline.remote import Source
from pipeline.stored import Stored
from pipeline.uri import gdal_path, local_path

_UNMASKED = ([MaskFlags.all_valid], [MaskFlags.nodata])
_COLOUR = {MaskFlags.per_dataset, MaskFlags.nodata}
"""What GDAL says of one colour as nodata: PNG's tRNS, or NODATA_VALUES."""


def read_pixels(
    dataset: DatasetReader, bands: tuple[int, int, int], window: Window, multiplied: bool = False
) -> Pixels:
    """Values (3, height, width) and where all three are known (height, width).

    Where colours are ``multiplied`` by alpha, they are known where that is full alone. Raises
    RasterioIOError where something is lacking: read again of a dataset opened again.
    """
    part = RasterWindow(window.col, window.row, window.width, window.height)
    with undamaged(dataset):
        values = dataset.read(bands, window=part)
        known = _known(dataset, bands, part, values)
        if multiplied and (alpha := alpha_of(dataset, bands)):
            known &= dataset.read(alpha, window=part) == _full(dataset, alpha)
        return values, known


def _full(dataset: DatasetReader, band: int) -> int:
    """The value of a TIFF's alpha where nothing shines through: all bits, or 1."""
    kind = np.dtype(dataset.dtypes[band - 1])
    bits = dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8 * kind.itemsize)
    return 2 ** int(bits) - 1 if kind.kind == "u" else 1


def _known(
    dataset: DatasetReader, bands: tuple[int, int, int], part: RasterWindow, values: NDArray[Any]
) -> NDArray[np.bool_]:
    """Where mask and alpha are not 0 and the bands do not say nodata (docs/decisions/0029).

    Each is asked for itself: to GDAL a mask hides nodata and alpha, and nodata hides alpha.
    """
    known = np.ones(values.shape[1:], np.bool_)
    flags = [dataset.mask_flag_enums[band - 1] for band in bands]
    nodata = [dataset.nodatavals[band - 1] for band in bands]
    masked = [band for band, kinds in zip(bands, flags, strict=True) if _has_mask(kinds)]
    if one_colour := any(set(kinds) == _COLOUR for kinds in flags):
        # Not by its mask, in which bands that are not read count.
        nodata, masked = _nodata_colour(dataset, bands), []
    if masked:
        known &= dataset.read_masks(masked, window=part).all(axis=0)
    if alpha := alpha_of(dataset, bands):
        opaque = dataset.read(alpha, window=part)
        known &= (opaque != 0) & np.isfinite(opaque)
    if said := {value for value in nodata if value is not None}:
        colours = {0, 255} if values.dtype == np.uint8 else {0}
        together = said <= colours or one_colour
        # A band that says nothing is of the colour that the others say, or of none.
        asked = [
            (plane, said if value is None else {value})
            for plane, value in zip(values, nodata, strict=True)
            if together or value is not None
        ]
        held = [np.any([holds(plane, one) for one in of], axis=0) for plane, of in asked]
        known &= ~(np.all(held, axis=0) if together else np.any(held, axis=0))
    return known


def _nodata_colour(dataset: DatasetReader, bands: tuple[int, int, int]) -> list[float | None]:
    """What is nodata where all bands hold it at once: NODATA_VALUES, one of each band."""
    text = dataset.tags().get("NODATA_VALUES", "")
    try:
        values = [float(value) for value in text.split()]
        return [values[band - 1] for band in bands]
    except (ValueError, IndexError) as error:
        rule, fix = "NODATA_VALUES is a number for each band", "Mend it, or take it off."
        raise Refusal(rule, f"{dataset.name} with {text}", fix) from error


def refuse_other_mask(dataset: DatasetReader, uri: str) -> None:
    """Raise Refusal where a mask beside a raster has another size: GDAL lays it on the corner.

    Or where one beside a local raster does not say that it is one: GDAL passes over it. Not asked
    of what comes through fsspec, by which rasterio opens one file at a time.
    """
    path, masked = local_path(uri), any(map(_has_mask, dataset.mask_flag_enums))
    if gdal_path(uri) is None or not (masked or path):
        return
    # Not `dataset.files`: for that GDAL opens overviews, wherever a raster says they are.
    names = beside(path)[1:] if path else [uri + ending for ending in Stored(uri).beside()]
    for name in (each for each in names if each.lower().endswith(".msk")):
        if not masked:
            fix = f"gdal_edit.py -mo INTERNAL_MASK_FLAGS_1=2 {name}, or delete it."
            raise Refusal(
                "a mask says that it is one, of all bands", f"{name}, which does not", fix
            )
        with Source(name).open() as mask:
            if mask.shape != dataset.shape:
                found, fix = f"{name} of {mask.shape} beside {dataset.shape}", "Make it anew."
                raise Refusal("a mask has as many rows and columns as its image", found, fix)


def says_nodata(dataset: DatasetReader, bands: tuple[int, int, int]) -> bool:
    """Whether any of the bands may hold pixels that are not valid, by nodata, mask or alpha."""
    return any(MaskFlags.all_valid not in dataset.mask_flag_enums[band - 1] for band in bands)


def _has_mask(kinds: list[MaskFlags]) -> bool:
    """Whether a mask tells where a band is known; alpha is looked at by itself."""
    return kinds not in _UNMASKED and MaskFlags.alpha not in kinds
