"""What a file made to harm may not do: read other files or hosts, or take memory without end."""

from __future__ import annotations

import html
import os
import re
import struct
from pathlib import Path
from typing import BinaryIO

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.headers import CODESTREAM, JP2, MOST, PNG, boxes

BLOCK = 256_000_000
"""Most bytes of one block, decoded: what GDAL keeps of all (GDAL_CACHEMAX)."""
SIDE = 2**24
"""Most pixels of a side: a cube's labels are made for each row and column."""
TILES = 16_384
"""Most tiles of a JPEG 2000 image: OpenJPEG takes some 30 kB for each before it reads one."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BESIDE = (".msk", ".MSK", ".aux.xml")
"""What follows an image's name in those of a mask and notes beside it, which change its pixels."""
_NOTES = 10_000_000
# GDAL opens what OVERVIEW_FILE names, PROJ the grids that a CRS names: by any path, on any host.
_ELSEWHERE = re.compile(
    r"OVERVIEW_FILE|PARAMETERFILE|PROJ4_GRIDS|proj=pipeline|(?:grids|geoid\w*|file|init)=(?!@null\b)",
    re.IGNORECASE,
)


def beside(path: Path) -> list[str]:
    """The file and those beside it that GDAL takes its mask, place and nodata from, as paths."""
    full, kinds = path.name, worlds(path.suffix)
    names = {f"{full}.msk", f"{full}.aux.xml", *(f"{path.stem}.{kind}" for kind in (*kinds, "tab"))}
    names |= {name.upper() for name in names}
    # os.path: pathlib raises where a name is too long to be one.
    there = sorted(name for name in names if os.path.isfile(path.with_name(name)))  # noqa: PTH113
    return [str(path), *(str(path.with_name(name)) for name in there)]


def worlds(suffix: str) -> list[str]:
    """What the names of world files end in, in place of an image's suffix, in GDAL's order."""
    bare = suffix.lstrip(".").lower()
    kinds = [f"{bare[0]}{bare[-1]}w", f"{bare}w", "wld"] if bare else []
    kinds[2:2] = ["jpw"] if bare in {"jpg", "jpeg"} else []
    return [each for kind in kinds for each in (kind, kind.upper())]


def worlds_beside(path: Path) -> list[Path]:
    """The world files that are there beside a local image."""
    kinds = worlds(path.suffix)
    return [name for name in map(Path, beside(path)[1:]) if name.suffix[1:] in kinds]


def refuse_hidden(path: Path) -> None:
    """Raise Refusal where what lies beside a local file would make GDAL read something else."""
    for name in beside(path)[1:]:
        with Path(name).open("rb") as file:
            head = file.read(_NOTES + 1)
        if name.lower().endswith(".msk") and not head.startswith(_TIFF):
            raise _refused("a mask beside an image is a TIFF", name)
        if name.lower().endswith(".aux.xml"):
            text = html.unescape(head.decode("utf-8", errors="replace"))
            if len(head) > _NOTES or _ELSEWHERE.search(text):
                raise _refused("notes beside an image name no other file", name)


def refuse_elsewhere(crs_wkt: str | None, uri: str) -> None:
    """Raise Refusal where a CRS would make PROJ read a file or a host that it names.

    Or where PROJ has no database: a CRS that is written then lacks what it is named by.
    """
    if crs_wkt and _ELSEWHERE.search(crs_wkt):
        fix = "Give it a CRS without, with gdal_edit -a_srs EPSG:..."
        raise Refusal("a CRS names no file to read", uri, fix)
    try:
        CRS.from_epsg(4326)
    except CRSError as error:
        fix = "Unset PROJ_DATA and PROJ_LIB, which may name another PROJ's."
        raise Refusal("PROJ finds its database", error, fix) from None


def refuse_bomb(dataset: DatasetReader, path: Path | None) -> None:
    """Raise Refusal where one block, or what is decoded for it, would take too much memory."""
    sizes = zip(dataset.block_shapes, dataset.dtypes, strict=True)
    each = [height * width * _bytes(kind) for (height, width), kind in sizes]
    whole = dataset.height * dataset.width * sum(map(_bytes, dataset.dtypes))
    # Of JPEG 2000 it is not asked: GDAL walks the whole codestream first, a broken one without end.
    apart = dataset.driver != "JP2OpenJPEG" and dataset.interleaving
    together = not apart or apart.name == "pixel"
    most = sum(each) if together else max(each)
    if path is not None and _interlaced(path):
        most = whole
    if most > BLOCK:
        rule = f"a block of an image takes at most {BLOCK / 1e6:.0f} MB"
        fix = "Convert it with gdal_translate -co TILED=YES."
        raise Refusal(rule, f"{dataset.name} with {most / 1e6:.0f} MB", fix)


def refuse_many_tiles(file: BinaryIO, name: str) -> None:
    """Raise Refusal where a JPEG 2000 header lays out more tiles than may be; before it is opened.

    After ISO/IEC 15444-1, A.5.1: sizes of the grid, of the image's and the tiles' corners in it.
    """
    if not file.read(12).startswith(JP2):
        return
    file.seek(_codestream(file, name))
    start = file.read(40)
    if not start.startswith(CODESTREAM) or len(start) < 40:
        return  # a broken one is refused when it is opened
    x, y, _, _, wide, high, left, top = struct.unpack(">8I", start[8:])
    tiles = -(-(x - left) // (wide or 1)) * -(-(y - top) // (high or 1))
    if tiles > TILES:
        fix = "Convert it with gdal_translate -of COG."
        raise Refusal(f"a JPEG 2000 image has at most {TILES} tiles", f"{name}, {tiles}", fix)


def _codestream(file: BinaryIO, name: str) -> int:
    """Where the codestream begins in a file that begins with it or with boxes; else 0."""
    for count, box in enumerate(boxes(file)):
        if box.kind == b"jp2c":
            return box.start
        if count == MOST:
            rule = f"a JPEG 2000 codestream begins within {MOST} boxes"
            raise Refusal(rule, name, "Convert it with gdal_translate -of COG.")
    return 0


def refuse_too_many(height: int, width: int, most: float) -> None:
    """Raise Refusal where a scene has more pixels than are allowed, before anything is made."""
    if height * width > most:
        rule, fix = f"a scene has at most {most:g} pixels", "Raise --max-pixels if it is meant."
        raise Refusal(rule, f"{height} x {width}", fix)
    if max(height, width) > SIDE:
        rule, fix = (
            f"a side has at most {SIDE} pixels",
            "Cut it with gdal_translate -srcwin.",
        )
        raise Refusal(rule, f"{height} x {width}", fix)


def _bytes(kind: str) -> int:
    return int(kind.removeprefix("complex").lstrip("_abcdefghijklmnopqrstuvwxyz") or 128) // 8


def _interlaced(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(29)
    return head.startswith(PNG) and head[28:] != b"\0"


def _refused(rule: str, name: str) -> Refusal:
    return Refusal(rule, name, "Delete it, or move the image away from it.")
