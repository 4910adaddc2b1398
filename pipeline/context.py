"""Windows of a scene that tell what the whole of it holds: for what its tiles have in common."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import Camera, Floats
from pipeline.exposure import SHARE, SIDE, lattices, scale_windows, scene_scale
from pipeline.grid import Window
from pipeline.scene import Scene

LEAST = 128
"""Rows and columns of a window, at least, where the scene has as many."""
MOST = 16
"""Windows that are kept, at most."""
SIDES = 8
"""What is told of them has sides that are multiples of this, as the network halves them thrice."""


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
    """What its tiles attend to; without any, each to itself."""


GREY = Context(Window(0, 0, SIDES, SIDES), np.full((3, SIDES, SIDES), 0.25, np.float32), 1.0)
"""Of a scene that is not looked at."""


def measured(scene: Scene, camera: Camera) -> Measured:
    """A scene's scale and windows, as a camera sees it."""
    return Measured(scene_scale(scene, camera), contexts(scene, camera))


def contexts(scene: Scene, camera: Camera) -> list[Context]:
    """At most 16 windows of a scene: a function of the scene alone.

    They are an eighth of its longer side, from 128 to 256 pixels, and spread evenly; those count
    of which one in 16 pixels is valid and lit. Where none is, such of finer and finer lattices, of
    the first that brings some. None of a scene in which no window has as many.
    """
    eighth = -(-max(scene.height, scene.width) // (8 * SIDES)) * SIDES
    side = min(SIDE, max(LEAST, eighth))
    first = scale_windows(scene.height, scene.width, side)
    for windows in chain([iter(first)], lattices(scene.height, scene.width)):
        if found := _kept(scene, camera, windows):
            return found
    return []


def _kept(scene: Scene, camera: Camera, windows: Iterator[Window]) -> list[Context]:
    """Of the windows that hold enough at most `MOST`, thinned evenly: no corner decides."""
    kept: list[Context] = []
    step = 1
    for number, found in enumerate(filter(None, (_context(scene, camera, w) for w in windows))):
        if number % step == 0:
            kept.append(found)
        if len(kept) > MOST:
            kept, step = kept[::2], 2 * step
    return kept


def _context(scene: Scene, camera: Camera, window: Window) -> Context | None:
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
