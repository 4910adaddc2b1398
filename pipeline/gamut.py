"""The colours that a camera sees of spectra within the stored range.

What spectra in a box render to is a convex body, bounded by planes that two columns of the camera
span each. Colours are linear RGB (3, n). As in `pipeline.nearest`, all is by the pixel, in sums
that are exact or in a fixed order.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.layout import PEAK
from pipeline.nearest import WHOLE

Colours = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

_BORDER = 1e-6
"""A colour this far beyond a plane is on it: what rounding did is not outside."""
_FINE, _BRIGHT = 2.0**20, 256.0
"""Normals are whole multiples of 1 / _FINE, colours of 2^-22 and below _BRIGHT: sums are exact."""
_BLOCK = 512


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

    def outside(self, rgb: Colours) -> NDArray[np.bool_]:
        """The colours (n,) that no spectrum in [0, PEAK] has."""
        out = np.zeros(rgb.shape[1], bool)
        for at in range(0, out.size, _BLOCK):
            part = slice(at, at + _BLOCK)
            reached = _fit(rgb[:, part]).T @ self._normals.T
            out[part] = ((reached - self._reach) > _BORDER).any(axis=1)
        return out


def _fit(rgb: Colours) -> Doubles:
    """As whole multiples; colours beyond any body are brought nearer, in their direction."""
    largest = np.maximum(np.abs(rgb).max(axis=0), _BRIGHT).astype(np.float64)
    whole: Doubles = (rgb * (_BRIGHT / largest) + WHOLE) - WHOLE
    return whole
