"""The classic colour chart of 24 patches: its reflectances, and where it is in a picture."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import Scene

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
ROWS, COLS = 4, 6
"""Of the classic chart of 24 patches, dark skin top left, black bottom right."""
NEUTRAL = slice(18, 24)
"""Patches of its grey scale."""
INSIDE = 0.4
"""Share of the way to the next patch that is averaged."""
_ENDS = [1, *(2**bits - 1 for bits in range(8, 33))]
"""Pixel values at which a range ends, of floats and of 8 bits or more."""
_STRAY = 0.05
"""Share of a patch's pixels that may be where the values end, by noise or a hot pixel."""


def corners_of(text: str) -> Corners:
    """Four corners, (column, row), from eight numbers with commas. Raises Refusal."""
    try:
        x0, y0, x1, y1, x2, y2, x3, y3 = numbers = [float(part) for part in text.split(",")]
        if not np.isfinite(numbers).all():
            raise ValueError
    except ValueError:
        fix = "Give column,row of dark skin, bluish green, black and white."
        raise Refusal("the chart's corners must be eight numbers", text, fix) from None
    return (x0, y0), (x1, y1), (x2, y2), (x3, y3)


def chart_reflectances(wavelengths: tuple[float, ...]) -> NDArray[np.float64]:
    """(wavelengths, 24) of the classic chart: the average of 30 charts measured by BabelColor.

    Needs colour-science, which carries them. Raises Refusal without it, and for wavelengths (nm)
    that were not measured.
    """
    try:
        from colour import SDS_COLOURCHECKERS  # noqa: PLC0415 (an extra, and seconds to import)
    except ImportError:
        fix = "pip install 'r2h[colour]'."
        raise Refusal("the chart's reflectances come with colour-science", "no such", fix) from None
    patches = list(SDS_COLOURCHECKERS["BabelColor Average"].values())
    first, last = patches[0].wavelengths[0], patches[0].wavelengths[-1]
    if not first <= min(wavelengths) <= max(wavelengths) <= last:
        rule = f"the chart was measured at {first:g} to {last:g} nm"
        raise Refusal(rule, f"{min(wavelengths):g} to {max(wavelengths):g}", "Give nm between.")
    return np.stack([np.interp(wavelengths, p.wavelengths, p.values) for p in patches], axis=1)


def read_chart(scene: Scene, corners: Corners) -> NDArray[np.float64]:
    """(3, 24) mean pixel values of the patches, NaN where a channel is clipped in one of them.

    ``corners`` are (column, row) of the centres of the four patches at the chart's corners: dark
    skin, bluish green, black, white. Raises Refusal where a patch is outside or has nodata.
    """
    pixels = [_pixels(scene, *place) for place in patches(corners)]
    means = np.stack([patch.mean(axis=1, dtype=np.float64) for patch in pixels], axis=1)
    return np.where(_clipped(np.stack(pixels, axis=1)), np.nan, means)


def _clipped(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """(3, 24) whether more than stray ones of a patch's pixels (3, 24, n) are where values end.

    They end at a largest one of all bits set, as 255; or, in more than 8 bits, where a sensor may
    be full below that, at one that fills half of two patches, or of one while others show noise.
    """
    top = pixels.max(axis=(1, 2), keepdims=True)
    full = (pixels == top) & (top > 0)
    even = (pixels == pixels.max(axis=2, keepdims=True)).mean(axis=2)
    filled = (full.mean(axis=2) >= 1 / 2).sum(axis=1)
    flat = (filled > 1) | ((filled == 1) & (np.median(even, axis=1) < 1 / 2))
    ends = np.isin(top[:, 0, 0], _ENDS) | (flat & (pixels.dtype.itemsize > 1))
    clipped: NDArray[np.bool_] = (full.mean(axis=2) > _STRAY) & ends[:, None]
    return clipped


def patches(corners: Corners) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """Rows and columns (81,) of picture pixels within each of the 24 patches; see `read_chart`."""
    to_picture = _homography(corners)
    steps = np.linspace(-INSIDE / 2, INSIDE / 2, 9)
    for row, col in product(range(ROWS), range(COLS)):
        v, u = (a.ravel() for a in np.meshgrid(row + steps, col + steps, indexing="ij"))
        x, y, w = to_picture @ np.stack([u, v, np.ones_like(u)])
        yield np.rint(y / w).astype(int), np.rint(x / w).astype(int)


def _pixels(scene: Scene, rows: NDArray[np.int_], cols: NDArray[np.int_]) -> NDArray[Any]:
    """(3, places)."""
    top, left = int(rows.min()), int(cols.min())
    window = Window(top, left, int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
    rule = "every patch of the chart must lie in the picture"
    fix = "Give the centres of its corner patches as column,row."
    if window.intersection(Window(0, 0, scene.height, scene.width)) != window:
        raise Refusal(rule, f"one at column {left}, row {top}", fix)
    values, valid = scene.read(window)
    if not valid.all():
        raise Refusal(rule, f"nodata at column {left}, row {top}", fix)
    return values[:, rows - top, cols - left]


def _homography(corners: Corners) -> NDArray[np.float64]:
    """The projective map from (column, row) of a patch in the chart to the picture."""
    chart = [(0, 0), (COLS - 1, 0), (COLS - 1, ROWS - 1), (0, ROWS - 1)]
    equations = []
    for (u, v), (x, y) in zip(chart, corners, strict=True):
        equations.append([u, v, 1, 0, 0, 0, -u * x, -v * x, -x])
        equations.append([0, 0, 0, u, v, 1, -u * y, -v * y, -y])
    solution: NDArray[np.float64] = np.linalg.svd(np.array(equations))[2][-1]
    return solution.reshape(3, 3)
