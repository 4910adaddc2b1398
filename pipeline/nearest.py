"""The nearest spectrum within the stored range that renders to a colour: arithmetic by the pixel.

Every step is by the pixel, in a fixed order or in exact sums, so that a pixel's spectrum does
not depend on which others are beside it. `s` are sensitivities (3, wavelengths), spectra are
(wavelengths, n) and colours linear RGB (3, n).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.layout import PEAK, SCALE

Values = NDArray[np.floating[Any]]

CLOSED = np.float32(2e-5)
"""Most that a band of a closed spectrum is off before it is rounded. Rounding to counts of 1e-4
adds at most 5e-5 times the sum of a row's magnitudes: 1 for a camera, 2.02 for linear sRGB."""
_BLOCK = 2048
_QUICK, _SURE, _SWEEPS = 5, 40, 40
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_WHOLE = 1.5 * 2.0**30
"""What is added to this and taken off again is a whole multiple of 2^-22."""


def blocks(size: int) -> list[slice]:
    """Pixels 0 to ``size`` in parts whose spectra stay in the processor's cache."""
    return [slice(at, min(at + _BLOCK, size)) for at in range(0, size, _BLOCK)]


def clipped(values: Values) -> Values:
    """Values within the stored range."""
    clipped: Values = np.clip(values, values.dtype.type(0), values.dtype.type(PEAK))
    return clipped


def farthest(residual: Values) -> Values:
    """The largest magnitude (n,) of the three bands of a residual (3, n)."""
    most: Values = np.maximum(np.maximum(abs(residual[0]), abs(residual[1])), abs(residual[2]))
    return most


def residual(s: Values, values: NDArray[Any], rgb: Values) -> Values:
    """What ``rgb`` (3, n) has beyond what ``values``, or counts of them, render to."""
    # Whole multiples of 2^-26 times such of 2^-22, or counts: float64 sums them exactly, so that
    # the order in which a matrix product adds, which depends on where a pixel stands, cannot show.
    counts = values.dtype.kind == "u"
    whole = values.astype(np.float64) if counts else np.add(values, _WHOLE, dtype=np.float64)
    if not counts:
        whole -= _WHOLE
    seen = np.rint(s * 2.0**26) / 2.0**26 @ whole
    rest: Values = (rgb - (SCALE * seen if counts else seen)).astype(rgb.dtype)
    return rest


def _moved(s: Values, start: Values, by: Values) -> Values:
    """``start`` + s^T ``by``, by (3, n)."""
    moved: Values = start + s[0][:, None] * by[0] + s[1][:, None] * by[1] + s[2][:, None] * by[2]
    return moved


def _newton(s: Values, moved: Values, rest: Values, damping: Values | float) -> Values:
    """The step (3, n) after which what is not at a limit would render to ``rest`` more."""
    free = (moved >= 0) & (moved <= PEAK)
    # As in `residual`: sums of these are exact.
    products = np.rint([s[i].astype(np.float64) * s[j] * 2.0**46 for i, j in _PAIRS]) / 2.0**46
    a, b, c, d, e, f = products @ free + damping * products.sum(axis=1)[:, None]
    # The inverse of a symmetric matrix by its cofactors.
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    x, y, z = rest.astype(np.float64)
    step = np.stack([aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z])
    solved: Values = (step / (a * aa + b * ab + c * ac)).astype(s.dtype)
    return solved


def quick(s: Values, start: Values, rgb: Values) -> tuple[Values, Values]:
    """The nearest to ``start`` that close, by Newton's method on the dual: a few steps for most.

    min |x - start|^2 with s x = rgb and 0 <= x <= PEAK has the solution x = clip(start + s^T l):
    three unknowns a pixel. Returns the spectra, and how far each is off.
    """
    out, seen = np.empty_like(start), np.full(start.shape[1], np.inf, start.dtype)
    at, by, moved = np.arange(start.shape[1]), np.zeros_like(rgb), start
    rest = residual(s, clipped(start), rgb)
    with np.errstate(all="ignore"):
        for _ in range(_QUICK):
            by = by + _newton(s, moved, rest, 1e-6)
            moved = _moved(s, start, by)
            spectra = clipped(moved)
            rest = residual(s, spectra, rgb)
            out[:, at], seen[at] = spectra, farthest(rest)
            left = ~(seen[at] <= CLOSED)
            if not left.any():
                break
            at, start, rgb, by = at[left], start[:, left], rgb[:, left], by[:, left]
            moved, rest = moved[:, left], rest[:, left]
    return out, seen


def sure(s: Values, start: Values, rgb: Values) -> Values:
    """Between the nearest that closes with no limits and the smallest within them.

    Both render to the colour, so all between them do; the first within the limits is taken. From
    zero the dual is solved for every colour there is, however far off ``start`` is.
    """
    least = _smallest(s, rgb)
    free = _moved(s, start, _newton(s, np.zeros_like(start), residual(s, start, rgb), 0.0))
    toward = least - free
    with np.errstate(all="ignore"):
        needed = np.where(
            free < 0, -free / toward, np.where(free > PEAK, (PEAK - free) / toward, 0)
        )
    share = np.clip(np.nan_to_num(needed, nan=1.0, posinf=1.0), 0, 1).max(axis=0)
    return clipped(free + share * toward)


def _smallest(s: Values, rgb: Values) -> Values:
    """The spectra of least square that close: steps are damped more where they went too far."""
    zero = np.zeros((s.shape[1], 1))
    out, at = np.zeros((s.shape[1], rgb.shape[1])), np.arange(rgb.shape[1])
    by, damping = np.zeros_like(rgb), np.full(rgb.shape[1], 1e-4)
    moved, rest = out.copy(), rgb
    for _ in range(_SURE):
        step = _newton(s, moved, rest, damping)
        next_moved = _moved(s, zero, by + step)
        next_rest = residual(s, clipped(next_moved), rgb)
        # Nearer, or not yet past the best along the step: then the dual has gained.
        gains = (next_rest**2).sum(axis=0) < (rest**2).sum(axis=0)
        gains |= (next_rest * step).sum(axis=0) >= 0
        by = np.where(gains, by + step, by)
        moved, rest = np.where(gains, next_moved, moved), np.where(gains, next_rest, rest)
        damping = np.where(gains, np.maximum(damping / 10, 1e-7), damping * 10)
        out[:, at] = clipped(moved)
        if not (left := farthest(rest) > CLOSED / 4).any():
            break
        at, by, damping, rgb = at[left], by[:, left], damping[left], rgb[:, left]
        moved, rest = moved[:, left], rest[:, left]
    return out


def swept(s: Values, start: Values, rgb: Values) -> Values:
    """From ``start`` towards the nearest colour there is: one wavelength after the other."""
    out = clipped(start)
    rest = residual(s, out, rgb)
    for _ in range(_SWEEPS):
        for column, plane in zip(s.T, out, strict=True):
            if (power := column @ column) > 0:
                wanted = (
                    plane
                    + (column[0] * rest[0] + column[1] * rest[1] + column[2] * rest[2]) / power
                )
                rest -= column[:, None] * ((moved := clipped(wanted)) - plane)
                plane[:] = moved
    return out
