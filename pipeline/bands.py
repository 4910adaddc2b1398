"""What a raster's header says of its bands: which are red, green and blue, and in what units."""

from __future__ import annotations

from typing import Any

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from pipeline.errors import Refusal

DTYPES = ("uint8", "uint16", "float32")
_NOT_RGB_BANDS = {"cyan", "magenta", "yellow", "black", "hue", "saturation", "lightness"}
_NOT_RGB_STORAGE = {"cmyk", "cielab", "icclab", "itulab"}


def refuse_not_rgb(dataset: DatasetReader) -> None:
    """Raise Refusal for palettes, fewer than three bands, and colours that are not RGB."""
    kinds = {kind.name for kind in dataset.colorinterp}
    # OpenJPEG walks the whole codestream for it, a broken one without end; JPEG 2000 has none.
    photometric = None if dataset.driver == "JP2OpenJPEG" else dataset.photometric
    if "palette" in kinds:
        rule, fix = "pixels are colours, not palette entries", "Run gdal_translate -expand rgb."
        raise Refusal(rule, dataset.name, fix)
    if dataset.count < 3:
        raise Refusal("the input has 3 bands or more", dataset.count, "Give an RGB image.")
    if kinds & _NOT_RGB_BANDS or (photometric and photometric.name in _NOT_RGB_STORAGE):
        found = photometric or sorted(kinds)
        raise Refusal("colours are red, green and blue", found, "Convert the image to RGB.")


def rgb_bands(dataset: DatasetReader) -> tuple[int, int, int]:
    """Red, green and blue band, from 1, by colour interpretation or as the only three."""
    kinds = dataset.colorinterp
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(kinds.count(kind) == 1 for kind in wanted):
        red, green, blue = (kinds.index(kind) + 1 for kind in wanted)
        return red, green, blue
    colours = [band for band, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha]
    if len(colours) != 3:
        rule = "it is known which bands are red, green and blue"
        raise Refusal(rule, [kind.name for kind in kinds], "Name them with --bands.")
    return colours[0], colours[1], colours[2]


def shared_dtype(dataset: DatasetReader, bands: tuple[int, int, int]) -> np.dtype[Any]:
    """The one type of three bands, of uint8, uint16 and float32."""
    if not all(1 <= band <= dataset.count for band in bands):
        raise Refusal(f"--bands are within 1 to {dataset.count}", bands, "Name existing bands.")
    names = {dataset.dtypes[band - 1] for band in bands}
    if len(names) > 1 or not names <= set(DTYPES):
        rule = f"the three bands share one type of {', '.join(DTYPES)}"
        raise Refusal(rule, sorted(names), "Convert it with gdal_translate -ot Float32.")
    return np.dtype(str(names.pop()))


def declared_white(dataset: DatasetReader, bands: tuple[int, int, int]) -> float | None:
    """The pixel value that the bands' common scale makes 1; None where they declare none.

    Raises Refusal where they declare different scales or an offset.
    """
    scales = {float(dataset.scales[band - 1]) for band in bands}
    offsets = {float(dataset.offsets[band - 1]) for band in bands}
    if len(scales) > 1 or offsets != {0.0}:
        found = f"{dataset.name} with scales {sorted(scales)}, offsets {sorted(offsets)}"
        fix = "Apply them first, with gdal_translate -unscale."
        raise Refusal("the three bands share one scale and no offset", found, fix)
    scale = scales.pop()
    return 1 / scale if scale > 0 and scale != 1 else None
