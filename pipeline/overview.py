"""Coarser copies of a cube: each level halves the one before, by the mean of valid pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.grid import Window, regions
from pipeline.layout import NODATA, CubeSpec, add_centres, add_reflectance

OWNED = (2, 4)
"""Levels that a chunk's owner makes from it. The others are made when a cube is sealed, from these:
their chunks hold more than one of the cube's, and one of 16 of its values is read again."""


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
    count = _of_four(there, kind)
    total = _of_four(even if there.all() else np.where(there, even, even.dtype.type(0)), kind)
    divisor = np.maximum(count, 1)
    mean = (total + divisor // 2) // divisor if whole else total / divisor
    out: NDArray[Any] = mean.astype(stored.dtype)
    if not count.all():
        out[:, count == 0] = nodata
    return out


def _of_four(values: NDArray[Any], kind: Any) -> NDArray[Any]:
    one, two = values[..., ::2, ::2], values[..., ::2, 1::2]
    three, four = values[..., 1::2, ::2], values[..., 1::2, 1::2]
    upper: NDArray[Any] = np.add(one, two, dtype=kind)
    upper += three
    upper += four
    return upper


def build(arrays: dict[int, zarr.Array[Any]], chunk: int, made: list[int]) -> None:
    """Write the levels that are not made, each from the one before, a chunk at a time.

    Doing it again writes the same.
    """
    for factor in [f for f in arrays if f not in made]:
        finer, coarser = arrays[factor // 2], arrays[factor]
        for part in regions(coarser.shape[1], coarser.shape[2], chunk, chunk):
            source = Window(2 * part.row, 2 * part.col, 2 * part.height, 2 * part.width)
            rows, cols = source.slices
            coarser[:, *part.slices] = halved(np.asarray(finer[:, rows, cols]))
