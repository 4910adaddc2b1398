"""The nearest spectrum within the stored range that renders to a colour: arithmetic by the pixel.

Every step is by the pixel, in a fixed order or in exact sums, so that a pixel's spectrum does
not depend on which others are beside it. Spectra are (wavelengths, n), colours linear RGB (3, n).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.layout import PEAK, SCALE

Values = NDArray[np.floating[Any]]
Free = NDArray[np.bool_]
"""Of each value (wavelengths, n), whether it is within the limits."""

CLOSED = np.float32(2e-5)
"""Most that a band of a closed spectrum is off before it is rounded. Rounding to counts of 1e-4
adds at most 5e-5 times the sum of a row's magnitudes: 1 for a camera, 2.02 for linear sRGB."""
_BLOCK, EXACT = 8192, 2048
"""Pixels that are computed at once, in float32 and in float64."""
_QUICK, _SURE = 8, 100
"""Steps, at most."""
_DAMPING = 1e-12, 1e3
"""Least and most."""
_SLACK = 1e-12
"""What the square of a colour that is left is worth of a spectrum's: so much that what has a
spectrum is off by less than CLOSED, and little enough for float64."""
_FARTHEST = 20.0
"""An answer farther off is taken for this."""
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_SQUARES = np.array([[i == j] for i, j in _PAIRS])
WHOLE = 1.5 * 2.0**30
"""What is added to this and taken off again is a whole multiple of 2^-22."""


def blocks(size: int, length: int = _BLOCK) -> list[slice]:
    """Pixels 0 to ``size`` in parts whose spectra stay in the processor's cache."""
    return [slice(at, min(at + length, size)) for at in range(0, size, length)]


class Sight(NamedTuple):
    """A camera, ready for sums that are exact in float64."""

    rows: Values
    """Sensitivities (3, wavelengths)."""
    whole: NDArray[np.float64]
    """The same, as whole multiples of 2^-26."""
    products: Values
    """Of two rows each (6, wavelengths), as whole multiples of so little that any sum is exact."""
    unlit: bool
    """Whether black has no light: that of each wavelength adds to the sum of the bands."""

    @classmethod
    def of(cls, rows: Values) -> "Sight":
        """What a camera of these sensitivities sees."""
        exact = rows.astype(np.float64)
        products = np.stack([exact[i] * exact[j] for i, j in _PAIRS])
        unlit = bool((exact.sum(axis=0) > 0).all())
        return cls(rows, np.rint(exact * 2.0**26) / 2.0**26, _whole(products, rows.dtype), unlit)

    def double(self) -> "Sight":
        """To compute in float64."""
        return self.of(self.rows.astype(np.float64))


def _whole(values: NDArray[np.float64], dtype: Any) -> Values:
    """The nearest multiples of one power of two of which any sum along a row is exact."""
    bits = np.finfo(dtype).nmant - np.ceil(np.log2(np.abs(values).sum(axis=1).max()))
    whole: Values = (np.rint(values * 2.0**bits) / 2.0**bits).astype(dtype)
    return whole


def put(out: NDArray[Any], at: NDArray[np.intp], values: NDArray[Any]) -> None:
    """Set columns (wavelengths, m) of ``out``: a plane at a time, a quarter of NumPy's time."""
    for plane, new in zip(out, values, strict=True):
        plane[at] = new


def clipped(values: Values) -> Values:
    """Values within the stored range."""
    clipped: Values = np.clip(values, values.dtype.type(0), values.dtype.type(PEAK))
    return clipped


def farthest(residual: Values) -> Values:
    """The largest magnitude (n,) of the three bands of a residual (3, n)."""
    most: Values = np.abs(residual).max(axis=0)
    return most


def residual(sight: Sight, values: NDArray[Any], rgb: Values) -> Values:
    """What ``rgb`` (3, n) has beyond what ``values``, or counts of them, render to."""
    # Whole multiples of 2^-26 times such of 2^-22, or counts: float64 sums them exactly, so that
    # the order in which a matrix product adds, which depends on where a pixel stands, cannot show.
    if values.dtype.kind == "u":
        seen = sight.whole @ values.astype(np.float64)
        seen *= SCALE
    else:
        whole = np.add(values, WHOLE, dtype=np.float64)
        whole -= WHOLE
        seen = sight.whole @ whole
    rest: Values = np.subtract(rgb, seen, out=seen).astype(rgb.dtype)
    return rest


def _moved(sight: Sight, start: Values, by: Values) -> Values:
    """``start`` moved along each row of the camera by as much as ``by`` (3, n) says."""
    moved: Values = sight.rows[0][:, None] * by[0]
    moved += start
    term = np.empty_like(moved)
    for row, length in zip(sight.rows[1:], by[1:], strict=True):
        moved += np.multiply(row[:, None], length, out=term)
    return moved


