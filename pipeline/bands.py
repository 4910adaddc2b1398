"""What a raster's header says of its bands: which are red, green and blue, and in what units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from pipeline.errors import Refusal

DTYPES = ("uint8", "uint16", "float32")
RGB = ("red", "green", "blue")
_SILENT = {"undefined", "gray"}
_NOT_RGB_BANDS = {"cyan", "magenta", "yellow", "black", "hue", "saturation", "lightness"}
_NOT_RGB_BANDS |= {"Y", "Cb", "Cr"}
_NOT_RGB_STORAGE = {"CMYK", "YCCK", "CIELAB", "ICCLAB", "ITULAB"}
# Sentinel-2's, which Landsat 8 shares.
_CODES = {"b02": "blue", "b03": "green", "b04": "red"}
_WORDS = {
    **dict.fromkeys(
        ("rot", "rouge", "rojo", "roja", "rosso", "vermelho", "vermelha", "rood"), "red"
    ),
    **dict.fromkeys(("grün", "gruen", "vert", "verde", "groen"), "green"),
    **dict.fromkeys(("blau", "bleu", "azul", "blu", "blauw"), "blue"),
}
"""Colours in German, French, Spanish, Italian, Portuguese and Dutch: of three bands together, as
single ones are words of other things too."""
_LETTERS = {"r": "red", "g": "green", "b": "blue", "n": "nir"}
# With one digit a band says nothing, as B4 is red here and infrared there; but three do: these are
# red, green and blue of Sentinel-2 and Landsat 8, of older Landsats, or a file's own numbers.
_IN_ORDER = {"432", "321", "123"}
_OTHERS = re.compile(
    r"(nir|swir|lwir|rededge|edge)\d?|tir|infra|(near)?infrared|infrarot|infrarouge|infrarr?ojo|infrarosso|thermal|b(01|0[5-9]|1[0-2]|8a)"
    r"|pan|panchromatic|hue|saturation|lightness|[hv][hv]|dsm|dtm|dem|chm|elevation|ndvi|ndwi|ndre"
)
_SPACES = {"lab", "xyz", "hsv", "hsl", "hsi", "yuv", "ycbcr"}
"""Other colours than RGB, by the first letters of three bands."""
_NUMBERED = re.compile(r"\bband[ _-]?(?=\d)")
_NM = re.compile(r"(\d+(?:\.\d+)?) *(nm\b|nanomet|um\b|µm|μm|micromet|micron)")
_BARE = re.compile(r" *(?:band|wavelength|[bgr])?[ _-]*(\d+(?:\.\d+)?) *")
"""A name that is a number of nm from 300 to 2500, or of micrometres below 1."""
_CLOSEST = 5.0
"""nm that centres of red, green and blue are apart at least: of 301, 302, 303 none is one."""
_PARTS = re.compile(r" *(pc[ _-]?\d|cir[ _-]?\d?) *", re.IGNORECASE)
"""A name of a principal component, or of a band of colour infrared."""
CENTRES = {"red": (590, 700), "green": (500, 600), "blue": (445, 520)}
"""nm at which a band that says its wavelength may be centred."""
_ROUNDED = 4 * np.finfo(np.float32).eps
"""How far a tag of nodata may be from the float that it means, as GDAL has it: it is rounded."""
RATIOS = {None, "", "1", "reflectance", "unitless", "dimensionless"}
"""Units of values that are 1 where white is."""


def refuse_not_rgb(dataset: DatasetReader) -> None:
    """Raise Refusal for palettes, fewer than three bands, and colours that are not RGB."""
    kinds = {kind.name for kind in dataset.colorinterp}
    # OpenJPEG walks the whole codestream for it, a broken one without end; JPEG 2000 has none.
    stored = {} if dataset.driver == "JP2OpenJPEG" else dataset.tags(ns="IMAGE_STRUCTURE")
    space = stored.get("SOURCE_COLOR_SPACE", "RGB")
    if "palette" in kinds:
        rule, fix = "pixels are colours, not palette entries", "Run gdal_translate -expand rgb."
        raise Refusal(rule, dataset.name, fix)
    if dataset.count < 3:
        raise Refusal("the input has 3 bands or more", dataset.count, "Give an RGB image.")
    other = set() if kinds >= set(RGB) else kinds & _NOT_RGB_BANDS
    if other or space.upper() in _NOT_RGB_STORAGE:
        found = f"{dataset.name} of {', '.join([space, *sorted(kinds)])}"
        raise Refusal("colours are red, green and blue", found, "Convert the image to RGB.")
    if "MINISWHITE" in stored:
        fix = "Convert the image to RGB."
        raise Refusal("larger pixel values are brighter", f"{dataset.name}, where 0 is white", fix)


def rgb_bands(dataset: DatasetReader) -> tuple[int, int, int]:
    """Red, green and blue band, from 1: by colour interpretation, or the only three in their order.

    Raises Refusal where that is not known, or where a band says that it is something else.
    """
    kinds = [kind.name for kind in dataset.colorinterp]
    if all(kinds.count(colour) == 1 for colour in RGB):
        chosen = [kinds.index(colour) + 1 for colour in RGB]
    else:
        chosen = [band for band, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha.name]
    said = [kinds[band - 1] for band in chosen]
    names = [dataset.descriptions[band - 1] for band in chosen]
    if (
        len(chosen) != 3
        or any(kind not in _SILENT | {is_} for kind, is_ in zip(said, RGB, strict=True))
        or say_other(names, [_wavelength(dataset, band) for band in chosen])
    ):
        rule = "it is known which bands are red, green and blue"
        told = [name for name in dataset.descriptions if name]
        raise Refusal(rule, [*kinds, *told], "Name them with --bands.")
    return chosen[0], chosen[1], chosen[2]


def say_other(names: Sequence[str | None], nm: Sequence[float | None]) -> bool:
    """Whether three bands say that they are other than red, green and blue, in that order.

    By their names, each and together, and by their wavelengths, which a name says first.
    """
    words = [_words(name) for name in names]
    digits = [word[1] for each in words for word in each if re.fullmatch(r"b\d", word)]
    bare = _bare_wavelengths(names)
    known = [one if one is not None else other for one, other in zip(bare, nm, strict=True)]
    said = [_named_wavelength(name, at) for name, at in zip(names, known, strict=True)]
    abroad = [_WORDS.get(each[0]) for each in words if len(each) == 1]
    return (
        any(described(name) not in {"undefined", is_} for name, is_ in zip(names, RGB, strict=True))
        or any(at is not None and not _seen(at, is_) for at, is_ in zip(said, RGB, strict=True))
        or (len(digits) == len(names) and "".join(digits) not in _IN_ORDER)
        or "".join(each[0] for each in words if len(each) == 1) in _SPACES
        or all(_PARTS.fullmatch(name or "") for name in names)
        or (set(abroad) == set(RGB) and abroad != list(RGB))
    )


def described(text: str | None) -> str:
    """What a band's description says it is: red, green, blue, other, or undefined."""
    words = _words(text)
    words = [_LETTERS.get(word, word) for word in words] if len(words) == 1 else words
    if any(_OTHERS.fullmatch(word) for word in words):
        return "other"
    colours = {_CODES.get(word, word) for word in words} & set(RGB)
    return colours.pop() if len(colours) == 1 else "undefined"


