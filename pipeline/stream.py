"""The engine: tiles of a region through a reconstructor, blended into whole chunks.

A finished pixel is the weighted sum of at most four tiles, added in row-major order from zero.
That sum does not depend on the region, on the batch or on what ran before, so any split of the
work gives the same bytes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.blend import weights
from pipeline.camera import Camera, Floats
from pipeline.cube import SpectralCube
from pipeline.grid import TileGrid, Window
from pipeline.noise import noise
from pipeline.scene import Scene

Index = tuple[int, int]
WAITING = 2
"""Rows of chunks that may wait for the writer."""
Mask = NDArray[np.bool_]


class Reconstructor(Protocol):
    """Anything that turns tiles of linear RGB into tiles of a cube."""

    @property
    def wavelengths(self) -> tuple[float, ...]:
        """Of the cube's channels, nm."""

    @property
    def takes_noise(self) -> bool:
        """Whether start noise is drawn for it."""

    def __call__(self, rgb: Tensor, noise: Tensor, /) -> Tensor:
        """rgb (N, 3, T, T) and noise (N, C, T, T), or (N, 0, T, T), to (N, C, T, T)."""


class Tile(NamedTuple):
    """What a reader hands to the model."""

    at: Index
    valid: Mask
    """(h, w), the part of the tile inside the scene."""
    rgb: Floats | None
    """(3, T, T), filled and padded; None where no pixel of the tile is wanted."""
    noise: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One scene on its way into one cube."""

    scene: Scene
    camera: Camera
    grid: TileGrid
    reconstructor: Reconstructor
    cube: SpectralCube
    place: Window
    """The cube's window in the scene."""
    seed: int = 0
    batch: int = 1
    """Tiles the model sees at once; a last, smaller batch is padded to this size."""
    readers: int = 2
    device: str = "cpu"
    area: Callable[[Window], Mask] | None = None
    """Of a scene window, the pixels (h, w) that are asked for; None for all."""

    def run(self, region: Window, done: Callable[[int], None] = lambda _: None) -> None:
        """Write what is not yet written of a region (in the cube's pixels, whole chunks).

        ``done(n)`` is told of every n tiles that are summed.
        """
        for rows in self.unfinished(region):
            self._fill(rows, done)

    def unfinished(self, region: Window) -> list[Window]:
        """The runs of chunk rows of a region that lack a chunk, as windows of full width."""
        chunk, written = self.cube.chunk, self.cube.finished()
        cols = range(region.col // chunk, -(-region.col_stop // chunk))
        rows = range(region.row // chunk, -(-region.row_stop // chunk))
        lacking = [row for row in rows if any((row, col) not in written for col in cols)]
        runs = groupby(enumerate(lacking), lambda pair: pair[1] - pair[0])
        spans = [[row for _, row in run] for _, run in runs]
        return [
            Window(a[0] * chunk, region.col, stop - a[0] * chunk, region.width)
            for a in spans
            for stop in [min((a[-1] + 1) * chunk, region.row_stop)]
        ]

    def tiles(self, rows: Window) -> int:
        """How many tiles a window of the cube takes."""
        return self.grid.count(rows.shifted(self.place.row, self.place.col))

    def _fill(self, window: Window, done: Callable[[int], None]) -> None:
        strip = _Strip(self.grid, window.shifted(self.place.row, self.place.col), self)
        tiles = self.grid.covering(strip.window)
        with ThreadPoolExecutor(self.readers) as readers, ThreadPoolExecutor(1) as writer:
            writes: deque[Future[None]] = deque()
            for group in self._groups(_ahead(readers, self._load, tiles, 2 * self.batch)):
                for tile, values in zip(group, self._reconstruct(group), strict=True):
                    for ready in strip.add(tile, values):
                        writes.append(writer.submit(self._write, *ready))
                        if len(writes) > WAITING:
                            writes.popleft().result()
                done(len(group))
            for write in writes:
                write.result()

    def _load(self, index: Index) -> Tile:
        window = self.grid.window(index)
        inside = window.intersection(Window(0, 0, self.scene.height, self.scene.width))
        assert inside is not None, "every tile of the grid touches the scene"
        values, valid = self.scene.read(inside)
        wanted = valid if self.area is None else valid & self.area(inside)
        if not wanted.any():
            # It could only reach pixels that are nodata or not asked for.
            return Tile(index, valid, None, None)
        rgb = _filled(self.camera.decode(np.where(valid, values, 0)), valid)
        pad = ((0, 0), (0, window.height - inside.height), (0, window.width - inside.width))
        channels = len(self.reconstructor.wavelengths) if self.reconstructor.takes_noise else 0
        field = noise(window, channels, self.seed)
        return Tile(index, valid, np.pad(rgb, pad, mode="reflect"), field)

    def _groups(self, tiles: Iterable[Tile]) -> Iterator[list[Tile]]:
        """Consecutive tiles, at most a batch of them for the model.

        Masked ones ride along, but not without end: what they complete must be written.
        """
        group: list[Tile] = []
        for tile in tiles:
            group.append(tile)
            wanted = sum(t.rgb is not None for t in group)
            if wanted == self.batch or len(group) == 4 * self.batch:
                yield group
                group = []
        if group:
            yield group

    def _reconstruct(self, group: list[Tile]) -> list[Tensor | None]:
        """Values (C, T, T) of each tile, None where it was not asked for."""
        rgb = [torch.from_numpy(tile.rgb) for tile in group if tile.rgb is not None]
        if not rgb:
            return [None] * len(group)
        fields = [torch.from_numpy(tile.noise) for tile in group if tile.noise is not None]
        values = self.reconstructor(self._batch(rgb), self._batch(fields))
        answers = iter(values.to("cpu", torch.float32))
        return [None if tile.rgb is None else next(answers) for tile in group]

    def _batch(self, samples: list[Tensor]) -> Tensor:
        # A convolution's last bit depends on the batch's shape: it is always the same.
        missing = self.batch - len(samples)
        padded = samples + [torch.zeros_like(samples[0])] * missing
        return torch.stack(padded).to(self.device)

    def _write(self, window: Window, values: Tensor, valid: Mask) -> None:
        if self.area is not None:
            valid = valid & self.area(window)
        self.cube.write(window.relative_to(self.place), values.numpy(), valid)


class _Strip:
    """The rows of chunks under way: each begins at zero and leaves when its last tile is summed."""

    def __init__(self, grid: TileGrid, window: Window, stream: Stream) -> None:
        self.grid, self.window = grid, window
        self.chunk, self.channels = stream.cube.chunk, len(stream.reconstructor.wavelengths)
        self._rows: dict[int, tuple[Window, Tensor, Mask]] = {}
        self._last = grid.covering(window)[-1]

    def add(self, tile: Tile, values: Tensor | None) -> list[tuple[Window, Tensor, Mask]]:
        """Sum a tile; returns the rows of chunks that it completes."""
        i, j = tile.at
        place = self.grid.window(tile.at)
        kernel = torch.from_numpy(
            np.multiply.outer(weights(self.grid.rows, i), weights(self.grid.cols, j))
        )
        for row in self._touched(place):
            self._add_to(row, tile, values, kernel)
        final = self.window.row_stop if i == self._last[0] else self.grid.rows.start(i + 1)
        complete = j == self._last[1]
        return [
            self._rows.pop(k) for k in sorted(self._rows) if complete and self._ends(k) <= final
        ]

    def _touched(self, place: Window) -> range:
        seen = place.intersection(self.window)
        assert seen is not None, "a covering tile touches its window"
        first, stop = seen.row - self.window.row, seen.row_stop - self.window.row
        return range(first // self.chunk, -(-stop // self.chunk))

    def _ends(self, row: int) -> int:
        return self._rows[row][0].row_stop

    def _row(self, row: int) -> tuple[Window, Tensor, Mask]:
        if row not in self._rows:
            first = self.window.row + row * self.chunk
            height = min(self.chunk, self.window.row_stop - first)
            window = Window(first, self.window.col, height, self.window.width)
            sums = torch.zeros(self.channels, window.height, window.width)
            self._rows[row] = window, sums, np.zeros((window.height, window.width), bool)
        return self._rows[row]

    def _add_to(self, row: int, tile: Tile, values: Tensor | None, kernel: Tensor) -> None:
        window, sums, valid = self._row(row)
        place = self.grid.window(tile.at)
        inside = Window(place.row, place.col, *tile.valid.shape)
        shared = inside.intersection(window)
        if shared is None:
            return
        here, there = shared.relative_to(window).slices, shared.relative_to(place).slices
        valid[here] = tile.valid[there]
        if values is not None:
            sums[:, *here].addcmul_(values[:, *there], kernel[there])


def _filled(rgb: Floats, valid: Mask) -> Floats:
    """Invalid pixels take the mean of the valid ones, so nothing under the mask is seen."""
    if valid.all():
        return rgb
    mean = rgb[:, valid].mean(axis=1, dtype=np.float64).astype(np.float32)
    return np.where(valid, rgb, mean[:, None, None])


def _ahead(
    pool: ThreadPoolExecutor, load: Callable[[Index], Tile], indices: list[Index], depth: int
) -> Iterator[Tile]:
    """The tiles in order, ``depth`` of them being loaded while one is used."""
    waiting: deque[Future[Tile]] = deque()
    for index in indices:
        waiting.append(pool.submit(load, index))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