def _newton(
    sight: Sight, free: Free, rest: Values, damping: Values | float, slack: float = 0.0
) -> Values:
    """The step (3, n) after which what is ``free`` would render to ``rest`` more."""
    damped = damping * sight.products.sum(axis=1, dtype=np.float64)[:, None] + slack * _SQUARES
    # Exact before it is damped, as in `residual`.
    a, b, c, d, e, f = sight.products @ free.astype(sight.products.dtype) + damped
    # Solved as L D L^T, in which a symmetric matrix needs the fewest operations.
    k, m = b / a, c / a
    d, e = d - b * k, e - c * k
    f, p = f - c * m, e / d
    x, y = rest[0], rest[1] - k * rest[0]
    z = (rest[2] - m * x - p * y) / (f - e * p)
    y = y / d - p * z
    solved: Values = np.stack([x / a - k * y - m * z, y, z]).astype(rest.dtype)
    return solved


def quick(sight: Sight, start: Values, rgb: Values) -> tuple[Values, NDArray[np.bool_]]:
    """The nearest to ``start`` that close, by Newton's method on the dual: a few steps for most.

    min |x - start|^2 with s x = rgb and 0 <= x <= PEAK has the solution x = clip(start + s^T l):
    three unknowns a pixel, or none of black. Returns the spectra, and which (n,) close; the others
    are not filled.
    """
    out, closed = np.zeros_like(start), np.ones(start.shape[1], bool)
    at = np.flatnonzero(rgb.any(axis=0) | (not sight.unlit))
    if at.size < closed.size:
        start, rgb = start.take(at, axis=1), rgb.take(at, axis=1)
    by, moved, spectra = np.zeros_like(rgb), start, clipped(start)
    with np.errstate(all="ignore"):
        rest = residual(sight, spectra, rgb)
        for _ in range(_QUICK):
            by = by + _newton(sight, moved == spectra, rest, 1e-6)
            moved = _moved(sight, start, by)
            spectra = clipped(moved)
            rest = residual(sight, spectra, rgb)
            near = farthest(rest) <= CLOSED
            if at.size == closed.size:
                out = spectra  # of those that are far later steps bring others
            else:
                put(out, at[near], spectra.compress(near, axis=1))
            closed[at] = near
            far = np.flatnonzero(~near)
            if not far.size:
                break
            at, kept = at[far], (start, rgb, by, rest, moved, spectra)
            start, rgb, by, rest, moved, spectra = (part.take(far, axis=1) for part in kept)
    return out, closed


@np.errstate(all="ignore")
def sure(sight: Sight, start: Values, rgb: Values) -> Values:
    """The nearest to ``start`` that close, for every colour there is; of others the nearest colour.

    min |x - start|^2 + |rgb - s x|^2 / _SLACK within the limits, in float64: the same dual, bounded
    for every colour, each step as long as it gains. Where one brings a colour no nearer, the next
    is damped more: fewer than three wavelengths that are free leave a direction untold.
    """
    start = np.clip(start, -_FARTHEST, _FARTHEST)
    out, at = clipped(start), np.arange(rgb.shape[1])
    by, damping = np.zeros_like(rgb), np.full(rgb.shape[1], _DAMPING[0])
    moved, rest = start, residual(sight, out, rgb)
    for _ in range(_SURE):
        step = _newton(sight, moved == clipped(moved), rest, damping, _SLACK)
        step[:, ~np.isfinite(step).all(axis=0)] = 0  # too little is free: damped more next
        along, gain = _moved(sight, np.zeros_like(moved), step), (step * rest).sum(axis=0)
        by = by + _length(moved, along, gain, _SLACK * (step * step).sum(axis=0)) * step
        moved = _moved(sight, start, by)
        out[:, at] = spectra = clipped(moved)
        before, rest = farthest(rest), residual(sight, spectra, rgb) - _SLACK * by
        if not (left := ~(farthest(rest) <= CLOSED / 4)).any():
            break
        nearer = farthest(rest) < 0.9 * before
        damping = np.clip(np.where(nearer, damping / 10, damping * 3), *_DAMPING)
        at, damping = at[left], damping[left]
        kept = (start, rgb, by, moved, rest)
        start, rgb, by, moved, rest = (part.compress(left, axis=1) for part in kept)
    return out


def _length(moved: Values, along: Values, gain: Values, slack: Values) -> Values:
    """How far (n,) spectra that were ``moved`` go ``along`` until the dual gains no more.

    What it gains, ``gain`` (n,) at first, falls by ``slack`` (n,) and by the square of each
    wavelength's way while that is within its limits: linearly from one that is met to the next.
    """
    one, other = -moved / along, (PEAK - moved) / along
    times = np.concatenate([np.minimum(one, other), np.maximum(one, other)])
    times[~((times > 0) & (times < np.inf))] = 0
    order = np.argsort(times, axis=0)
    square = along * along
    falls = np.take_along_axis(np.concatenate([square, -square]), order, axis=0).cumsum(axis=0)
    # From the start, where nothing is met yet, to the last that is met, and on.
    times = np.concatenate([0 * times[:1], np.take_along_axis(times, order, axis=0)])
    falls = np.concatenate([0 * falls[:1], falls.clip(0)]) + slack
    gains = gain - np.cumsum(falls[:-1] * np.diff(times, axis=0), axis=0)
    last, pixels = (gains > 0).sum(axis=0), np.arange(gain.size)
    gains = np.concatenate([gain[None], gains])
    more = gains[last, pixels].clip(0) / falls[last, pixels]
    length: Values = times[last, pixels] + np.nan_to_num(more)  # of no step none
    return length