def _words(text: str | None) -> list[str]:
    whole = normalize("NFKC", text or "").lower()
    return re.findall(r"[^\W_]+", _NUMBERED.sub("b", whole))


def _seen(nm: float, colour: str) -> bool:
    low, high = CENTRES[colour]
    return low <= nm <= high


def _named_wavelength(name: str | None, otherwise: float | None) -> float | None:
    """nm, as a band's name or description says it."""
    text = (name or "").lower()
    if found := _NM.search(text):
        return float(found[1]) * (1 if found[2][0] == "n" else 1000)
    return otherwise


def _bare_wavelengths(names: Sequence[str | None]) -> list[float | None]:
    """nm of three names that are different numbers, and do not merely count on."""
    found = [_BARE.fullmatch((name or "").lower()) for name in names]
    numbers = [float(bare[1]) for bare in found if bare]
    nm = [1000 * n if n < 1 else n for n in numbers]
    told = len(set(nm)) == len(names) and all(300 <= n <= 2500 for n in nm)
    counted = any(abs(b - a) < _CLOSEST for a, b in pairwise(nm))
    return list(nm) if told and not counted else [None] * len(names)


def _wavelength(dataset: DatasetReader, band: int) -> float | None:
    """nm, as GDAL's IMAGERY or ENVI's own tags say it; None where neither does."""
    imagery, own = dataset.tags(band, ns="IMAGERY"), dataset.tags(band)
    try:
        if "CENTRAL_WAVELENGTH_UM" in imagery:
            return 1000 * float(imagery["CENTRAL_WAVELENGTH_UM"])
        unit = own.get("wavelength_units", "").lower()
        return float(own["wavelength"]) * (1000 if unit.startswith(("mic", "um", "µ", "μ")) else 1)
    except (KeyError, ValueError):
        return None


