"""Coarser copies of a cube and its layers: each level halves the one before, by means."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.chunks import write_chunk
from pipeline.geozarr import multiscales
from pipeline.grid import Window
from pipeline.layout import NODATA, CubeSpec, add_centres, add_reflectance
from pipeline.packing import planes

OWNED = (2, 4)
"""Levels that a chunk's owner writes. A chunk of the others holds several of the cube's: it is
gathered while those are made."""
_LEVEL = re.compile(r"(?:(\w+)_)?overview_(\d+)")


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


def name(factor: int, layer: str = "") -> str:
    """Of a level's array: of the cube, or of a layer beside it."""
    return f"{layer}_overview_{factor}".lstrip("_")


def level_of(name: str) -> tuple[str, int] | None:
    """Layer (empty: the cube) and factor of a level's array; None where it is none."""
    found = _LEVEL.fullmatch(name)
    return (found[1] or "", int(found[2])) if found else None


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

    Each is the mean of the valid ones of its four, rounded half to even, as half up makes every
    level brighter than the one before; nodata where none is.
    """
    nodata, whole = NODATA[stored.dtype.name], stored.dtype.kind == "u"
    odd = [(0, 0), *((0, side % 2) for side in stored.shape[1:])]
    even = np.pad(stored, odd, constant_values=nodata) if any(map(any, odd)) else stored
    there = known(even)
    kind: Any = np.uint32 if whole else np.float64
    count, full = _of_four(there, kind), bool(there.all())
    divisor: Any = 4 if full else np.maximum(count, 1)
    out = np.empty((len(even), *count.shape), stored.dtype)
    for few in planes(even):
        known_ones = even[few] if full else np.where(there, even[few], even.dtype.type(0))
        total = _of_four(known_ones, kind)
        if whole:
            out[few] = _quarter(total) if full else np.rint(total / divisor)
        else:
            out[few] = total / divisor
    if not full:
        out[:, count == 0] = nodata
    return out


def _quarter(total: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A quarter of whole numbers, halves to even, in place: no division, as most pixels are so."""
    odd = total >> 2
    odd &= 1
    total += odd
    total += 1
    total >>= 2
    return total


def _of_four(values: NDArray[Any], kind: Any) -> NDArray[Any]:
    if values.dtype == np.uint16:
        # Two at once, beside each other in memory: every second one would take twice the time.
        pairs = np.ascontiguousarray(values).view(np.uint32)
        across: NDArray[Any] = pairs & 0xFFFF
        across += pairs >> 16
    else:
        across = np.add(values[..., ::2], values[..., 1::2], dtype=kind)
    total: NDArray[Any] = across[..., ::2, :] + across[..., 1::2, :]
    return total


Arrays = Mapping[int, zarr.Array[Any]]
"""Levels by factor, ascending."""
Index = tuple[int, int]
Halve = Callable[[NDArray[Any]], NDArray[Any]]
"""Of stored values (C, h, w) those of the next level (D, ceil(h / 2), ceil(w / 2))."""


class Pyramid(NamedTuple):
    """Levels of one array, and how each is made from the one before."""

    levels: Arrays
    """With what the coarser ones are made from."""
    coarser: Arrays
    """Those that are gathered."""
    halve: Halve


class Gathering:
    """The coarser levels of a window of the cube, from what its chunks' owners make; for threads.

    A chunk of a level is written when its last part has come, and its half is a part of the next
    level. Chunks that reach beyond the window are not made: `build` makes them. What waits is less
    than a row of chunks of each level.
    """

    def __init__(self, levels: Arrays, chunk: int, window: Window, halve: Halve = halved) -> None:
        self._levels, self._chunk, self._window, self._halve = levels, chunk, window, halve
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
        _put(self._levels[factor], place, whole, self._chunk)
        self.add(2 * factor, place.row // 2, place.col // 2, self._halve(whole))


def build(
    levels: Arrays, chunk: int, missing: Collection[tuple[int, Index]], halve: Halve = halved
) -> None:
    """Write the chunks (factor, (row, col)) that are missing, each from the level before."""
    for factor, (row, col) in sorted(missing):
        finer, coarser = levels[factor // 2], levels[factor]
        part = _chunk_at(coarser, row, col, chunk)
        rows, cols = Window(2 * part.row, 2 * part.col, 2 * part.height, 2 * part.width).slices
        stored = np.asarray(finer[..., rows, cols])
        _put(coarser, part, halve(stored.reshape(-1, *stored.shape[-2:])), chunk)


def _put(level: zarr.Array[Any], place: Window, stored: NDArray[Any], chunk: int) -> None:
    """Write the chunk (C, h, w) of a level (C, y, x), or (y, x) where C is 1."""
    at = (place.row // chunk, place.col // chunk)
    write_chunk(level, at, stored.reshape(*level.shape[:-2], *stored.shape[-2:]))


def _chunk_at(level: zarr.Array[Any], row: int, col: int, chunk: int) -> Window:
    height, width = (level.shape[-2] - row * chunk, level.shape[-1] - col * chunk)
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
