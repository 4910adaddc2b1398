"""How what R2H wrote is known: near its beginning it says that it is an estimate."""

from __future__ import annotations

from fsspec.core import url_to_fs
from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.layout import NOTE

QUICKLOOK = ".quicklook.tif"
LOOK, SPECTRA, REPORT = ".quicklook.png", ".spectra.png", ".report.html"
"""What `r2h look` and `r2h report` draw beside a cube."""
_READ = (QUICKLOOK, LOOK, SPECTRA, ".vrt")
_NO_RASTER = (".zarr", ".json", ".jsonl", REPORT)
"""How the names of cubes, their items, records and reports end, and of no input."""
PAGE = '<meta name="generator" content="r2h">'
"""What a page says: of an estimate may also speak one that somebody wrote."""
_HEAD = 1 << 16


def is_ours(uri: str, begins: bytes = b"") -> bool:
    """Whether a file says that it is an estimate, a page that R2H made it; reads 64 KiB.

    Or, of one that has no such words, whether it ``begins`` so, were it cut or empty.
    """
    fs, path = url_to_fs(uri)
    if not fs.isfile(path):
        return False
    head = fs.cat_file(path, start=0, end=_HEAD)
    if begins:
        return bool(head[: len(begins)] == begins[: len(head)])
    return (PAGE if uri.endswith(".html") else NOTE).encode() in head


def refuse_foreign(uri: str, fix: str, begins: bytes = b"") -> None:
    """Raise Refusal where something is at ``uri`` that is not R2H's, by `is_ours`."""
    fs, path = url_to_fs(uri)
    if fs.exists(path) and not is_ours(uri, begins):
        raise Refusal("only what R2H made is replaced", uri, fix)


def is_made(uri: str) -> bool:
    """Whether something is a cube or lies beside one; of what a raster may be named, it is read."""
    return uri.rstrip("/").endswith(_NO_RASTER) or (uri.endswith(_READ) and is_ours(uri))


def refuse_ours(dataset: DatasetReader) -> None:
    """Raise Refusal for a raster that says it is an estimate: a quicklook, or an export."""
    if any(NOTE in text for text in dataset.tags().values()):
        fix = "Give the picture that it was made of."
        raise Refusal("an input is measured, not estimated by R2H", dataset.name, fix)
