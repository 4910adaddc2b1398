"""Where Zarr keeps things: a store for any URI."""

import ctypes
import os
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore


def open_store(uri: str) -> FsspecStore | LocalStore:
    """Zarr's store of a path or URI; nothing is read or made."""
    fs, root = fsspec.core.url_to_fs(uri)
    return LocalStore(root) if isinstance(fs, LocalFileSystem) else FsspecStore.from_url(uri)


def is_local(uri: str) -> bool:
    """Whether a URI is of this machine's files, where a power loss can cut what is written."""
    return isinstance(fsspec.core.url_to_fs(uri)[0], LocalFileSystem)


def sweep(uri: str) -> None:
    """Delete the half-written files of a killed run; no other may be writing."""
    fs, root = fsspec.core.url_to_fs(uri)
    for name in fs.find(root):
        if name.endswith(".partial"):
            fs.rm_file(name)


def names_in(fs: fsspec.AbstractFileSystem, root: str) -> set[str]:
    """Names in a folder, without the half-written files."""
    names = (path.rsplit("/", maxsplit=1)[-1] for path in fs.ls(root, detail=False))
    return {name for name in names if not name.endswith(".partial")}


def put(uri: str, data: bytes) -> None:
    """Write an object wholly or not at all, whenever the process or the power ends."""
    fs, path = fsspec.core.url_to_fs(uri)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.write_bytes(data)
    _to_disk(partial)
    partial.replace(target)
    _to_disk(target.parent)


def keep(uri: str) -> None:
    """Return when all that was written beside and into a local store is on the disk.

    One call for its whole file system: a call a file takes 5 ms each.
    """
    if not is_local(uri):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    handle = os.open(fsspec.core.url_to_fs(uri)[1], os.O_RDONLY)
    try:
        if libc.syncfs(handle):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), uri)
    finally:
        os.close(handle)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
