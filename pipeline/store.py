"""Where Zarr keeps things: a store for any URI."""

import warnings

import fsspec
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr.errors import ZarrUserWarning
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


def consolidate(group: zarr.Group) -> None:
    """Write all metadata of a group into one object, the last that is written."""
    with warnings.catch_warnings():
        # v3 has no consolidated metadata in its specification; xarray reads it all the same.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        zarr.consolidate_metadata(group.store)
