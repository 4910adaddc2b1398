"""What an image's header says its colours are: by its profile, or in the words of its format."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from rasterio.io import DatasetReader

from pipeline.curve import to_srgb
from pipeline.headers import Head, exif_colour_space
from pipeline.remote import JP2_DRIVER

Colours = Literal["srgb", "other"]
"""``other``: it says that they are none of sRGB, or so that they may be."""
_ALIKE = 4
"""Most steps of 255 that a colour may move on its way to sRGB: makers' sRGB differ by 1 to 2."""
_LARGEST = 4_000_000
"""Bytes of a profile, in base64, that is looked at."""
_ENUMERATED: dict[int, Colours | None] = {16: "srgb", 17: None}
"""JPEG 2000's colour spaces; GDAL writes 17, grey, where it was not told which bands are which."""
_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))
"""Of sRGB (IEC 61966-2-1): x and y of red, green, blue and white."""
_ROUNDED = 0.005
"""Most that makers' sRGB primaries differ in x or y; those of 1953, 1987 and PAL differ by 0.01."""
_STEPS = np.linspace(0, 1, 6)


def declared_colours(dataset: DatasetReader, head: Head | None) -> Colours | None:
    """Whether a raster, of this head, says that it is in sRGB; None where it says nothing of that.

    What is said first counts: JPEG 2000's box; then as PNG orders them (third edition, 4.3) code
    points, a profile, the name sRGB, primaries and curve; last, EXIF. A profile is known by what it
    does to colours, and one that is damaged, or of no RGB, is none of sRGB.
    """
    if head is None and dataset.driver in {JP2_DRIVER, "PNG"}:
        return "other"  # GDAL says nothing of it, or not all, and no one else reads it
    parts, told = head.parts if head else {}, dataset.tags(ns="COLOR_PROFILE")
    named = told.get("SOURCE_ICC_PROFILE_NAME") == "sRGB"
    said: tuple[Colours | None, ...] = (
        _of_box(parts, dataset),
        _of_code_points(parts),
        _of_profile(parts, told),
        "srgb" if named else None,  # so GDAL tells of PNG's chunk of that name
        _of_primaries_and_curve(parts, told),
        _of_exif(parts, dataset),
    )
    return next((each for each in said if each), None)


def _of_box(parts: dict[bytes, bytes], dataset: DatasetReader) -> Colours | None:
    """JPEG 2000's colour specification (ISO/IEC 15444-1, I.5.3.3). sYCC is read as it is stored."""
    body = parts.get(b"colr")
    if body is None:
        return None
    if body[:1] in {b"\2", b"\3"}:
        return _by_what_it_does(body[3:])
    named = _ENUMERATED.get(int.from_bytes(body[3:7]), "other") if body[:1] == b"\1" else "other"
    return _lightly(named, dataset)


def _of_code_points(parts: dict[bytes, bytes]) -> Colours | None:
    """PNG's cICP (ITU-T H.273): primaries, curve, matrix, full range."""
    body = parts.get(b"cICP")
    return None if body is None else "srgb" if body == b"\1\r\0\1" else "other"


def _of_profile(parts: dict[bytes, bytes], told: dict[str, str]) -> Colours | None:
    text = told.get("SOURCE_ICC_PROFILE")
    if not text:
        # GDAL leaves out a profile that is damaged, or of which a part is missing.
        return "other" if parts.keys() & {b"iCCP", b"ICC_PROFILE"} else None
    try:
        return "other" if len(text) > _LARGEST else _by_what_it_does(b64decode(text))
    except ValueError:
        return "other"


def _by_what_it_does(profile: bytes) -> Colours:
    """Whether colours stay what they are on their way from a profile to sRGB."""
    steps = (255 * _STEPS).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(6, 36, 3)
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        image = Image.fromarray(colours)
        seen = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "other"
    moved = np.abs(np.asarray(seen).astype(int) - colours)
    return "srgb" if moved.max() <= _ALIKE else "other"


def _of_primaries_and_curve(parts: dict[bytes, bytes], told: dict[str, str]) -> Colours | None:
    """PNG's gAMA and cHRM, TIFF's tags of colorimetry."""
    try:
        primaries, curves = _primaries(parts, told), list(_curves(told))
    except ValueError:
        return "other"
    near = primaries is None or np.allclose(primaries, _PRIMARIES, rtol=0, atol=_ROUNDED)
    if not near or not all(np.abs(curve - _STEPS).max() <= _ALIKE / 255 for curve in curves):
        return "other"
    return "srgb" if curves else None


def _primaries(parts: dict[bytes, bytes], told: dict[str, str]) -> NDArray[Any] | None:
    """x and y of red, green, blue and white."""
    names = [f"SOURCE_PRIMARIES_{name}" for name in ("RED", "GREEN", "BLUE")]
    if names[0] in told:
        rows = [told.get(name, "").split(",")[:2] for name in (*names, "SOURCE_WHITEPOINT")]
        return np.array(rows, float).reshape(4, 2)
    if body := parts.get(b"cHRM"):
        # White first, in units of 1e-5.
        return np.roll(np.frombuffer(body, ">u4").reshape(4, 2) / 1e5, -1, axis=0)
    return None


def _curves(told: dict[str, str]) -> Iterator[NDArray[Any]]:
    """What the steps would be in sRGB, by each curve that is told of."""
    if gamma := told.get("PNG_GAMMA"):
        with np.errstate(all="ignore"):
            light = _STEPS ** (1 / np.float64(gamma))
        yield to_srgb(light.astype(np.float32))
    for band in ("RED", "GREEN", "BLUE"):
        if text := told.get(f"TIFFTAG_TRANSFERFUNCTION_{band}"):
            table = np.array(text.split(","), float) / 65535
            light = np.interp(_STEPS, np.linspace(0, 1, len(table)), table)
            yield to_srgb(light.astype(np.float32))


def _of_exif(parts: dict[bytes, bytes], dataset: DatasetReader) -> Colours | None:
    """EXIF's ColorSpace: 1 is sRGB, 65535 any other, often Adobe RGB."""
    tags = (dataset.get_tag_item("EXIF_ColorSpace", ns) for ns in (None, "EXIF"))
    text = next(filter(None, tags), None) or exif_colour_space(parts.get(b"eXIf", b""))
    if text is None:
        return None
    return _lightly("srgb" if str(text).strip() == "1" else "other", dataset)


def _lightly(colours: Colours | None, dataset: DatasetReader) -> Colours | None:
    """What counts of a word that is said lightly: a format asks for one, or EXIF is copied.

    sRGB is then no more than what 8 bits are anyhow, and less than a declared scale; of other
    values it says too little to take them for sRGB, or for linear.
    """
    if colours != "srgb":
        return colours
    settled = set(dataset.dtypes) == {"uint8"} or set(dataset.scales) != {1.0}
    return None if settled else "other"
