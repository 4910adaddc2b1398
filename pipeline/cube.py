"""The result: a Zarr cube (wavelength, y, x) that xarray, rioxarray and GDAL open as it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.chunks import AGAIN, undamaged, write_chunk
from pipeline.companion import Companion
from pipeline.errors import Refusal
from pipeline.grid import Window, regions
from pipeline.group import consolidate, new_group, open_group
from pipeline.layers import Layers
from pipeline.layout import ARRAY, CubeSpec, about, lay_out
from pipeline.packing import quantise, unpack
from pipeline.place import (
    BEGUN,
    SETTINGS,
    Mode,
    disown,
    is_vacant,
    no_cube,
    refuse_foreign,
    refuse_mode,
    remove,
    root_attributes,
)
from pipeline.seam import Counts
from pipeline.store import keep, listed, put, sweep

__all__ = ["CubeSpec", "SpectralCube", "quantise", "unpack"]

_CHUNK_KEY = re.compile(r".*/0[./](\d+)[./](\d+)", re.DOTALL)


class SpectralCube:
    """A cube in a store, written chunk by whole chunk, each once.

    Windows are in the cube's own pixels: its first is (0, 0) wherever it lies in the scene.
    """

    def __init__(self, uri: str, group: zarr.Group) -> None:
        self.uri = uri
        self._fs, self._root = fsspec.core.url_to_fs(uri)
        self.group = group
        # Not kept in the store, so set at each opening: a masked chunk is finished when it exists.
        array: Any = group[ARRAY]
        self._array: zarr.Array[Any] = array.with_config({"write_empty_chunks": True})
        _, self.height, self.width = self._array.shape
        self.chunk: int = self._array.chunks[1]
        self.dtype: np.dtype[Any] = self._array.dtype

    @classmethod
    def open(cls, uri: str | Path, mode: Mode = "r") -> SpectralCube:
        """Open a cube that `create` made, to read or ("r+") to write. Raises Refusal for none."""
        refuse_mode(mode)
        uri = os.fspath(uri)
        fs, root = fsspec.core.url_to_fs(uri)
        # Asked before zarr is, which would leave an empty folder behind.
        if not any(fs.exists(f"{root}/{name}") for name in (".zgroup", ".zattrs", "zarr.json")):
            raise Refusal("a cube to open exists", uri, "Check the path.")
        with suppress(ValueError, KeyError, FileNotFoundError):  # a power loss cut its metadata
            group = open_group(uri, mode)
            if SETTINGS in group.attrs:
                return cls(uri, group)
        raise no_cube(uri, root_attributes(fs, root))

    @classmethod
    def create(cls, uri: str | Path, spec: CubeSpec) -> SpectralCube:
        """Write metadata and coordinates, no values. Raises Refusal when `uri` exists."""
        uri = os.fspath(uri)
        fs, root = fsspec.core.url_to_fs(uri)
        if fs.exists(root) and not is_vacant(fs, root):
            fix = "Resume it, delete it or choose another place."
            raise Refusal("a new cube's place is empty", uri, fix)
        Companion.refuse_foreign(uri)
        # First of all a mark: whatever a kill leaves is known for ours.
        marks = {BEGUN: True}
        with new_group(uri, zarr_format=spec.zarr_format, attributes=marks) as group:
            lay_out(group, spec)
        Companion.create(uri, spec)
        # Last, for the mark: a cube whose creation was cut short has no settings.
        group = open_group(uri, "r+")
        group.attrs.put({**about(spec), SETTINGS: dict(spec.settings)})
        return cls(uri, group)

    @staticmethod
    def remove(uri: str) -> None:
        """Delete a cube, also one cut short in its creation. Raises Refusal for anything else."""
        refuse_foreign(uri)
        Companion.refuse_foreign(uri)
        disown(uri)
        Companion.remove(uri)
        remove(*fsspec.core.url_to_fs(uri))

    @cached_property
    def companion(self) -> Companion:
        """The store beside the cube. Raises Refusal where it is gone or another's."""
        companion = Companion.open(self.uri, "r" if self.group.read_only else "r+")
        companion.refuse_other(self.settings, self.height, self.width, self.chunk)
        return companion

    @cached_property
    def wavelengths(self) -> tuple[float, ...]:
        """Of the channels, nm. Raises Refusal where they are lost: they would read as 0."""
        with undamaged(self.uri):
            centres = np.asarray(self.group["wavelength"])
        if not (centres > 0).all():
            raise Refusal("a cube says its wavelengths", f"none in {self.uri}", AGAIN)
        return tuple(centres.tolist())

    @property
    def settings(self) -> dict[str, Any]:
        """The provenance that the cube was created with."""
        stored: Any = self.group.attrs[SETTINGS]
        return dict(stored)

    @property
    def sealed(self) -> bool:
        """Whether the cube is complete: its consolidated metadata is there, and whole."""
        return open_group(self.group.store).metadata.consolidated_metadata is not None

    def begin(self, window: Window) -> None:
        """Say which window is written next, so that its coarser overviews are made with it."""
        self.companion.begin(window)

    def write(self, window: Window, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Write reflectance (wavelength, height, width), nodata where not valid (height, width).

        Values are clipped to [0, 6.5534]. Chunks that exist are left as they are. Raises Refusal
        for a window that cuts a chunk, and for a valid value that is not finite.
        """
        self.store(window, quantise(values, valid, self.dtype))

    def store(self, window: Window, stored: NDArray[Any]) -> None:
        """Write what `quantise` made (wavelength, height, width), and its overviews before it.

        Chunks that exist are left as they are. Raises Refusal for a window that cuts a chunk, and
        for values that are not all of it.
        """
        self._refuse_cut_chunks(window)
        if stored.shape != (whole := (len(self.wavelengths), window.height, window.width)):
            rule = f"values of this window are {whole}: wavelength, height, width"
            raise Refusal(rule, stored.shape, "Give all of them, in that order.")
        for part in regions(window.height, window.width, self.chunk, self.chunk):
            place = part.shifted(window.row, window.col)
            at = place.row // self.chunk, place.col // self.chunk
            if not self.has(*at):
                raw = stored[:, *part.slices]
                self.companion.coarsen(place, raw)
                write_chunk(self._array, at, raw)

    def note(self, window: Window, seam: Counts, beside: Layers) -> None:
        """Write seam record and layers of the chunk at a window, before the chunk itself."""
        self.companion.note(window, seam, beside)

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Reflectance (wavelength, height, width) and valid (height, width); NaN where invalid.

        Raises Refusal for a window that leaves the cube, and for damage.
        """
        return unpack(self.raw(window))

    def raw(self, window: Window) -> NDArray[Any]:
        """What is stored (wavelength, height, width), nodata too. Raises Refusal as `read` does."""
        window.refuse_outside(self.height, self.width)
        with undamaged(self.uri):
            return np.asarray(self._array[:, *window.slices])

    def has(self, row: int, col: int) -> bool:
        """Whether a chunk's object exists."""
        return bool(self._fs.exists(self._chunk_path(row, col)))

    def finished(self, rows: Iterable[int] | None = None) -> set[tuple[int, int]]:
        """The (chunk row, chunk column) whose object exists, of all or of some chunk ``rows``.

        Lists names, reads no values.
        """
        self._fs.invalidate_cache()
        if rows is None:
            names = self._fs.find(f"{self._root}/{ARRAY}")
        else:
            starts = (self._chunk_path(row, 0)[:-1].rpartition("/") for row in rows)
            names = [n for folder, _, start in starts for n in listed(self._fs, folder, start)]
        keys = (_CHUNK_KEY.fullmatch(name) for name in names)
        return {(int(key[1]), int(key[2])) for key in keys if key}

    def chunks(self) -> set[tuple[int, int]]:
        """The (chunk row, chunk column) of every chunk, finished or not."""
        rows, cols = -(-self.height // self.chunk), -(-self.width // self.chunk)
        return {(row, col) for row in range(rows) for col in range(cols)}

    def seal(self, before: Callable[[], None] = lambda: None) -> None:
        """Mark the cube complete: make the overviews that are missing, consolidate its metadata.

        What a kill left over is deleted. ``before`` is called when all values are there, overviews
        too, and nothing says so yet. Raises FileNotFoundError while chunks are missing.
        """
        if missing := len(self.chunks() - self.finished()):
            lacking = f"{missing} of {len(self.chunks())} missing in {self.uri}"
            raise FileNotFoundError(f"a sealed cube has all its chunks; got {lacking}")
        self.companion.complete()
        before()
        self.sweep()
        # What says that all is there must not outlive a power loss that takes some of it.
        keep(self.uri)
        consolidate(self.group)
        keep(self.uri)

    def unseal(self) -> None:
        """Mark a sealed cube as not complete."""
        if self.group.metadata.zarr_format == 2:
            self._fs.rm_file(f"{self._root}/.zmetadata")
            return
        root = json.loads(self._fs.cat_file(f"{self._root}/zarr.json"))
        root.pop("consolidated_metadata", None)
        put(f"{self.uri.rstrip('/')}/zarr.json", json.dumps(root, indent=2).encode())

    def drop(self, row: int, col: int) -> None:
        """Delete a chunk, so that it is made again."""
        self._fs.rm_file(self._chunk_path(row, col))

    def sweep(self) -> None:
        """Delete the half-written files of a killed run; no other may be writing."""
        for uri in (self.uri, Companion.uri(self.uri)):
            sweep(uri)

    def _chunk_path(self, row: int, col: int) -> str:
        key = self._array.metadata.encode_chunk_key((0, row, col))
        return f"{self._root}/{ARRAY}/{key}"

    def _refuse_cut_chunks(self, window: Window) -> None:
        starts = window.row % self.chunk == window.col % self.chunk == 0
        rows = window.row_stop == self.height or window.row_stop % self.chunk == 0
        cols = window.col_stop == self.width or window.col_stop % self.chunk == 0
        inside = Window(0, 0, self.height, self.width).intersection(window) == window
        if not (starts and rows and cols and inside):
            rule = f"a window holds whole chunks of {self.chunk}, or ends at the cube's edge"
            raise Refusal(rule, window, "Align it: a chunk has one owner and is written once.")
