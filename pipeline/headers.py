"""What stands before the pixels: boxes of JPEG 2000, chunks of PNG, segments of JPEG, tags."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from typing import BinaryIO, NamedTuple

MOST = 1000
"""Most parts of a file, or of a box, that are looked at."""
LARGEST = 3_000_000
"""Most bytes of a part that are read."""
CODESTREAM = b"\xff\x4f\xff\x51"
JP2 = (b"\0\0\0\x0cjP  ", CODESTREAM)
"""How JPEG 2000 files begin."""
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
_EXIF = {b"eXIf": 0, b"Exif": 6}
"""Parts of PNG and JPEG that are EXIF, and how many bytes stand before it there."""
_TOLD = (b"colr", b"cdef", b"cICP", b"cHRM", b"eXIf", b"iCCP", b"ICC_PROFILE")
"""Parts of which GDAL says nothing, or not always."""
_RAW = (b"Raw profile type exif", b"Raw profile type APP1")
"""Texts of a PNG that are EXIF, as ImageMagick wrote it before there was eXIf."""
_TAGS = 4096
"""Most tags that are looked at."""
_SHORT, _EXTRA, _MULTIPLIED = 3, 338, 1
"""TIFF's type, its tag of what bands are beyond colours, and of that an alpha that is in these."""


class Head(NamedTuple):
    """What stands before an image's pixels."""

    parts: dict[bytes, bytes]
    """Those that say something of colours, of JPEG 2000, PNG and JPEG: see `contents`."""
    tags: dict[int, int]
    """See `first_tags`."""
    multiplied: bool = False
    """See `alpha_is_multiplied`."""


class Part(NamedTuple):
    """A box, chunk or segment: its kind, and from where to where its content is, in bytes."""

    kind: bytes
    start: int
    stop: int


def boxes(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[Part]:
    """Those of a JPEG 2000 file, or of one box from ``start`` to ``stop``; to one that is broken.

    After ISO/IEC 15444-1, I.4.
    """
    at, end = start, file.seek(0, os.SEEK_END) if stop is None else stop
    while at < end:
        file.seek(at)
        box = file.read(16)
        head, size = 8, int.from_bytes(box[:4])
        if size == 1:
            head, size = 16, int.from_bytes(box[8:])
        yield Part(box[4:8], at + head, min(at + size, end) if size else end)
        if not head <= size <= end or len(box) < 16:
            return
        at += size


def chunks(file: BinaryIO) -> Iterator[Part]:
    """Those of a PNG file before its pixels (W3C PNG, 5.3)."""
    at = len(PNG)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            return
        stop = at + 8 + int.from_bytes(head[:4])
        yield Part(head[4:], at + 8, stop)
        at = stop + 4


def segments(file: BinaryIO) -> Iterator[Part]:
    """Those of a JPEG file before its pixels; an application's by its name.

    After ISO/IEC 10918-1, B.1, which lets any number of 0xFF stand before a marker: of `MOST` at
    most.
    """
    at, fill = len(JPEG), 0
    while True:
        file.seek(at)
        head = file.read(16)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA) or fill > MOST:
            return
        if head[1] == 0xFF:
            at, fill = at + 1, fill + 1
            continue
        stop = at + 2 + int.from_bytes(head[2:4])
        named = head[1] >> 4 == 0xE
        yield Part(head[4:].partition(b"\0")[0] if named else head[1:2], at + 4, stop)
        at = stop


def contents(file: BinaryIO, kinds: Collection[bytes]) -> dict[bytes, bytes]:
    """What the first part of each of these kinds holds, of the parts before an image's pixels.

    None is taken from beyond ``MOST`` parts, and no more of one than ``LARGEST`` bytes.
    """
    found: dict[bytes, bytes] = {}
    for part in islice(_parts(file), MOST):
        if part.kind in kinds and part.kind not in found:
            file.seek(part.start)
            found[part.kind] = file.read(max(0, min(part.stop - part.start, LARGEST)))
    return found


def _parts(file: BinaryIO) -> Iterator[Part]:
    start = file.read(12)
    if start.startswith(PNG):
        return chunks(file)
    if start.startswith(JPEG):
        return segments(file)
    return _within(file) if start.startswith(JP2[0]) else iter(())


def _within(file: BinaryIO) -> Iterator[Part]:
    """The boxes of a JPEG 2000 file's header box."""
    for box in islice(boxes(file), MOST):
        if box.kind == b"jp2c":
            return
        if box.kind == b"jp2h":
            yield from boxes(file, box.start, box.stop)


