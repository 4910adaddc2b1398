"""Which of a TIFF's images is the picture: GDAL opens the first, whatever it is."""

from __future__ import annotations

import struct
from typing import BinaryIO

from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.remote import Source

_SUBFILE, _PHOTOMETRIC, _REDUCED, _LAB = 254, 262, 1, {9, 10}
_MOST = 4096
"""Tags that are looked at."""


def refuse_pages(dataset: DatasetReader, source: Source) -> None:
    """Raise Refusal for a TIFF of several pages, one that begins with a preview, and one in Lab.

    Overviews and masks are no pages.
    """
    if len(pages := dataset.subdatasets) > 1:
        fix = f"Save the one that is meant, with gdal_translate {pages[0]} page.tif."
        raise Refusal("an image has one page", f"{source.uri} with {len(pages)}", fix)
    # GDAL tells no more than that. What has a place is no camera's file: of the many sheets of a
    # mosaic in a bucket none is asked for its first bytes again.
    if dataset.driver == "GTiff" and dataset.crs is None and dataset.transform.is_identity:
        _refuse_preview(source.look(first_tags) or {}, source.uri)


def _refuse_preview(tags: dict[int, int], name: str) -> None:
    if tags.get(_SUBFILE, 0) & _REDUCED:
        rule = "a TIFF's first image is the picture, not a preview as in a camera's raw file"
        raise Refusal(rule, name, "Develop it to a linear TIFF, or give its first page alone.")
    if tags.get(_PHOTOMETRIC) in _LAB:
        raise Refusal("colours are red, green and blue", f"{name} in Lab", "Convert it to RGB.")


def first_tags(file: BinaryIO) -> dict[int, int]:
    """Tags of a TIFF's first image, each with the first of its values if that is a whole number.

    After TIFF 6.0, section 2, and BigTIFF; nothing where a file is neither.
    """
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return {}
    big = struct.unpack_from(f"{order}H", head, 2) == (43,)
    offset, size, entry = ("Q", 8, f"{order}HHQ8s") if big else ("I", 2, f"{order}HHI4s")
    (at,) = struct.unpack_from(order + offset, head, 8 if big else 4)
    file.seek(at)
    count = min(int.from_bytes(file.read(size), "little" if order == "<" else "big"), _MOST)
    wide = struct.calcsize(entry)
    data = file.read(count * wide)
    known = {3: "H", 4: "I"}
    return {
        tag: struct.unpack_from(order + known[kind], value)[0]
        for tag, kind, _, value in struct.iter_unpack(entry, data[: len(data) // wide * wide])
        if kind in known
    }
