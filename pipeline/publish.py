"""Files that appear wholly or not at all, and in nobody's place, wherever they are to be."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from tempfile import TemporaryDirectory

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import Refusal
from pipeline.lock import alone
from pipeline.uri import local_path

BESIDE = (".ovr", ".aux.xml", ".msk")
"""Ends of what GDAL reads beside a file of any name: overviews, place and nodata, a mask."""


def refuse_there(path: PurePath, fs: fsspec.AbstractFileSystem | None = None) -> None:
    """Raise Refusal where something is at a path already: of a store, or local."""
    if (fs or LocalFileSystem()).exists(str(path)):
        fix = "Choose another name, or add --overwrite to replace it."
        raise Refusal("what is written goes to new files", path, fix)


def refuse_web(uri: str, fix: str = "Choose another place.") -> None:
    """Raise Refusal for an address on a web server, which takes no files."""
    if uri.startswith(("http://", "https://")):
        raise Refusal("what is written goes to a place that takes files", uri, fix)


@contextmanager
def published(uri: str) -> Iterator[Path]:
    """A local path to write a file at; it appears at ``uri`` once the body has ended well.

    What the body puts beside the path appears beside the file; what GDAL would read there of the
    file before it is deleted. A kill leaves a folder
    ``.NAME.r2h``, which the next try replaces. Raises Refusal for a place that takes no
    files, Busy where another process is writing it.
    """
    refuse_web(uri)
    local_path(uri)  # refuses a file URI that leads elsewhere
    fs, path = fsspec.core.url_to_fs(uri)
    target = PurePosixPath(path)
    if not isinstance(fs, LocalFileSystem):
        with TemporaryDirectory() as folder:
            yield Path(folder, target.name)
            _clear(fs, path)
            for made in sorted(Path(folder).iterdir()):
                fs.put_file(str(made), str(target.with_name(made.name)))
        return
    # On the same disk, so that a rename is enough.
    draft, lock = (Path(target.with_name(f".{target.name}.{kind}")) for kind in ("r2h", "lck"))
    with alone(lock, where_possible=True):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            yield draft / target.name
            _clear(fs, path)
            for made in sorted(draft.iterdir()):
                made.replace(target.with_name(made.name))
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _clear(fs: fsspec.AbstractFileSystem, path: str) -> None:
    for beside in (path + end for end in BESIDE):
        if fs.exists(beside):
            fs.rm_file(beside)