def alpha_of(dataset: DatasetReader, bands: tuple[int, int, int]) -> int | None:
    """The alpha band, from 1: not one that is read for colour, or whose description says another.

    GDAL calls the fourth of four 8-bit bands alpha where nobody said what it is.
    """
    kinds = [kind.name for kind in dataset.colorinterp]
    band = kinds.index("alpha") + 1 if "alpha" in kinds else None
    if band is None or band in bands or described(dataset.descriptions[band - 1]) != "undefined":
        return None
    return band


def shared_dtype(dataset: DatasetReader, bands: tuple[int, int, int]) -> np.dtype[Any]:
    """The one type of three bands, of uint8, uint16 and float32."""
    if not all(1 <= band <= dataset.count for band in bands):
        raise Refusal(f"--bands are within 1 to {dataset.count}", bands, "Name existing bands.")
    if len(set(bands)) < len(bands):
        raise Refusal("--bands are three different bands", bands, "Name each once.")
    names = {dataset.dtypes[band - 1] for band in bands}
    if len(names) > 1 or not names <= set(DTYPES):
        rule = f"the three bands share one type of {', '.join(DTYPES)}"
        raise Refusal(rule, sorted(names), "Convert it with gdal_translate -ot Float32.")
    return np.dtype(str(names.pop()))


def declared_white(dataset: DatasetReader, bands: tuple[int, int, int]) -> float | None:
    """The pixel value that the bands' common scale makes 1; None where they declare none.

    Raises Refusal where they declare different scales, an offset, or a scale that is not above 0,
    and for values of less than 8 bits without a scale, whose white is not the 255 of their type.
    """
    scales = {float(dataset.scales[band - 1]) for band in bands}
    offsets = {float(dataset.offsets[band - 1]) for band in bands}
    if len(scales) > 1 or offsets != {0.0}:
        found = f"{dataset.name} with scales {sorted(scales)}, offsets {sorted(offsets)}"
        fix = "Apply them first, with gdal_translate -unscale -ot Float32, and give --white 1."
        raise Refusal("the three bands share one scale and no offset", found, fix)
    scale = scales.pop()
    if not 0 < scale < np.inf:
        fix = "Mend it, or take it off, with gdal_edit.py -scale 1."
        raise Refusal("a scale is above 0", f"{dataset.name} with {scale:g}", fix)
    if scale != 1:
        units = {dataset.units[band - 1] for band in bands}
        if others := {str(unit) for unit in units if unit not in RATIOS}:
            fix = "Take the scale off, with gdal_edit.py -scale 1, and name white's value: --white."
            found = f"{dataset.name} in {', '.join(sorted(others))}"
            raise Refusal("what a scale makes 1 is white", found, fix)
        return 1 / scale
    if (few := _bits(dataset, bands)) and few < 8:
        rule, most = "pixel values have 8 bits or more, or declare a scale", 2**few - 1
        fix = f"Run gdal_translate -scale 0 {most} 0 255 -co NBITS=8."
        raise Refusal(rule, f"{dataset.name} with {few}", fix)
    return None


def declared_end(dataset: DatasetReader, bands: tuple[int, int, int]) -> float | None:
    """The largest pixel value of bands with fewer bits than their type; None of others."""
    few = _bits(dataset, bands)
    return float(2**few - 1) if few and shared_dtype(dataset, bands).kind == "u" else None


def _bits(dataset: DatasetReader, bands: tuple[int, int, int]) -> int | None:
    """Bits of a value, the fewest of the bands, where they are fewer than their type has."""
    said = (dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") for band in bands)
    return min((int(bits) for bits in said if bits), default=None)


def holds(plane: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Where a band (...) holds its nodata: of floats to the last bits, for tags are rounded."""
    held: NDArray[np.bool_] = plane == value
    if plane.dtype.kind == "f" and abs(value) <= np.finfo(plane.dtype).max:
        held = np.isclose(plane, value, rtol=_ROUNDED, atol=0)
    return held
