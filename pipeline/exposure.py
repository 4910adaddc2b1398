"""One scale a scene, so that what the network sees does not depend on the exposure."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import Camera, Floats
from pipeline.grid import Window

MEAN_AT = 0.25
"""Where the scale puts a scene's robust mean: whites then stay near one, as in training."""
BRIGHT_AT = 4.0
"""The most it lets the 99th percentile be: the highest that training showed the network was 3.2,
and what it answers far beyond is bounded but no estimate."""
SIDE = 256
"""Rows and columns, at most, of a window that the scale is taken from."""
SHARE = 16
"""One in so many pixels of the first windows must be valid for them to decide."""
MOST = 16 * SIDE**2
"""Pixels that are kept of further windows: as many as the first hold, at most."""
Doubles = NDArray[np.float64]


class Pixels(Protocol):
    """What is looked at of a `pipeline.scene.Scene`."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) and valid (height, width) of a window inside."""


def scale_of(rgb: Floats, valid: NDArray[np.bool_] | None = None) -> float:
    """Scale of linear RGB (3, ...): its mean brightness, clipped at the 99th percentile, / 0.25.

    Where that would leave the 99th percentile above 4, as in a night scene: that percentile / 4.
    Homogeneous: RGB times k has a scale times k. Black pixels count nowhere, as in a scene's; where
    all are, or nothing is valid, it is 1.
    """
    brightness = rgb.mean(axis=0, dtype=np.float64)
    known = brightness if valid is None else brightness[np.asarray(valid, bool)]
    return _scale(known[known > 0]) or 1.0


def scene_scale(scene: Pixels, camera: Camera) -> float:
    """Scale of a scene, from full-resolution windows: a function of the scene alone, of no part.

    Sixteen fixed windows decide, or fewer, where one in 16 of their pixels is valid and lit or they
    are the whole scene. Else the lit pixels of finer and finer lattices do, of the first that bring
    as many. 1 only where no pixel of the scene is valid and lit: black, as of a collar that is not
    declared nodata, tells of no exposure.
    """
    windows = scale_windows(scene.height, scene.width)
    seen = np.concatenate([_brightness(scene, camera, window) for window in windows])
    seen = seen[seen > 0]
    enough = sum(window.height * window.width for window in windows) // SHARE
    whole = max(scene.height, scene.width) <= 4 * SIDE
    known = _scale(seen) if whole or seen.size >= enough else 0.0
    return known or _scale(_lit(scene, camera, enough)) or 1.0


def _scale(brightness: Doubles) -> float:
    """Of brightness (pixels,); 0 where it is black to the 99th percentile."""
    if brightness.size == 0:
        return 0.0
    bright = float(np.percentile(brightness, 99))
    mean = float(np.minimum(brightness, bright).mean())
    return max(mean / MEAN_AT, bright / BRIGHT_AT) if mean > 0 else 0.0


def _brightness(scene: Pixels, camera: Camera, window: Window) -> Doubles:
    """Of the valid pixels of a window, row-major."""
    values, valid = scene.read(window)
    if not valid.any():
        return np.empty(0)
    # Masked before it is decoded: a float's nodata may be too large for a power.
    rgb = camera.decode(np.where(valid, values, 0))
    brightness: Doubles = rgb.mean(axis=0, dtype=np.float64)[valid]
    return brightness


def _lit(scene: Pixels, camera: Camera, enough: int) -> Doubles:
    """Brightness of the pixels of further windows that is above 0.

    Lattices are read to their end, and thinned to `MOST` pixels, so that no corner decides.
    """
    kept, step = np.empty(0), 1
    for lattice in lattices(scene.height, scene.width):
        for window in lattice:
            part = _brightness(scene, camera, window)
            if (part > 0).any():
                kept = np.concatenate([kept, part[part > 0][::step]])
            if kept.size > MOST:
                kept, step = kept[::2], 2 * step
        if kept.size >= enough:
            break
    return kept


def scale_windows(height: int, width: int) -> list[Window]:
    """At most 16 windows, at most 256 a side, spread evenly over the scene, row-major."""
    rows, cols = (spread(size, SIDE, min(4, -(-size // SIDE))) for size in (height, width))
    return [Window(row, col, min(SIDE, height), min(SIDE, width)) for row in rows for col in cols]


def spread(size: int, side: int, count: int) -> list[int]:
    """Where windows begin that are spread evenly over ``size`` pixels, from end to end."""
    rest = max(0, size - side)
    return [i * rest // (count - 1) for i in range(count)] if count > 1 else [rest // 2]


def lattices(height: int, width: int) -> Iterator[Iterator[Window]]:
    """The windows of 256 x 256 that a scene is cut into, lattice by lattice, each row-major.

    Each lattice halves the distance of the one before and leaves out what that had: every pixel
    comes once.
    """
    first = step = 1 << max(0, (-(-max(height, width) // SIDE) // 4).bit_length() - 1)
    while step:
        yield _lattice(height, width, step * SIDE, step == first)
        step //= 2


def _lattice(height: int, width: int, step: int, first: bool) -> Iterator[Window]:
    """Windows at multiples of ``step``, without those of the lattice before: of twice it."""
    for row in range(0, height, step):
        for col in range(0, width, step):
            if first or row % (2 * step) or col % (2 * step):
                yield Window(row, col, min(SIDE, height - row), min(SIDE, width - col))
