"""What a raster's first tags say of its first image, which GDAL opens whatever it is."""

from __future__ import annotations

import struct

from rasterio.io import DatasetReader

from pipeline.bands import RGB
from pipeline.errors import Refusal
from pipeline.headers import Head, head_of
from pipeline.remote import JP2_DRIVER, Source

_LOOKED_AT = {JP2_DRIVER, "GTiff", "PNG", "JPEG"}
_SUBFILE, _PHOTOMETRIC, _ORIENTATION = 254, 262, 274
_IN_COLOURS = 2  # JPEG 2000's type of a channel: premultiplied opacity
_REDUCED, _PLAIN, _UPRIGHT = 1, {None, 0, 1, 2, 3, 5, 6}, {0, 1}
"""Of these tags. Colours that GDAL tells of, some of them refused elsewhere: not Lab, LogLuv, or a
camera's raw values. An orientation of 0 is written for none."""


def look_at_head(dataset: DatasetReader, source: Source, sheet: bool = False) -> Head | None:
    """The head of a file, of formats of which GDAL tells too little; None where nobody reads it.

    Empty for other formats, and for a ``sheet``, one of many in a bucket, with a place and colours
    that GDAL knows. Raises ConnectionError where it is out of reach.
    """
    if dataset.driver not in _LOOKED_AT or (sheet and _is_spared(dataset, source)):
        return Head({}, {})
    return source.look(head_of)


def refuse_pages(dataset: DatasetReader, head: Head | None, uri: str) -> None:
    """Raise Refusal for a TIFF of several pages, of other colours, or that begins with a preview.

    And for any image that is stored turned, and JPEG 2000 with alpha in its colours. Overviews and
    masks are no pages.
    """
    if len(pages := dataset.subdatasets) > 1:
        fix = f"Save the one that is meant, with gdal_translate {pages[0]} page.tif."
        raise Refusal("an image has one page", f"{uri} with {len(pages)}", fix)
    tags = head.tags if head else _by_gdal(dataset)
    if dataset.driver == "GTiff":
        _refuse_colours(tags, uri)
        if not _has_place(dataset):  # what has one is no camera's file
            _refuse_preview(tags, uri)
    _refuse_turned(tags, uri)
    channels = head.parts.get(b"cdef", b"") if head else b""
    named = {kind.name for kind in dataset.colorinterp} >= set(RGB)
    _refuse_channels(channels, named, uri)


def _by_gdal(dataset: DatasetReader) -> dict[int, int]:
    """Of the tags what GDAL tells of a file that nobody else reads: of a JPEG its EXIF."""
    text = dataset.tags().get("EXIF_Orientation", "")
    return {_ORIENTATION: int(text)} if text.isdigit() else {}


def _is_spared(dataset: DatasetReader, source: Source) -> bool:
    """Whether one of many rasters is not asked for its first bytes again, in two requests each."""
    known = dataset.colorinterp[0].name != "undefined"
    return dataset.driver == "GTiff" and not source.local and known and _has_place(dataset)


def _has_place(dataset: DatasetReader) -> bool:
    return dataset.crs is not None or not dataset.transform.is_identity


def _refuse_colours(tags: dict[int, int], name: str) -> None:
    if (kind := tags.get(_PHOTOMETRIC)) not in _PLAIN:
        found = f"{name} with photometric interpretation {kind}"
        raise Refusal("colours are red, green and blue", found, "Convert it to RGB.")


def _refuse_preview(tags: dict[int, int], name: str) -> None:
    if tags.get(_SUBFILE, 0) & _REDUCED:
        rule = "a TIFF's first image is the picture, not a preview as in a camera's raw file"
        raise Refusal(rule, name, "Develop it to a linear TIFF, or give its first page alone.")


def _refuse_turned(tags: dict[int, int], name: str) -> None:
    """GDAL reads pixels as they are stored; a viewer shows them turned, and counts them so."""
    if (turned := tags.get(_ORIENTATION, 1)) not in _UPRIGHT:
        rule = "an image is stored as it is seen, with an orientation of 1 or none"
        fix = (
            "Turn it, with exiftran -ai for JPEG, else magick FILE -auto-orient TURNED "
            "(gdal_translate does not); or set the tag to 1 if it is meant as it is stored."
        )
        raise Refusal(rule, f"{name} with {turned}", fix)


def _refuse_channels(channels: bytes, named: bool, name: str) -> None:
    """What JPEG 2000 says of its channels, and GDAL does not.

    To GDAL alpha that is multiplied into colours is none, and what is clear there is data. Beside
    an ICC profile it does not tell which band is red, so that three in another order look right.
    After ISO/IEC 15444-1, I.5.3.6: how many channels, and of each its number, type and colour.
    """
    triples = list(struct.iter_unpack(">3H", channels[2 : 2 + len(channels[2:]) // 6 * 6]))
    order = [colour for _, kind, colour in sorted(triples) if kind == 0]
    if order[:3] not in ([], [1, 2, 3]) and not named:
        rule, fix = "red, green and blue are stored in that order", "Save it so, or as a TIFF."
        raise Refusal(rule, f"{name}, whose channels are of colours {order}", fix)
    if any(kind == _IN_COLOURS for _, kind, _ in triples):
        rule = "alpha of JPEG 2000 is apart from the colours"
        fix = "Save it with alpha that is not multiplied into them, or without."
        raise Refusal(rule, f"{name}, where they are multiplied by it", fix)
