"""The colours that a camera sees of spectra within the stored range, and the nearest of them.

What spectra in a box render to is a convex body, bounded by planes that two columns of the camera
span each. Colours are linear RGB (3, n). As in `pipeline.nearest`, all is by the pixel, in sums
that are exact or in a fixed order.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.layout import PEAK
from pipeline.nearest import WHOLE

Colours = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

_BORDER = 1e-6
"""A colour this far beyond a plane is on it: what rounding did is not outside."""
_INSIDE = 1e-5
"""Share of the way to the middle by which a nearest colour is moved in, where spectra are found."""
_FINE, _BRIGHT = 2.0**20, 256.0
"""Normals are whole multiples of 1 / _FINE, colours of 2^-22 and below _BRIGHT: sums are exact."""
_BLOCK, _ROUNDS, _SWEEPS = 512, 12, 60


class _Planes(NamedTuple):
    """Half-spaces ``normal . colour <= reach``, one of each for every colour: (3, n) and (n,)."""

    normal: Doubles
    reach: Doubles

    def of(self, which: NDArray[np.bool_]) -> _Planes:
        return _Planes(self.normal[:, which], self.reach[which])


class Gamut:
    """The body of colours that a camera, sensitivities (3, wavelengths), can see."""

    def __init__(self, sensitivities: Colours) -> None:
        columns = sensitivities.T.astype(np.float64)
        pairs = np.array(list(combinations(range(len(columns)), 2)))
        normals = np.cross(columns[pairs[:, 0]], columns[pairs[:, 1]])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        # Two columns in one direction span no plane.
        normals = (normals / np.where(length > 0, length, 1))[length[:, 0] > 1e-12]
        # A plane of any direction bounds the body, where it touches it: of rounded ones, too.
        normals = np.rint(np.concatenate([normals, -normals]) * _FINE) / _FINE
        self._normals: Doubles = normals
        self._reach: Doubles = PEAK * np.maximum(normals @ columns.T, 0).sum(axis=1)
        self._middle: Doubles = PEAK / 2 * columns.sum(axis=0)[:, None]

    def outside(self, rgb: Colours) -> NDArray[np.bool_]:
        """The colours (n,) that no spectrum in [0, PEAK] has."""
        out = np.zeros(rgb.shape[1], bool)
        for at in range(0, out.size, _BLOCK):
            part = slice(at, at + _BLOCK)
            out[part] = self._farthest(_fit(rgb[:, part]))[0] > _BORDER
        return out

    def nearest(self, rgb: Colours) -> Doubles:
        """Colours (3, n) as they are; those outside as the nearest inside, by least squares.

        Planes are taken up as they are found to be broken, the farthest first (cutting planes);
        between those taken up a colour is projected by Hildreth's method (1957).
        """
        out = rgb.astype(np.float64)
        for at in range(0, out.shape[1], _BLOCK):
            self._project(out[:, at : at + _BLOCK])
        return out

    def _project(self, colours: Doubles) -> None:
        at, start = np.arange(colours.shape[1]), _fit(colours)
        near, taken = start, list[_Planes]()
        for _ in range(_ROUNDS):
            far, which = self._farthest(near)
            if not (broken := far > _BORDER).any():
                break
            at, start, which = at[broken], start[:, broken], which[broken]
            taken = [each.of(broken) for each in taken]
            taken.append(_Planes(self._normals[which].T, self._reach[which]))
            near = _whole(_projected(start, taken))
            colours[:, at] = near + _INSIDE * (self._middle - near)

    def _farthest(self, colours: Doubles) -> tuple[Doubles, NDArray[np.intp]]:
        """How far each colour is beyond the plane that it is farthest beyond, and which that is."""
        beyond = colours.T @ self._normals.T
        beyond -= self._reach
        which = beyond.argmax(axis=1)
        return beyond[np.arange(which.size), which], which


def _whole(colours: Doubles) -> Doubles:
    rounded: Doubles = (colours + WHOLE) - WHOLE
    return rounded


def _fit(rgb: Colours) -> Doubles:
    """As whole multiples; colours beyond any body are brought nearer, in their direction."""
    largest = np.maximum(np.abs(rgb).max(axis=0), _BRIGHT).astype(np.float64)
    return _whole(rgb * (_BRIGHT / largest))


def _projected(start: Doubles, planes: list[_Planes]) -> Doubles:
    """The nearest to ``start`` (3, n) that is within all of its ``planes``."""
    near, pushed = start.copy(), np.zeros((len(planes), start.shape[1]))
    # Of one plane it is there at once.
    for _ in range(_SWEEPS if len(planes) > 1 else 1):
        for number, (normal, reach) in enumerate(planes):
            x, y, z = normal * near
            more = np.maximum(x + y + z - reach, -pushed[number])
            pushed[number] += more
            near -= normal * more
    return near
