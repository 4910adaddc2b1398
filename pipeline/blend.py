"""Weights that blend overlapping tiles and sum to exactly 1, with no count to divide by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.grid import Axis

# A row weight times a column weight is then a multiple of 2**-24: float32 holds every such
# number up to 1, so products and sums of weights round nowhere and the order cannot matter.
_STEPS = 2**12


def weights(axis: Axis, index: int) -> NDArray[np.float32]:
    """Blend weights (tile,) of tile `index` along one axis, multiples of 2**-12 in [0, 1].

    They fall linearly over the overlap, only towards a neighbour; one tile's ramp is 1 minus
    its neighbour's. Of all ramps the straight one has the least steep step, so it spreads a
    disagreement of two tiles thinnest. IndexError outside the axis.
    """
    first = axis.start(index) == 0
    last = index == axis.count - 1
    result = np.ones(axis.tile, np.float32)
    fall = _fall(axis.overlap)
    if not first:
        result[: axis.overlap] -= fall
    if not last:
        result[axis.stride :] = fall
    return result


def _fall(overlap: int) -> NDArray[np.float32]:
    centres = np.arange(overlap) + 0.5
    return (np.rint(_STEPS * (1 - centres / max(overlap, 1))) / _STEPS).astype(np.float32)
