"""The seam certificate: how much tiles disagree where they meet, and whether their borders show.

All of it is sums of whole numbers over pixels chosen by scene coordinates, kept a chunk at a time
and stored before the chunk is. So no partition, order or kill changes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.grid import Axis, TileGrid, Window

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

STEP = 8
"""Every eighth row and column of an overlap is compared, every eighth pixel of a line looked at:
all of them would cost as much as the blending."""
BESIDE = (16, 32, 48)
"""Pixels outside a ramp at which the interior is sampled: near, so that it shows the same things,
and multiples of 16, so that the blocks of a source that was a JPEG are met in the same way."""
EDGES = np.unique(np.round(2 ** (np.arange(65) / 4)).astype(np.int64))
"""Lower edges of the histogram of disagreements, in counts of 1e-4: four an octave."""
FIELDS = 8 + len(EDGES) + 1
"""Of a record: samples and their sum; of pairs at borders, then inside: number, sum of steps, sum
of their squares; then the histogram, whose first bin is 0."""
_COUNT, _PEAK = np.float32(1e4), np.float32(65534)
_BIN_OF = np.searchsorted(EDGES, np.arange(65536), side="right").astype(np.uint8)
_OVERLAP, _BORDER, _INSIDE, _BINS = slice(0, 2), slice(2, 5), slice(5, 8), slice(8, None)


def empty() -> Counts:
    """A record (FIELDS,) of nothing; records add up."""
    return np.zeros(FIELDS, np.int64)


def meetings(grid: TileGrid, index: tuple[int, int]) -> Iterator[Window]:
    """Where a tile, in row-major order, is the second and last to come: left of it and above."""
    (rows, i), (cols, j) = (grid.rows, index[0]), (grid.cols, index[1])
    alone_rows, alone_cols = _alone(rows, i), _alone(cols, j)
    ramp, (row, col) = grid.overlap, (rows.start(i), cols.start(j))
    if ramp and j and len(alone_rows):
        yield Window(alone_rows.start, col, len(alone_rows), ramp)
    if ramp and i and len(alone_cols):
        yield Window(row, alone_cols.start, ramp, len(alone_cols))


def _alone(axis: Axis, index: int) -> range:
    """Pixels that no other tile of the axis covers."""
    start = axis.start(index)
    first = start + axis.overlap if index else start
    return range(first, start + (axis.tile if index == axis.count - 1 else axis.stride))


def sampled(window: Window) -> tuple[slice, slice]:
    """The rows and columns of a window that are compared, counted from its first pixel."""
    return slice(-window.row % STEP, window.height, STEP), slice(
        -window.col % STEP, window.width, STEP
    )


def disagreement(one: Values, other: Values, wanted: Mask) -> Counts:
    """Record of two tiles' reflectance (wavelength, ...) where ``wanted`` (...)."""
    apart = np.abs(_counts(one) - _counts(other))[:, wanted].ravel()
    record = empty()
    record[_OVERLAP] = apart.size, apart.sum()
    record[_BINS] = np.bincount(_BIN_OF[apart], minlength=len(EDGES) + 1)
    return record


def _counts(values: NDArray[Any]) -> NDArray[np.int32]:
    if values.dtype.kind == "u":
        return values.astype(np.int32)
    counts = values * _COUNT
    # Not a number, here 0, is refused when the chunk is stored.
    np.minimum(np.fmax(counts, np.float32(0), out=counts), _PEAK, out=counts)
    return np.rint(counts, out=counts).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Along one axis, the pixels p whose step from p - 1 is looked at."""

    border: Counts
    """The first and the last step of every ramp; with no overlap the one step between two tiles."""
    inside: Counts
    """Steps beside the ramps, where one tile is alone."""

    @classmethod
    def of(cls, axis: Axis) -> "Lines":
        """All lines of an axis."""
        starts = [axis.start(index) for index in range(1, axis.count)]
        ends = [start + axis.overlap for start in starts]
        near = [s - b for s in starts for b in BESIDE] + [e + b for e in ends for b in BESIDE]
        alone = [_alone(axis, index) for index in range(axis.count)]
        # Both pixels of a step inside must be one tile's alone.
        owner = np.searchsorted([r.start for r in alone], near, side="right") - 1
        kept = [p for p, o in zip(near, owner, strict=True) if alone[o].start < p < alone[o].stop]
        return cls(*(np.unique(np.array(p, np.int64)) for p in (starts + ends, kept)))

    def within(self, start: int, stop: int) -> "Lines":
        """The lines whose two pixels lie in [start, stop), counted from ``start``.

        A step from one chunk to the next is in neither: no chunk knows both of its pixels.
        """
        kept = [p[(p > start) & (p < stop)] - start for p in (self.border, self.inside)]
        return Lines(*kept)


def gradients(
    values: NDArray[Any], wanted: Mask, window: Window, rows: Lines, cols: Lines
) -> Counts:
    """Record of the steps of finished values (wavelength, h, w) over the lines they hold.

    They are reflectance, or counts of 1e-4 (uint16).
    """
    record, (every_row, every_col) = empty(), sampled(window)
    down, right = rows.within(window.row, window.row_stop), cols.within(window.col, window.col_stop)
    for part, at_rows, at_cols in (
        (_BORDER, down.border, right.border),
        (_INSIDE, down.inside, right.inside),
    ):
        # Indexed, not taken: `take` would first copy what it takes from.
        for first, second, known in (
            (
                values[:, at_rows - 1][:, :, every_col],
                values[:, at_rows][:, :, every_col],
                (wanted[at_rows - 1] & wanted[at_rows])[:, every_col],
            ),
            (
                values[:, every_row][:, :, at_cols - 1],
                values[:, every_row][:, :, at_cols],
                (wanted[:, at_cols - 1] & wanted[:, at_cols])[every_row],
            ),
        ):
            record[part] += _steps(first, second, known)
    return record


def _steps(first: NDArray[Any], second: NDArray[Any], known: Mask) -> Counts:
    """Number, sum and sum of squares of the steps from one to the other."""
    steps = (_counts(second) - _counts(first))[:, known].astype(np.int64)
    return np.array([steps.size, np.abs(steps).sum(), np.square(steps).sum()])


def certificate(record: Counts) -> dict[str, Any]:
    """What a record says, in reflectance; None where there was nothing to compare.

    ``gradient_ratio`` is the mean step across the borders of ramps over the mean step beside them,
    ``energy_ratio`` the same of squares: 1 where borders cannot be told from the interior.
    """
    number, total = (int(n) for n in record[_OVERLAP])
    (n_border, border, border2), (n_inside, inside, inside2) = record[_BORDER], record[_INSIDE]
    share = n_inside / n_border if n_border and n_inside else 0.0
    return {
        "disagreement_mean": total / number / 1e4 if number else None,
        "disagreement_p99": percentile(record[_BINS], EDGES, 0.99) / 1e4 if number else None,
        "gradient_ratio": float(border / inside * share) if share and inside else None,
        "energy_ratio": float(border2 / inside2 * share) if share and inside2 else None,
        "compared_in_overlaps": number,
        "steps_at_borders": int(n_border),
        "steps_inside": int(n_inside),
    }


def percentile(bins: Counts, edges: Counts, share: float) -> int:
    """Upper edge of the bin that holds it, in counts: at most a fifth too high."""
    reached = int(np.searchsorted(np.cumsum(bins), share * bins.sum()))
    return int(edges[reached] - 1)
