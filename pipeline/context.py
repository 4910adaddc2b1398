"""Windows of a scene that tell what the whole of it holds: for what its tiles have in common."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from threading import Event
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import Camera, Floats
from pipeline.errors import heed
from pipeline.exposure import SHARE, Pixels, lattices, scene_scale, spread
from pipeline.grid import Window

SIDE = 128
"""Rows and columns of a window, where the scene has as many; those of finer lattices have 256."""
ACROSS = 6
"""Windows side by side, at most; of a side of 1,150 pixels or less four (docs/decisions/0034)."""
MOST = 16
"""Windows of finer lattices that are kept, at most."""
SIDES = 32
"""What is told of them has sides that are multiples of this, as networks halve them."""


class Context(NamedTuple):
    """A window of a scene, as a tile would show it."""

    window: Window
    """In the scene; its sides are padded to multiples of `SIDES`."""
    rgb: Floats
    """(3, h, w), linear; what is not valid took the mean of the rest."""
    share: float
    """Of its pixels those that are valid and lit."""


class Measured(NamedTuple):
    """What is taken from a scene before its tiles are."""

    scale: float
    """See `pipeline.exposure`."""
    contexts: Sequence[Context] = ()
    """What its tiles attend to; without any, each to itself. No value is above `BRIGHTEST` scales:
    one glint of the sun would outweigh all else (docs/decisions/0034)."""


GREY = Context(Window(0, 0, SIDES, SIDES), np.full((3, SIDES, SIDES), 0.25, np.float32), 1.0)
"""What a scene has that is not looked at."""


class _Stoppable:
    """Pixels that are read no more once ``stop`` is set: Stopped is raised."""

    def __init__(self, scene: Pixels, stop: Event | None) -> None:
        self.height, self.width = scene.height, scene.width
        self._read, self._stop = scene.read, stop

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        heed(self._stop)
        return self._read(window)


def measured(scene: Pixels, camera: Camera, tile: int = 0, stop: Event | None = None) -> Measured:
    """A scene's scale and windows, as a camera sees it; no windows if a ``tile`` shows it whole.

    What one tile attends to is then what the scene does. Raises Stopped a window after ``stop`` is
    set: of a scene that shows little all may be read.
    """
    scene = _Stoppable(scene, stop)
    scale, whole = scene_scale(scene, camera), max(scene.height, scene.width) <= tile
    return Measured(scale, [] if whole else contexts(scene, camera))


def contexts(scene: Pixels, camera: Camera) -> list[Context]:
    """At most 36 windows of a scene: a function of the scene alone.

    They have 128 x 128 pixels and are spread evenly; those count of which one in 16 pixels is valid
    and lit. Where none is, such of finer and finer lattices, of 256 x 256 pixels, of the first that
    brings some. None of a scene in which no window has as many.
    """
    height, width = min(SIDE, scene.height), min(SIDE, scene.width)
    rows, cols = (spread(size, SIDE, _across(size)) for size in (scene.height, scene.width))
    first = (Window(row, col, height, width) for row, col in product(rows, cols))
    found = list(_known(scene, camera, first))
    for lattice in lattices(scene.height, scene.width):
        found = found or _thinned(_known(scene, camera, lattice))
    return found


def _across(size: int) -> int:
    """How many windows lie side by side: four where they fit, then one every 256 pixels."""
    return max(1, min(round(size / SIDE), max(4, round(size / (2 * SIDE))), ACROSS))


def _known(scene: Pixels, camera: Camera, windows: Iterable[Window]) -> Iterator[Context]:
    return filter(None, (_context(scene, camera, window) for window in windows))


def _thinned(found: Iterable[Context]) -> list[Context]:
    """At most `MOST`, thinned evenly: no corner decides."""
    kept: list[Context] = []
    step = 1
    for number, one in enumerate(found):
        if number % step == 0:
            kept.append(one)
        if len(kept) > MOST:
            kept, step = kept[::2], 2 * step
    return kept


def _context(scene: Pixels, camera: Camera, window: Window) -> Context | None:
    values, valid = scene.read(window)
    rgb = camera.decode(np.where(valid, values, 0))
    share = float((valid & (rgb.mean(axis=0) > 0)).mean())
    if share * SHARE < 1:
        return None
    height, width = (-(-side // SIDES) * SIDES for side in (window.height, window.width))
    return Context(
        Window(window.row, window.col, height, width),
        padded(filled(rgb, valid), height, width),
        share,
    )


def filled(rgb: Floats, valid: NDArray[np.bool_]) -> Floats:
    """Invalid pixels take the mean of the valid ones, so nothing under the mask is seen."""
    if valid.all():
        return rgb
    mean = rgb[:, valid].mean(axis=1, dtype=np.float64).astype(np.float32)
    return np.where(valid, rgb, mean[:, None, None])


def padded(rgb: Floats, height: int, width: int) -> Floats:
    """RGB (3, h, w) as (3, height, width), mirrored below and to the right."""
    more = ((0, 0), (0, height - rgb.shape[1]), (0, width - rgb.shape[2]))
    return np.pad(rgb, more, mode="reflect")
