"""Metrics of a scene that is not in memory, and the protocols by which scenes are scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.metrics import (
    FLOOR,
    SSIM_SIDE,
    Array,
    Doubles,
    angles,
    decibels,
    pair,
    relative,
    relative_global,
    similarities,
)

ANGLES = np.array([0, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 180.0])
"""Edges of the histogram of spectral angles, degrees; the last bin holds its upper edge."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What of a frame is scored, and how MRAE treats small references."""

    name: Literal["full", "ntire2022"]
    crop: int
    """Pixels left out at each side."""
    floor: float
    """The least reference value that an error is divided by; 0 for none."""

    def rows(self, height: int) -> slice:
        """The rows, or columns, of so many that are scored. Raises Refusal where none is."""
        if height <= 2 * self.crop:
            rule = f"a frame scored by {self.name} has more than {2 * self.crop} pixels a side"
            raise Refusal(rule, height, "Use --protocol full.")
        return slice(self.crop, height - self.crop)


PROTOCOLS = {
    "full": Protocol("full", 0, FLOOR),
    "ntire2022": Protocol("ntire2022", 128, 0.0),
}
"""``full``: the whole frame. ``ntire2022``: as the challenge and MST++ score: 128 pixels cropped a
side, and no floor, so that a reference of 0 makes MRAE infinite or NaN."""


class Scores:
    """All metrics of a scene, added up from bands of rows: memory is that of a band.

    Bands come from top to bottom, all of one width, so that SSIM can look across their borders.
    Pixels that are not ``valid`` count nowhere.
    """

    def __init__(self, wavelengths: int, floor: float = FLOOR) -> None:
        self._floor = floor
        self._pixels = 0
        self._sums = np.zeros((3, wavelengths))
        self._mean = np.zeros(wavelengths)
        self._angle = 0.0
        self._angles = np.zeros(len(ANGLES) - 1, np.int64)
        self._similar = np.zeros(wavelengths)
        self._windows = 0
        self._above: tuple[Doubles, Doubles, Mask] | None = None

    def add(self, estimate: Array, reference: Array, valid: Mask | None = None) -> None:
        """Add the next rows: both (wavelength, rows, width), valid (rows, width) or None for all.

        Raises Refusal where the shapes differ.
        """
        x, y = pair(estimate, reference)
        known = np.ones(x.shape[1:], bool) if valid is None else np.asarray(valid, bool)
        if known.shape != x.shape[1:]:
            raise Refusal(f"valid is {x.shape[1:]}: rows, width", known.shape, "Give it of these.")
        self._add_similarity(x, y, known)
        x, y = x[:, known], y[:, known]
        difference = x - y
        clipped = np.clip(x, 0, 1) - np.clip(y, 0, 1)
        terms = (relative(x, y, self._floor), difference**2, clipped**2)
        self._sums += [term.sum(axis=1) for term in terms]
        self._mean += y.sum(axis=1)
        degrees = angles(x, y)
        self._angle += float(degrees.sum())
        self._angles += np.histogram(degrees, ANGLES)[0]
        self._pixels += x.shape[1]

    def _add_similarity(self, x: Doubles, y: Doubles, valid: Mask) -> None:
        if self._above is not None:
            parts = zip(self._above, (x, y, valid), strict=True)
            x, y, valid = (np.concatenate(part, axis=-2) for part in parts)
        kept = SSIM_SIDE - 1
        self._above = (x[:, -kept:].copy(), y[:, -kept:].copy(), valid[-kept:].copy())
        if min(valid.shape) < SSIM_SIDE:
            return
        whole = _windows(valid)
        self._similar += [similarities(a, b)[whole].sum() for a, b in zip(x, y, strict=True)]
        self._windows += int(whole.sum())

    def result(self) -> dict[str, float]:
        """mrae, rmse, psnr (dB), sam (degrees), ssim, ergas; see the functions of these names.

        Raises Refusal where nothing was valid, or no window of SSIM was.
        """
        if not self._windows:
            rule = f"an image for SSIM has at least {SSIM_SIDE} valid pixels a side"
            raise Refusal(rule, f"{self._pixels} pixels", "Score a larger scene.")
        ratio, square, clipped = self._sums.mean(axis=1) / self._pixels
        return {
            "mrae": float(ratio),
            "rmse": math.sqrt(square),
            "psnr": decibels(float(clipped)),
            "sam": self._angle / self._pixels,
            "ssim": float(self._similar.mean() / self._windows),
            "ergas": relative_global(self._sums[1] / self._pixels, self._mean / self._pixels),
        }

    def by_wavelength(self) -> dict[str, list[float]]:
        """mrae, rmse, psnr and ssim of each wavelength's image."""
        ratio, square, clipped = self._sums / self._pixels
        return {
            "mrae": ratio.tolist(),
            "rmse": np.sqrt(square).tolist(),
            "psnr": [decibels(float(value)) for value in clipped],
            "ssim": (self._similar / self._windows).tolist(),
        }

    def histogram(self) -> list[int]:
        """Pixels whose spectral angle lies between neighbours of `ANGLES`."""
        counts: list[int] = self._angles.tolist()
        return counts


def bootstrap(values: Sequence[float], seed: int = 0, share: float = 0.95) -> tuple[float, float]:
    """Interval of the mean over scenes: percentiles of 10,000 means of scenes drawn again.

    The scenes are the sample: few of them give a wide interval, and one gives none (its value
    twice). Infinite values give NaN ends.
    """
    random = np.random.default_rng(seed)
    drawn = random.choice(np.asarray(values, np.float64), (10_000, len(values)))
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(drawn.mean(axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _windows(valid: Mask) -> Mask:
    """Whether each window inside an image is valid throughout."""
    count = np.pad((~valid).astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    side = SSIM_SIDE
    holes = (
        count[side:, side:] - count[:-side, side:] - count[side:, :-side] + count[:-side, :-side]
    )
    whole: Mask = holes == 0
    return whole
