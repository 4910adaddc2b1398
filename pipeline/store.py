"""Where Zarr keeps things: a store for any URI."""

import fsspec
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore


def open_store(uri: str) -> FsspecStore | LocalStore:
    """Zarr's store of a path or URI; nothing is read or made."""
    fs, root = fsspec.core.url_to_fs(uri)
    return LocalStore(root) if isinstance(fs, LocalFileSystem) else FsspecStore.from_url(uri)


def sweep(uri: str) -> None:
    """Delete the half-written files of a killed run; no other may be writing."""
    fs, root = fsspec.core.url_to_fs(uri)
    for name in fs.find(root):
        if name.endswith(".partial"):
            fs.rm_file(name)