def head_of(file: BinaryIO) -> Head:
    """What stands before the pixels of an image, of whatever format."""
    parts = contents(file, _TOLD)
    file.seek(0)
    if b"eXIf" not in parts and (raw := _exif_in_text(file)):
        return Head(parts | {b"eXIf": raw}, first_tags(BytesIO(raw)))
    file.seek(0)
    return Head(parts, first_tags(file), alpha_is_multiplied(file))


def _exif_in_text(file: BinaryIO) -> bytes:
    """The EXIF that a PNG holds as digits in a text before its pixels; empty where there is none.

    Such a text is a line break, what it is, how many bytes, and these, in hexadecimal.
    """
    texts = (part for part in islice(_parts(file), MOST) if part.kind in (b"zTXt", b"tEXt"))
    for part in texts:
        file.seek(part.start)
        name, _, text = file.read(max(0, min(part.stop - part.start, LARGEST))).partition(b"\0")
        if name not in _RAW:
            continue
        with suppress(zlib.error, ValueError):  # broken: as if it were not there
            if part.kind == b"zTXt":
                text = zlib.decompressobj().decompress(text[1:], LARGEST)
            digits = b"".join(text.split()[2:]).decode("ascii")
            return bytes.fromhex(digits).removeprefix(b"Exif\0\0")
    return b""


def first_tags(file: BinaryIO) -> dict[int, int]:
    """Tags of a TIFF's first image, or of the EXIF before the pixels of a PNG or JPEG.

    Each with the first of its values if that is a whole number; nothing where there are none, or
    they are broken.
    """
    parts = (part for part in islice(_parts(file), MOST) if part.kind in _EXIF)
    start = next((part.start + _EXIF[part.kind] for part in parts), 0)
    file.seek(start)
    # Some write it into a PNG as it stands in a JPEG.
    return _directory(file, start + 6 * (file.read(6) == b"Exif\0\0"))


def alpha_is_multiplied(file: BinaryIO) -> bool:
    """Whether a TIFF's first image says that its colours are multiplied by alpha.

    By its tag ExtraSamples (TIFF 6.0, section 18), of which GDAL tells that there is alpha alone.
    """
    for order, tag, kind, count, held in _entries(file):
        if (tag, kind) == (_EXTRA, _SHORT):
            values = held[: 2 * count]
            if 2 * count > len(held):
                at = int.from_bytes(held, "little" if order == "<" else "big")
                file.seek(min(at, file.seek(0, os.SEEK_END)))
                values = file.read(2 * min(count, _TAGS))
            pairs = struct.iter_unpack(f"{order}H", values[: len(values) // 2 * 2])
            return (_MULTIPLIED,) in pairs
    return False


def exif_colour_space(data: bytes) -> int | None:
    """EXIF's tag ColorSpace (EXIF 2.32, 4.6.5); None where there is none, or it is broken."""
    file = BytesIO(
        data.removeprefix(b"Exif\0\0") + bytes(2)
    )  # of its value's four bytes the last two may be left out
    inner = _directory(file).get(0x8769)
    return None if inner is None else _directory(file, at=inner).get(0xA001)


def _directory(file: BinaryIO, start: int = 0, at: int | None = None) -> dict[int, int]:
    """Tags of a directory, each with the first of its values: see `_entries`."""
    known = {_SHORT: "H", 4: "I"}
    return {
        tag: struct.unpack_from(order + known[kind], value)[0]
        for order, tag, kind, _, value in _entries(file, start, at)
        if kind in known
    }


def _entries(
    file: BinaryIO, start: int = 0, at: int | None = None
) -> Iterator[tuple[str, int, int, int, bytes]]:
    """Those of a directory of the TIFF that begins at ``start``: its first, or that ``at`` a place.

    Each is the byte order, its tag, type and number of values, and these, or where they are. After
    TIFF 6.0, section 2, and BigTIFF.
    """
    file.seek(start)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return
    big = struct.unpack_from(f"{order}H", head, 2) == (43,)
    offset, size, entry = ("Q", 8, f"{order}HHQ8s") if big else ("I", 2, f"{order}HHI4s")
    if at is None:
        (at,) = struct.unpack_from(order + offset, head, 8 if big else 4)
    # No file goes to where a broken one may say, which is beyond any.
    file.seek(min(start + at, file.seek(0, os.SEEK_END)))
    count = min(int.from_bytes(file.read(size), "little" if order == "<" else "big"), _TAGS)
    wide = struct.calcsize(entry)
    data = file.read(count * wide)
    for found in struct.iter_unpack(entry, data[: len(data) // wide * wide]):
        yield (order, *found)
