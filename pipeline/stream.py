"""The engine: tiles of a region through a reconstructor, blended into whole chunks.

A finished pixel is the weighted sum of at most four tiles, added in row-major order from zero.
That sum does not depend on the region, on the batch or on what ran before, so any split of the
work gives the same bytes. Readers, models and writers are threads with bounded queues between
them; the sums are made by the caller's thread alone, in the order of the tiles.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from threading import Event
from typing import Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pipeline.ahead import ahead, cores
from pipeline.camera import Camera, Floats
from pipeline.closure import Closure
from pipeline.context import filled, padded
from pipeline.cube import SpectralCube
from pipeline.device import back, computed, held, lane, settle, there
from pipeline.errors import Stopped, refuse_unlike
from pipeline.grid import TileGrid, Window
from pipeline.layers import Seen, layers
from pipeline.noise import fields
from pipeline.scene import Scene
from pipeline.seam import Counts, Lines, gradients
from pipeline.store import is_local
from pipeline.sums import Chunk, Index, Mask, Sums, Tile

WRITERS = 4
"""Most threads that encode and write; to a local store no more than cores (docs/decisions/0033)."""
WAITING = 4
"""Most chunks that wait for a writer."""
Done = Callable[[int], None]


class Reconstructor(Protocol):
    """Anything that turns tiles of linear RGB into tiles of a cube; threads share it."""

    @property
    def wavelengths(self) -> tuple[float, ...]:
        """Of the cube's channels, nm."""

    @property
    def noises(self) -> int:
        """Fields of start noise that are drawn for it, K: one a sample."""

    @property
    def spread(self) -> bool:
        """Whether C standard deviations follow the C values it answers."""

    def __call__(self, rgb: Tensor, noise: Tensor, /) -> Tensor:
        """rgb (N, 3, T, T) and noise (N, K C, T, T) to (N, C, T, T), or with spread (N, 2 C, T, T).

        Field k of the noise, channels k C to (k + 1) C, is that of sample k.
        """


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
    workers: int = 1
    """Batches computed side by side, each on one thread, so that no count of threads shows."""
    readers: int = 2
    device: str = "cpu"
    area: Callable[[Window], Mask] | None = None
    """Of a scene window, the pixels (h, w) that are asked for; None for all."""
    stop: Event | None = None
    """Set from outside to end a run early; what is summed is still written."""
    closure: Closure | None = None
    """By which spectra are moved to render back (docs/decisions/0012); None: as answered."""

    def __post_init__(self) -> None:
        refuse_unlike("wavelengths", self.reconstructor.wavelengths, self.cube.wavelengths)

    def run(
        self, region: Window, done: Done = lambda _: None, written: set[Index] | None = None
    ) -> None:
        """Write what is not yet ``written`` of a region (in the cube's pixels, whole chunks).

        ``done(n)`` is told of every n tiles that are summed. Raises Stopped where it was stopped.
        Meanwhile BLAS has one thread, in the whole process.
        """
        # Tiles keep the cores busy: threads of a matrix product's own would only get in their way.
        with threadpool_limits(1, user_api="blas"):
            for rows in self.unfinished(region, written):
                self._fill(rows, done)

    def unfinished(self, region: Window, written: set[Index] | None = None) -> list[Window]:
        """The runs of chunk rows of a region that lack a chunk, as windows of full width.

        ``written`` is what the cube holds, listed now where it is not given.
        """
        chunk = self.cube.chunk
        cols = range(region.col // chunk, -(-region.col_stop // chunk))
        rows = range(region.row // chunk, -(-region.row_stop // chunk))
        written = self.cube.finished(rows) if written is None else written
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

    def _fill(self, window: Window, done: Done) -> None:
        self.cube.begin(window)
        within = window.shifted(self.place.row, self.place.col)
        parts = 1 + self.reconstructor.spread
        sums = Sums(self.grid, within, self.cube.chunk, self._channels, parts, self.device)
        lines = partial(gradients, rows=Lines.of(self.grid.rows), cols=Lines.of(self.grid.cols))
        closure = self.closure or Closure(self.camera.sensitivities, moves=False)
        put = partial(self._write, lines=lines, closure=closure)
        compute = partial(self._reconstruct, likely=closure.likely)
        most = min(WRITERS, cores()) if is_local(self.cube.uri) else WRITERS
        pool_of = partial(ThreadPoolExecutor, initializer=torch.set_num_threads, initargs=(1,))
        with ExitStack() as stack:
            readers, models, writers = (
                stack.enter_context(pool_of(n)) for n in (self.readers, self.workers, most)
            )
            # However it ends, what is not begun is dropped and what is begun is waited for.
            for pool in (readers, models):
                stack.callback(pool.shutdown, cancel_futures=True)
            depth = self.batch * (self.workers + 1)
            tiles = ahead(readers, self._load, self.grid.covering(within), depth)
            answers = ahead(models, compute, self._groups(tiles), self.workers)
            writes: deque[Future[None]] = deque()
            for group in () if self._stopped else answers:
                for tile, values in group:
                    for chunk in sums.add(tile, None if values is None else held(values)):
                        writes.append(writers.submit(put, chunk, sums))
                        if len(writes) > waiting(within.width, self.cube.chunk):
                            writes.popleft().result()
                done(len(group))
                if self._stopped:
                    break
            for write in writes:
                write.result()
        if self._stopped:
            raise Stopped

    @property
    def _channels(self) -> int:
        return len(self.reconstructor.wavelengths)

    @property
    def _stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _load(self, index: Index) -> Tile:
        window = self.grid.window(index)
        inside = window.intersection(Window(0, 0, self.scene.height, self.scene.width))
        assert inside is not None, "every tile of the grid touches the scene"
        values, valid = self.scene.read(inside)
        wanted = valid if self.area is None else valid & self.area(inside)
        if not wanted.any():
            # It could only reach pixels that are nodata or not asked for.
            return Tile(index, wanted, None, None, False)
        rgb = filled(self.camera.decode(np.where(valid, values, 0)), valid)
        drawn = fields(window, self._channels, self.seed, self.reconstructor.noises)
        return Tile(index, wanted, padded(rgb, window.height, window.width), drawn, not valid.all())

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

    def _reconstruct(
        self, group: list[Tile], likely: Callable[[Floats], Floats]
    ) -> list[tuple[Tile, Tensor | None]]:
        """Each tile with its values (C, T, T), None where it was not asked for."""
        rgb = [torch.from_numpy(likely(tile.rgb)) for tile in group if tile.rgb is not None]
        if not rgb:
            return [(tile, None) for tile in group]
        fields = [torch.from_numpy(tile.noise) for tile in group if tile.noise is not None]
        with lane(self.device):
            given = self._batch(rgb)
            found = computed(self.reconstructor(given, self._batch(fields)))
        wanted = len(given), (1 + self.reconstructor.spread) * self._channels, *given.shape[2:]
        refuse_unlike("answers", tuple(found.shape), wanted)
        answers = iter(found)
        spent = [tile._replace(noise=None) for tile in group]  # noise is a cube's size a sample
        return [(tile, None if tile.rgb is None else next(answers)) for tile in spent]

    def _batch(self, samples: list[Tensor]) -> Tensor:
        # A convolution's last bit depends on the batch's shape: it is always the same.
        padding = [torch.zeros_like(samples[0])] * (self.batch - len(samples))
        return there(torch.stack(samples + padding), self.device)

    def _write(
        self, chunk: Chunk, sums: Sums, lines: Callable[..., Counts], closure: Closure
    ) -> None:
        place, wanted, channels = chunk.window.relative_to(self.place), chunk.wanted, self._channels
        values, given = chunk.sums[:channels], (chunk.rgb, wanted, self.cube.dtype)
        with lane(self.device):
            if values.is_cuda:
                stored, off = settle(closure, values, *given)
            else:
                stored, off = closure.settle(values.numpy(), *given)
            spread = back(chunk.sums[channels:]) if self.reconstructor.spread else None
            seam = chunk.disagreement() + lines(stored, wanted, chunk.window)
        kind = self.scene.dtype
        seen = Seen(chunk.rgb, wanted, chunk.filled, self.camera.top(kind), kind.kind == "f")
        # The companion first: a chunk that exists has one.
        self.cube.note(place, seam, layers(off, seen, closure, spread))
        self.cube.store(place, stored)
        sums.spare.append(chunk.sums)


def waiting(width: int, chunk: int) -> int:
    """Most chunks of a region of that width that wait or are being written.

    At most a row of them: that is all a kill may cost beside the rows under way.
    """
    return min(WRITERS + WAITING, -(-width // chunk))
