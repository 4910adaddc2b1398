"""How much tiles show in a cube: one measure for every contender."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.networks import HELD, WAVELENGTHS
from benchmarks.scenes import camera, photograph
from pipeline.grid import Axis, Window

LARGEST = 4096
"""A cube of more pixels a side is not read back."""


def seam(path: Path, case: Case) -> float | None:
    """Mean step between neighbouring pixels where tiles join, over the mean step elsewhere.

    Over the same of the scene's own RGB, so 1 where no tile shows. Tools join tiles at the first
    pixels of tiles, at their last ones or in the middle of what two share: the largest of these
    three counts. The scene's last tiles, which some tools place elsewhere, are left out. None for a
    cube too large, of too few tiles, or not of the scene.
    """
    axis = Axis(case.size, case.tile, case.overlap)
    if axis.count < 4 or case.height != case.size or case.size > LARGEST or case.network in HELD:
        return None
    array = zarr.open_array(str(path), mode="r")
    rgb, _ = photograph(case.size).read(Window(0, 0, case.size, case.size))
    linear = camera(WAVELENGTHS).decode(rgb)
    return joined(np.asarray(array[...]).reshape(-1, *rgb.shape[1:]), axis) / joined(linear, axis)


def joined(values: NDArray[Any], axis: Axis) -> float:
    """The first of these two ratios, of values (channel, row, col) on a square lattice."""
    stop = axis.start(axis.count - 2)
    steps = np.zeros(stop - 1)
    for plane in values:
        part = plane[:stop, :stop].astype(np.float32)
        steps += np.abs(np.diff(part, axis=0)).mean(axis=1)
        steps += np.abs(np.diff(part, axis=1)).mean(axis=0)
    joins = _joins(axis)
    elsewhere = np.delete(steps, np.concatenate(joins)).mean()
    return float(max(steps[at].mean() for at in joins) / elsewhere)


def _joins(axis: Axis) -> list[NDArray[np.intp]]:
    """Steps, numbered by their first pixel, at starts, stops and middles of overlaps."""
    starts = np.array([axis.start(i) for i in range(1, axis.count - 2)])
    return [starts - 1 + offset for offset in (0, axis.overlap, axis.overlap // 2)]
