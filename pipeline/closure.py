"""Consistency: a spectrum that is stored renders back to the colour that the camera saw."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.gamut import Gamut
from pipeline.nearest import (
    EXACT,
    Sight,
    Values,
    blocks,
    farthest,
    put,
    quick,
    residual,
    sure,
)
from pipeline.packing import quantise

Mask = NDArray[np.bool_]

FAR = np.float32(1e-4)
"""A band that is stored farther off than this is closed; one that stays so could not be."""


class Closure:
    """What spectra within the stored range a camera, sensitivities (3, wavelengths), can see."""

    def __init__(
        self,
        sensitivities: NDArray[np.float32],
        noise_filter: NDArray[np.float32] | None = None,
        *,
        moves: bool = True,
    ) -> None:
        """Without ``moves`` spectra are measured and left as they are."""
        self.sight, self.moves = Sight.of(sensitivities), moves
        self._filter = noise_filter

    def likely(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """The linear RGB (3, ...) that spectra are to render to: ``noise_filter`` (3, 3) times it.

        Of what was seen with noise that is what is likely without; all of it where there is none.
        """
        if self._filter is None:
            return rgb
        red, green, blue = rgb
        return np.stack([r * red + g * green + b * blue for r, g, b in self._filter])

    def settle(
        self, values: NDArray[np.float32], rgb: NDArray[np.float32], asked: Mask, dtype: Any
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """What is stored of ``values`` (wavelengths, h, w), and how far that is `off` ``rgb``.

        Where they would render to another colour than what is likely of linear ``rgb`` (3, h, w),
        the nearest that do are stored. Raises Refusal where a value that is ``asked`` for (h, w)
        is not finite.
        """
        stored = quantise(values, asked, dtype)
        off, likely = self.off(stored, rgb), self.likely(rgb)
        if self.moves:
            far = asked & ((off if likely is rgb else self.off(stored, likely)) > FAR)
            if (at := np.flatnonzero(far)).size:
                self.close(stored, off, rgb, at, values.reshape(len(values), -1).take(at, axis=1))
        return stored, off

    def close(
        self,
        stored: NDArray[Any],
        off: NDArray[np.float32],
        rgb: NDArray[np.float32],
        at: NDArray[np.intp],
        values: NDArray[np.float32],
    ) -> None:
        """Store the nearest to ``values`` (wavelengths, n), of the pixels ``at`` (n,), that close.

        What is ``stored`` (wavelengths, h, w) of linear ``rgb`` (3, h, w), and how far it is
        ``off`` (h, w), are changed there, in place.
        """
        seen, likely = (of.reshape(3, -1).take(at, axis=1) for of in (rgb, self.likely(rgb)))
        moved = quantise(self.closed(values, likely), np.ones(at.size, bool), stored.dtype)
        put(stored.reshape(len(stored), -1, copy=False), at, moved)
        off.ravel()[at] = self.off(moved, seen)

    def off(self, stored: NDArray[Any], rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far the farthest band (...) of linear ``rgb`` (3, ...) is from what is stored.

        ``stored`` (wavelengths, ...) is reflectance, or counts of it (uint16).
        """
        flat, seen = stored.reshape(len(stored), -1), rgb.reshape(3, -1)
        off = np.empty(seen.shape[1], np.float32)
        for part in blocks(off.size):
            off[part] = farthest(residual(self.sight, flat[:, part], seen[:, part]))
        return off.reshape(rgb.shape[1:])

    def outside(self, rgb: Values) -> Mask:
        """The colours (n,), of linear ``rgb`` (3, n), that no spectrum in [0, PEAK] has."""
        return self._gamut.outside(rgb)

    @cached_property
    def _gamut(self) -> Gamut:
        return Gamut(self.sight.rows)

    def closed(self, values: NDArray[np.float32], rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """The nearest to finite ``values`` (wavelengths, n) in [0, PEAK] that close.

        That is, that render to linear ``rgb`` (3, n); of a colour that no spectrum has, to the
        nearest that one has.
        """
        closed, hard = np.empty_like(values), np.empty(values.shape[1], bool)
        for part in blocks(hard.size):
            closed[:, part], done = quick(self.sight, values[:, part], rgb[:, part])
            hard[part] = ~done
        at = np.flatnonzero(hard)
        put(closed, at, self._insist(values.take(at, axis=1), rgb.take(at, axis=1)))
        return closed

    def _insist(self, values: Values, rgb: Values) -> Values:
        """Close the few that are hard: colours that none has or few have, answers far off."""
        exact = self.sight.double()
        for part in blocks(values.shape[1], EXACT):
            start, wanted = (of[:, part].astype(np.float64) for of in (values, rgb))
            values[:, part] = sure(exact, start, wanted)
        return values
