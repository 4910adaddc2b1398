"""How what R2H wrote is known: near its beginning it says that it is an estimate."""

from __future__ import annotations

from fsspec.core import url_to_fs
from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.layout import NOTE

QUICKLOOK = ".quicklook.tif"
PICTURES = (QUICKLOOK, ".quicklook.png", ".spectra.png")
"""How the names of pictures of cubes end."""
_HEAD = 1 << 16


def is_ours(uri: str) -> bool:
    """Whether a file, whatever it is, says that it is an estimate; reads its first 64 KiB."""
    fs, path = url_to_fs(uri)
    return fs.isfile(path) and NOTE.encode() in fs.cat_file(path, start=0, end=_HEAD)


def is_picture(uri: str) -> bool:
    """Whether a file is the picture of a cube; only what is named so is read."""
    return uri.endswith(PICTURES) and is_ours(uri)


def refuse_ours(dataset: DatasetReader) -> None:
    """Raise Refusal for a raster that says it is an estimate: a quicklook, or an export."""
    if any(NOTE in text for text in dataset.tags().values()):
        fix = "Give the picture that it was made of."
        raise Refusal("an input is measured, not estimated by R2H", dataset.name, fix)
