"""Groups of Zarr arrays: made at once, sealed by one copy of all metadata, and read by it."""

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.sync import sync
from zarr.errors import ZarrUserWarning
from zarr.storage import LocalStore, MemoryStore

from pipeline.place import Mode
from pipeline.store import is_local, open_store, put


@contextmanager
def new_group(uri: str, **about: Any) -> Iterator[zarr.Group]:
    """A group that is made in memory, and written when all that is in it is made.

    Its attributes, by which it is known, go before all, its own metadata then, and all else
    together: Zarr would wait for the store a hundred times.
    """
    objects: dict[str, Buffer] = {}
    yield zarr.create_group(MemoryStore(objects), **about)
    store, own = open_store(uri), {key for key in objects if "/" not in key}

    async def write(keys: set[str]) -> None:
        writes = (store.set(key, objects[key]) for key in sorted(keys))
        # Where one fails the others are waited for: nothing is written after it is told.
        for error in await asyncio.gather(*writes, return_exceptions=True):
            if error is not None:
                raise error

    for key in sorted(own):
        if is_local(uri):  # a power loss must not take them and leave what came later
            put(f"{uri.rstrip('/')}/{key}", objects[key].to_bytes())
        else:
            sync(write({key}))
    sync(write(objects.keys() - own))


def open_group(place: str | Store, mode: Mode = "r") -> zarr.Group:
    """The group of a path, URI or store.

    To read, by the one copy of all metadata that sealed it: single ones that a copy of the store
    lacks would else read as if nobody had said them, as a scale of 1.
    """
    store = open_store(place) if isinstance(place, str) else place
    if mode == "r":
        with suppress(ValueError, KeyError, TypeError):  # where a power loss cut it
            return zarr.open_group(store, mode="r")
    return zarr.open_group(store, mode=mode, use_consolidated=False)


def consolidate(group: zarr.Group) -> None:
    """Write all metadata of a group into one object, the last that is written."""
    store = group.store
    with warnings.catch_warnings():
        # v3 has no consolidated metadata in its specification; xarray reads it all the same.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        zarr.consolidate_metadata(_Durable(store.root) if isinstance(store, LocalStore) else store)


class _Durable(LocalStore):
    """Where no power loss cuts what is written: v3 writes the root's own metadata again."""

    async def set(self, key: str, value: Buffer) -> None:
        put(str(self.root / key), value.to_bytes())


def is_label(name: str, array: "zarr.Array[Any]") -> bool:
    """Whether an array is of wavelengths or places that differ, so that it has an object."""
    kind = "wavelength" if name in ("fwhm", "good_wavelengths") else name.partition("_")[0]
    return array.ndim == 1 and array.size > 1 and kind in ("wavelength", "x", "y")
