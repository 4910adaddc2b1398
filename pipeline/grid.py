"""The scene's one lattice of tiles, and the regions that share out the work.

Two dimensions are two independent axes. All coordinates are pixels, rows first, half-open.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import Refusal


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open pixel rectangle: rows [row, row_stop), columns [col, col_stop)."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Number of rows, at least 1."""
    width: int
    """Number of columns, at least 1."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise Refusal("a window holds at least one pixel", self, "Give a height and a width.")

    @property
    def row_stop(self) -> int:
        """First row after the window."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """First column after the window."""
        return self.col + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row slice and column slice of an array that starts at pixel (0, 0)."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def intersection(self, other: Window) -> Window | None:
        """The pixels in both windows; None when there are none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_stop, other.row_stop) - row
        width = min(self.col_stop, other.col_stop) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def refuse_outside(self, height: int, width: int) -> None:
        """Raise Refusal where the window leaves a cube of that size."""
        if self.intersection(Window(0, 0, height, width)) != self:
            rule = f"the window must lie inside the cube's {height} x {width} pixels"
            raise Refusal(rule, self, "Give row,column,height,width.")

    def shifted(self, rows: int, cols: int) -> Window:
        """The window moved down by `rows` and right by `cols`."""
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def relative_to(self, other: Window) -> Window:
        """The same pixels, counted from the first pixel of `other`."""
        return self.shifted(-other.row, -other.col)


@dataclass(frozen=True, slots=True)
class Axis:
    """Tiles along one axis: regular stride from pixel 0, the last one may overhang the end.

    Raises Refusal for a size, tile or overlap the lattice cannot have.
    """

    size: int
    """Pixels of the scene along this axis."""
    tile: int
    """Pixels of a tile, a multiple of 8."""
    overlap: int
    """Pixels that two neighbours share, at most half a tile."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise Refusal("a scene has at least one pixel a side", self.size, "Check the input.")
        if self.tile < 8 or self.tile % 8:
            rule = "tile is a positive multiple of 8, as the network halves it three times"
            raise Refusal(rule, self.tile, "Use 256 or 512.")
        if not 0 <= self.overlap <= self.tile // 2:
            rule = f"overlap is 0 to {self.tile // 2}, so that at most two tiles cover a pixel"
            raise Refusal(rule, self.overlap, "Use a smaller overlap or a larger tile.")

    @property
    def stride(self) -> int:
        """Pixels from the start of one tile to the start of the next."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """Number of tiles, the fewest that reach the end of the axis."""
        return max(1, -(-(self.size - self.overlap) // self.stride))

    def start(self, index: int) -> int:
        """First pixel of tile `index`; IndexError outside [0, count)."""
        if not 0 <= index < self.count:
            raise IndexError(f"tile {index} of {self.count}")
        return index * self.stride

    def covering(self, start: int, stop: int) -> range:
        """Indices of the tiles that share a pixel with the half-open [start, stop)."""
        first = max(0, (start - self.tile) // self.stride + 1)
        return range(first, min(self.count, -(-stop // self.stride)))


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The lattice of square tiles over a scene, anchored at pixel (0, 0).

    Raises Refusal where one of its axes does.
    """

    height: int
    """Rows of the scene."""
    width: int
    """Columns of the scene."""
    tile: int
    """Pixels of a tile's side, a multiple of 8."""
    overlap: int
    """Pixels that two neighbouring tiles share."""

    def __post_init__(self) -> None:
        _ = self.rows, self.cols

    @property
    def rows(self) -> Axis:
        """The tiles from top to bottom."""
        return Axis(self.height, self.tile, self.overlap)

    @property
    def cols(self) -> Axis:
        """The tiles from left to right."""
        return Axis(self.width, self.tile, self.overlap)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return self.rows.count, self.cols.count

    def window(self, index: tuple[int, int]) -> Window:
        """Where tile (i, j) lies; always tile x tile, so the last ones overhang the scene."""
        i, j = index
        return Window(self.rows.start(i), self.cols.start(j), self.tile, self.tile)

    def count(self, window: Window) -> int:
        """How many tiles share a pixel with `window`."""
        rows = self.rows.covering(window.row, window.row_stop)
        return len(rows) * len(self.cols.covering(window.col, window.col_stop))

    def covering(self, window: Window) -> list[tuple[int, int]]:
        """Indices of the tiles that share a pixel with `window`, row-major."""
        cols = self.cols.covering(window.col, window.col_stop)
        return [(i, j) for i in self.rows.covering(window.row, window.row_stop) for j in cols]

    def last(self, window: Window) -> tuple[int, int]:
        """The last tile, in row-major order, that shares a pixel with `window`."""
        i = self.rows.covering(window.row, window.row_stop)[-1]
        return i, self.cols.covering(window.col, window.col_stop)[-1]


def regions(
    height: int, width: int, chunk: int, tall: int, wide: int | None = None
) -> list[Window]:
    """Partition (height, width) pixels into windows `tall` by `wide` (else `tall`), row-major.

    The last ones end at the edge. Raises Refusal unless both are whole chunks.
    """
    wide = tall if wide is None else wide
    if chunk < 1 or min(tall, wide) < 1 or tall % chunk or wide % chunk:
        rule = f"region is a positive multiple of the chunk, {chunk}"
        raise Refusal(rule, (tall, wide), "A chunk has one owner: round up to whole chunks.")
    return [
        Window(row, col, min(tall, height - row), min(wide, width - col))
        for row in range(0, height, tall)
        for col in range(0, width, wide)
    ]
