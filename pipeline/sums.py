"""Tiles added up to chunks: the heart of the engine, with neither threads nor storage."""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.blend import weights
from pipeline.grid import TileGrid, Window
from pipeline.seam import Counts, disagreement, empty, meetings, sampled

Index = tuple[int, int]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Tile(NamedTuple):
    """What a reader hands to the model."""

    at: Index
    wanted: Mask
    """(h, w), of the part of the tile inside the scene: valid, and asked for."""
    rgb: Floats | None
    """(3, T, T), filled and padded; None where no pixel of the tile is wanted."""
    noise: Floats | None
    filled: bool
    """Whether it holds pixels that are not valid, and took the mean of the others."""


class Met(NamedTuple):
    """Pixels where a tile came second and last, to be compared when their chunk is written."""

    values: Tensor
    """(C, n), the tile's."""
    sums: Tensor
    """(C, n), of the one tile that came before."""
    kernel: Tensor
    """(n,), the tile's weights."""
    wanted: Mask
    """(n,)."""


class Chunk(NamedTuple):
    """A chunk under way."""

    window: Window
    """In the scene."""
    sums: Tensor
    """(C, h, w), reflectance so far; with spread (2 C, h, w). Anything where no tile came yet."""
    wanted: Mask
    """(h, w)."""
    rgb: Floats
    """(3, h, w), linear; 0 where no tile that was asked for came."""
    filled: Mask
    """(h, w), whether a tile that was filled reached the pixel."""
    met: list[Met]

    def disagreement(self) -> Counts:
        """The seam record of the tiles that met in it, complete with the chunk."""
        if not self.met:
            return empty()
        values, sums, kernels, wanted = zip(*self.met, strict=True)
        rest = 1 - torch.cat(kernels)
        # What is summed is the other tile's value times its weight, which is the rest of 1.
        other = torch.cat(sums, dim=1).div_(rest).cpu().numpy()
        known = np.concatenate(wanted) & (rest.cpu().numpy() > 0)
        return disagreement(torch.cat(values, dim=1).cpu().numpy(), other, known)


class Sums:
    """The chunks under way: each leaves when its last tile is summed."""

    def __init__(
        self,
        grid: TileGrid,
        window: Window,
        chunk: int,
        channels: int,
        layers: int = 1,
        device: str = "cpu",
    ) -> None:
        self.grid, self.window, self.chunk = grid, window, chunk
        self.channels, self.layers, self.device = channels, layers, device
        self.open: dict[Index, Chunk] = {}
        self.spare: deque[Tensor] = deque()
        """Memory of chunks that are written, to be used again."""
        self._kernels: dict[tuple[bytes, bytes], Tensor] = {}

    def add(self, tile: Tile, values: Tensor | None) -> list[Chunk]:
        """Sum a tile; returns the chunks that it completes."""
        place = self.grid.window(tile.at)
        kernel, complete = self._kernel(tile.at), []
        for at in self._touched(place):
            self._add_to(self._chunk(at), tile, values, kernel)
            if self.grid.last(self.open[at].window) == tile.at:
                complete.append(self.open.pop(at))
        return complete

    def _kernel(self, at: Index) -> Tensor:
        """Weights (T, T) of a tile: they differ at the edges of the scene alone."""
        ramps = weights(self.grid.rows, at[0]), weights(self.grid.cols, at[1])
        kind = ramps[0].tobytes(), ramps[1].tobytes()
        if kind not in self._kernels:
            self._kernels[kind] = torch.from_numpy(np.multiply.outer(*ramps)).to(self.device)
        return self._kernels[kind]

    def _touched(self, place: Window) -> list[Index]:
        seen = place.intersection(self.window)
        assert seen is not None, "a covering tile touches its window"
        inner = seen.relative_to(self.window)
        rows = range(inner.row // self.chunk, -(-inner.row_stop // self.chunk))
        cols = range(inner.col // self.chunk, -(-inner.col_stop // self.chunk))
        return [(row, col) for row in rows for col in cols]

    def _chunk(self, at: Index) -> Chunk:
        if at not in self.open:
            row, col = (n * self.chunk for n in at)
            height = min(self.chunk, self.window.height - row)
            width = min(self.chunk, self.window.width - col)
            window = Window(self.window.row + row, self.window.col + col, height, width)
            sums = self._memory((self.layers * self.channels, height, width))
            wanted, filled = np.zeros((2, height, width), bool)
            rgb = np.zeros((3, height, width), np.float32)
            self.open[at] = Chunk(window, sums, wanted, rgb, filled, [])
        return self.open[at]

    def _memory(self, shape: tuple[int, int, int]) -> Tensor:
        spare = self.spare.popleft() if self.spare else None
        # Those at an edge differ in shape; they are few and left to the allocator.
        if spare is None or spare.shape != shape:
            return torch.empty(shape, device=self.device)
        return spare

    def _add_to(self, chunk: Chunk, tile: Tile, values: Tensor | None, kernel: Tensor) -> None:
        place = self.grid.window(tile.at)
        inside = Window(place.row, place.col, *tile.wanted.shape)
        shared = inside.intersection(chunk.window)
        assert shared is not None, "a chunk lies in the scene, and the tile touches it"
        here, there = shared.relative_to(chunk.window).slices, shared.relative_to(place).slices
        chunk.wanted[here] = tile.wanted[there]
        if values is not None and tile.rgb is not None:
            chunk.rgb[:, *here] = tile.rgb[:, *there]
            chunk.filled[here] |= tile.filled
            for meeting in meetings(self.grid, tile.at):
                if seen := meeting.intersection(shared):
                    of = seen.relative_to(place).slices
                    _keep(chunk, seen, values[: self.channels, *of], kernel[of])
        for part, first in _parts(self.grid, tile.at, shared):
            of = part.relative_to(place).slices
            sums = chunk.sums[:, *part.relative_to(chunk.window).slices]
            _put(sums, None if values is None else values[:, *of], kernel[of], first)


def _parts(grid: TileGrid, at: Index, shared: Window) -> Iterator[tuple[Window, bool]]:
    """What a tile brings to ``shared``, parted by whether it is the first to come there."""
    place = grid.window(at)
    rows, cols = ((0, grid.overlap if n else 0, grid.tile) for n in at)
    for (top, bottom), (left, right) in product(pairwise(rows), pairwise(cols)):
        if top < bottom and left < right:
            part = Window(place.row + top, place.col + left, bottom - top, right - left)
            if seen := part.intersection(shared):
                yield seen, bottom == right == grid.tile


def _put(sums: Tensor, values: Tensor | None, kernel: Tensor, first: bool) -> None:
    """Add weighed values (C, h, w), none where a tile was not asked for; the first are set."""
    if not first:
        if values is not None:
            sums.addcmul_(values, kernel)
    elif values is None:
        sums.zero_()
    else:
        torch.mul(values, kernel, out=sums)


def _keep(chunk: Chunk, seen: Window, values: Tensor, kernel: Tensor) -> None:
    """Keep what is compared of a tile's values in ``seen`` and of the one tile summed before it."""
    at, place = sampled(seen), seen.relative_to(chunk.window).slices
    before = chunk.sums[: len(values), *place]
    one, other = (of[:, *at].clone().flatten(1) for of in (values, before))
    chunk.met.append(Met(one, other, kernel[at].flatten(), chunk.wanted[place][at].ravel().copy()))
