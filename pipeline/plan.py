"""What a run will do and need, before it does anything."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.grid import Axis, TileGrid, Window, regions
from pipeline.stream import WRITERS, waiting

HALO = 0.05
"""Most work that may be done twice so that there are several regions."""
IDLE = 0.25
"""The same where else a worker would have none: it ends the sooner."""


class Parts(NamedTuple):
    """How many regions are wished for."""

    most: int = 1
    least: int = 1
    """As many as can be worked on at once."""


ONE = Parts()


@dataclass(frozen=True, slots=True)
class Plan:
    """The work, cut into regions, and what it takes."""

    place: Window
    """The cube's window in the scene."""
    regions: tuple[Window, ...]
    """In the cube's own pixels; each is a unit of work."""
    tiles: int
    """Tiles the model computes, those that two regions share counted twice."""
    needed: int
    """Tiles that touch the window, each counted once."""
    buffer_bytes: int
    """Most memory of sums under way and waiting to be written, of one region; the model's own
    comes on top."""
    disk_bytes: int
    """Of the cube and what is beside it, before compression."""
    read_bytes: int
    """Of pixels to be read, decoded; what tiles share is read for each."""

    @property
    def halo(self) -> float:
        """Share of the work that is done twice because regions overlap in tiles."""
        return self.tiles / self.needed - 1


@dataclass(frozen=True, slots=True)
class Needs:
    """Sizes that a plan reckons with."""

    wavelengths: int
    stored_bytes: int
    """Of one stored value."""
    read_bytes: int
    """Of one pixel of the source, decoded."""
    spread: bool = False
    """Whether a standard deviation comes with each value."""

    @property
    def open_bytes(self) -> int:
        """Of one pixel under way: float32 whatever is stored, its RGB and two masks."""
        return 4 * (self.wavelengths * (1 + self.spread) + 3) + 2

    @property
    def disk_bytes(self) -> int:
        """Of one pixel of the cube and its layers; overviews are a third of what they are of."""
        values = self.wavelengths * self.stored_bytes
        return values + -(-values // 3) + 5 + (self.wavelengths + 1) * self.spread


def plan(
    grid: TileGrid,
    place: Window,
    chunk: int,
    needs: Needs,
    parts: Parts = ONE,
    memory: float = np.inf,
) -> Plan:
    """Plan a cube of ``place`` in as many regions as ``parts`` allows, one above the other.

    In fewer where more than 5 % of the tiles would be computed twice for it, or 25 % for the least;
    side by side too where the sums of a row of chunks would take more than ``memory`` bytes.
    """
    width = _widest(grid, place, chunk, needs, memory)
    rows = -(-place.height // chunk)
    for count in range(min(parts.most, rows), 0, -1):
        cut = regions(place.height, place.width, chunk, -(-rows // count) * chunk, width)
        twice = _tiles(grid, place, cut) / grid.count(place) - 1
        if count == 1 or twice <= (HALO if count > parts.least else IDLE):
            break
    return planned(grid, place, chunk, needs, cut)


def planned(grid: TileGrid, place: Window, chunk: int, needs: Needs, cut: list[Window]) -> Plan:
    """The plan of regions that are given."""
    tiles = _tiles(grid, place, cut)
    return Plan(
        place=place,
        regions=tuple(cut),
        tiles=tiles,
        needed=grid.count(place),
        buffer_bytes=max(_buffer(grid, place, part, chunk, needs) for part in cut),
        disk_bytes=place.height * place.width * needs.disk_bytes,
        read_bytes=tiles * grid.tile**2 * needs.read_bytes,
    )


def _tiles(grid: TileGrid, place: Window, cut: list[Window]) -> int:
    return sum(grid.count(part.shifted(place.row, place.col)) for part in cut)


def _widest(grid: TileGrid, place: Window, chunk: int, needs: Needs, memory: float) -> int:
    """The greatest width of regions whose sums fit; one chunk where none does."""
    cols = -(-place.width // chunk)
    for count in range(1, cols + 1):
        width = -(-cols // count) * chunk
        part = Window(0, 0, place.height, min(width, place.width))
        if _buffer(grid, place, part, chunk, needs) <= memory:
            break
    return width


def _buffer(grid: TileGrid, place: Window, part: Window, chunk: int, needs: Needs) -> int:
    """Most memory of the chunks of a region, in bytes: float32 whatever is stored."""
    open_ = open_chunks(grid, part.shifted(place.row, place.col), chunk)
    one = min(chunk, part.height) * min(chunk, part.width) * needs.open_bytes
    # Those that wait or are written; being encoded, a chunk is also there rounded, halved and
    # compressed.
    left = waiting(part.width, chunk) + 1
    # No more than there are: of one chunk none waits.
    count = -(-part.height // chunk) * -(-part.width // chunk)
    # What waits for a chunk of a coarser overview: of level 8 an eighth of a row of chunks, of
    # each level after it half as much.
    high = min(chunk, part.height)
    gathered = high * part.width * needs.wavelengths * needs.stored_bytes // 4
    # Of the layers from level 2 on: half a row of chunks of flags, residual and mean deviation.
    gathered += high * part.width * 5
    # One that the region's edge cuts is stored whole.
    whole = chunk * chunk * needs.wavelengths * needs.stored_bytes
    written = max(2 * one, one + whole)
    return one * min(open_ + left, count) + written * min(left, WRITERS, count) + gathered


def open_chunks(grid: TileGrid, window: Window, chunk: int) -> int:
    """Most chunks of a window that are begun and not complete, tiles coming in row-major order."""
    begun, ended = _ends(grid.cols, window.col, window.col_stop, chunk)
    tiles = np.arange(ended[-1] + 1)
    # Of one row of chunks, columns begun when a tile is added and columns complete before it.
    opened = np.searchsorted(begun, tiles, side="right")
    closed = np.searchsorted(ended, tiles, side="left")
    first, last = _ends(grid.rows, window.row, window.row_stop, chunk)
    most = 0
    for i in np.unique(np.concatenate([first, last])):
        before, after = first < i, last > i
        kept, closing = (before & after).sum(), (before & (last == i)).sum()
        opening, passing = ((first == i) & after).sum(), ((first == i) & (last == i)).sum()
        live = kept * len(begun) + closing * (len(begun) - closed) + opening * opened
        most = max(most, int((live + passing * (opened - closed)).max()))
    return most


def _ends(axis: Axis, start: int, stop: int, chunk: int) -> tuple[NDArray[np.int64], ...]:
    """The first and the last tile of each chunk along an axis."""
    covering = [axis.covering(at, min(at + chunk, stop)) for at in range(start, stop, chunk)]
    ends = np.array([(tiles[0], tiles[-1]) for tiles in covering])
    return ends[:, 0], ends[:, 1]


def refuse_too_big(plan: Plan, peak: float, memory: float, disk: float) -> None:
    """Raise Refusal where the peak of memory, or the cube before compression, exceeds its limit.

    All in bytes.
    """
    if peak > memory:
        rule = f"a run must fit into the memory it is given; it needs {peak / 1e9:.2f} GB"
        raise Refusal(rule, f"{memory / 1e9:.2f} GB", "Choose smaller tiles, chunks or --threads.")
    if plan.disk_bytes > disk:
        rule = f"the cube must have room; it takes up to {plan.disk_bytes / 1e9:.2f} GB"
        raise Refusal(rule, f"{disk / 1e9:.2f} GB", "Choose another disk or a window.")


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's if less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    given = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(given)) if given.isdigit() else total
