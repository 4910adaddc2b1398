"""Coarser copies of a cube: each level halves the one before, by the mean of valid pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.geozarr import multiscales
from pipeline.grid import Window
from pipeline.layout import NODATA, CubeSpec, add_centres, add_reflectance

OWNED = (2, 4)
"""Levels that a chunk's owner writes. A chunk of the others holds several of the cube's: it is
gathered while those are made."""


def factors(height: int, width: int, chunk: int) -> list[int]:
    """Pixels a side of each level's squares: 2, 4, ... until a level is one chunk.

    None where the chunk's side is odd: squares would lie across chunks of different owners.
    """
    found: list[int] = []
    while chunk % 2 == 0 and max(height, width) > chunk * 2 ** len(found):
        found.append(2 ** (len(found) + 1))
    return found


def owned(height: int, width: int, chunk: int) -> list[int]:
    """Those of the levels whose squares lie within chunks, and that their owners make."""
    return [f for f in factors(height, width, chunk) if f in OWNED and chunk % f == 0]


def name(factor: int) -> str:
    """Of a level's array."""
    return f"overview_{factor}"


def lay_out(group: zarr.Group, spec: CubeSpec) -> None:
    """Create the levels' arrays, without values, with coordinates of their own."""
    size = (spec.height, spec.width, spec.chunk)
    for factor in factors(*size):
        side = spec.chunk // factor if factor in owned(*size) else spec.chunk
        axes = add_centres(group, spec, factor)
        add_reflectance(group, name(factor), spec, axes, factor, side)
    if names := [name(factor) for factor in factors(*size)]:
        levels = [(level, dict(group[level].attrs)) for level in names]
        group.attrs.update(multiscales(levels))


def known(stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Where (h, w) stored values (C, h, w) are valid."""
    first: NDArray[Any] = stored[0]
    there: NDArray[np.bool_] = ~np.isnan(first)
    return first != NODATA["uint16"] if first.dtype.kind == "u" else there


def halved(stored: NDArray[Any]) -> NDArray[Any]:
    """Stored values (C, h, w) to (C, ceil(h / 2), ceil(w / 2)).

    Each is the mean of the valid ones of its four, rounded half up; nodata where none is.
    """
    nodata, whole = NODATA[stored.dtype.name], stored.dtype.kind == "u"
    odd = [(0, 0), *((0, side % 2) for side in stored.shape[1:])]
    even = np.pad(stored, odd, constant_values=nodata) if any(map(any, odd)) else stored
    there = known(even)
    kind: Any = np.uint32 if whole else np.float64
    count, full = _of_four(there, kind), bool(there.all())
    divisor: Any = 4 if full else np.maximum(count, 1)
    out = np.empty((len(even), *count.shape), stored.dtype)
    # A wavelength at a time stays in the processor's cache.
    for plane, half in zip(even, out, strict=True):
        total = _of_four(plane if full else np.where(there, plane, even.dtype.type(0)), kind)
        half[:] = (total + divisor // 2) // divisor if whole else total / divisor
    if not full:
        out[:, count == 0] = nodata
    return out


def _of_four(values: NDArray[Any], kind: Any) -> NDArray[Any]:
    one, two = values[..., ::2, ::2], values[..., ::2, 1::2]
    three, four = values[..., 1::2, ::2], values[..., 1::2, 1::2]
    upper: NDArray[Any] = np.add(one, two, dtype=kind)
    upper += three
    upper += four
    return upper


Arrays = Mapping[int, zarr.Array[Any]]
"""Levels by factor, ascending."""
Index = tuple[int, int]


class Gathering:
    """The coarser levels of a window of the cube, from what its chunks' owners make; for threads.

    A chunk of a level is written when its last part has come, and its half is a part of the next
    level. Chunks that reach beyond the window are not made: `build` makes them. What waits is less
    than a row of chunks of each level.
    """

    def __init__(self, levels: Arrays, chunk: int, window: Window) -> None:
        self._levels, self._chunk, self._window = levels, chunk, window
        self._parts: dict[tuple[int, Index], dict[Index, NDArray[Any]]] = {}
        self._lock = Lock()

    def add(self, factor: int, row: int, col: int, part: NDArray[Any]) -> None:
        """Take stored values (C, h, w) of a level, whose first pixel there is (row, col)."""
        if factor not in self._levels:
            return
        place = _chunk_at(self._levels[factor], row // self._chunk, col // self._chunk, self._chunk)
        if not _inside(place, factor, self._window):
            return
        with self._lock:
            parts = self._parts.setdefault((factor, (place.row, place.col)), {})
            parts[row, col] = part
            if sum(known[0].size for known in parts.values()) < place.height * place.width:
                return
            del self._parts[factor, (place.row, place.col)]
        whole = np.empty((len(part), place.height, place.width), part.dtype)
        for (down, right), known in parts.items():
            at = Window(down - place.row, right - place.col, *known.shape[1:])
            whole[:, *at.slices] = known
        self._levels[factor][:, *place.slices] = whole
        self.add(2 * factor, place.row // 2, place.col // 2, halved(whole))


def build(levels: Arrays, chunk: int, missing: Collection[tuple[int, Index]]) -> None:
    """Write the chunks (factor, (row, col)) that are missing, each from the level before."""
    for factor, (row, col) in sorted(missing):
        finer, coarser = levels[factor // 2], levels[factor]
        part = _chunk_at(coarser, row, col, chunk)
        rows, cols = Window(2 * part.row, 2 * part.col, 2 * part.height, 2 * part.width).slices
        coarser[:, *part.slices] = halved(np.asarray(finer[:, rows, cols]))


def _chunk_at(level: zarr.Array[Any], row: int, col: int, chunk: int) -> Window:
    height, width = (level.shape[1] - row * chunk, level.shape[2] - col * chunk)
    return Window(row * chunk, col * chunk, min(chunk, height), min(chunk, width))


def _inside(place: Window, factor: int, window: Window) -> bool:
    """Whether a level's place has only pixels of a window of the cube, or beyond the cube's edge.

    Windows end at whole chunks or at the edge, where squares may be cut.
    """
    return (
        place.row * factor >= window.row
        and place.col * factor >= window.col
        and (place.row_stop - 1) * factor < window.row_stop
        and (place.col_stop - 1) * factor < window.col_stop
    )
