"""One array of a cube, or beside it: its numbers as physical values, of a window or thinned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.chunks import undamaged
from pipeline.grid import Window, regions

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Reduce = Callable[[Floats], NDArray[Any]]
"""From values (k, n, m), NaN where there are none, to (j, n, m); pixel by pixel."""

_READERS = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """An array (y, x) or (wavelength, y, x), and how its numbers become physical values."""

    array: zarr.Array[Any]
    factor: int = 1
    """Pixels of the cube that one of it covers, along a side."""
    known: Layer | None = None
    """A layer that has nodata where this one, whose numbers are bits, cannot say it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[-2], self.array.shape[-1]

    def read(self, window: Window) -> Floats:
        """Values (k, height, width) of a window in the layer's own pixels, NaN where none are.

        Raises Refusal where a stored chunk is damaged.
        """
        with undamaged(str(self.array.store_path)):
            raw = np.asarray(self.array[..., *window.slices])
        about: dict[str, Any] = self.array.attrs.asdict()
        fill = about.get("_FillValue", self.array.fill_value)
        values = raw.astype(np.float32).reshape(-1, *raw.shape[-2:])
        if "log_floor" in about:
            floor, step = np.float32(about["log_floor"]), np.float32(about["log_step"])
            values = floor * np.exp(step * values)
        elif "scale_factor" in about:
            # Divided, as the cube does: a count of 5000 is 0.5, to the last bit.
            values /= np.float32(1 / np.float32(about["scale_factor"]))
        # A fill of 0 is no nodata value: zarr gives it to arrays that have none.
        if fill:
            values[(raw == fill).reshape(values.shape)] = np.nan
        if self.known:
            values[np.isnan(self.known.read(window))] = np.nan
        return values

    def chunks(self, rows: Indices, cols: Indices) -> list[tuple[slice, slice]]:
        """Of ascending rows (n,) and cols (m,), the parts that lie in one chunk each."""
        side = self.array.chunks[-1]
        return [(down, right) for down in _runs(rows // side) for right in _runs(cols // side)]

    def sample(self, rows: Indices, cols: Indices, reduce: Reduce) -> NDArray[Any]:
        """What reduce gives (j, n, m) at ascending rows (n,) and cols (m,), each chunk read once.

        A few chunks are in memory at a time.
        """
        parts = self.chunks(rows, cols)

        def one(part: tuple[slice, slice]) -> NDArray[Any]:
            down, right = rows[part[0]], cols[part[1]]
            top, left = int(down[0]), int(right[0])
            window = Window(top, left, int(down[-1]) - top + 1, int(right[-1]) - left + 1)
            return reduce(self.read(window)[:, down - top][:, :, right - left])

        with ThreadPoolExecutor(_READERS) as pool:
            pieces = list(pool.map(one, parts))
        out = np.empty((len(pieces[0]), len(rows), len(cols)), pieces[0].dtype)
        for part, piece in zip(parts, pieces, strict=True):
            out[:, *part] = piece
        return out

    def typical(self) -> Floats:
        """Values (k, n) of a few thousand pixels: every eighth of 16 chunks spread over it."""
        chunk, (height, width) = self.array.chunks[-1], self.shape
        cut = list(regions(height, width, chunk, chunk))
        chosen = np.unique(np.linspace(0, len(cut) - 1, 16).astype(int))
        thin = [self.read(cut[i])[:, ::8, ::8].copy() for i in chosen]  # else whole chunks stay
        flat = np.concatenate([part.reshape(len(part), -1) for part in thin], axis=1)
        return flat[:, ~np.isnan(flat).any(axis=0)]


def _runs(values: Indices) -> list[slice]:
    """Where ascending values are the same."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [slice(a, b) for a, b in pairwise(edges)]
