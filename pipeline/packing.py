"""Reflectance as it is stored, and back: whole counts of 1e-4, or floats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.layout import NODATA, PEAK, SCALE

CACHED = 2**18
"""Values of 16 bits, twice, and of 32 bits that a processor's second cache holds."""


def quantise(
    values: NDArray[np.float32], valid: NDArray[np.bool_], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The stored values (wavelength, height, width) of reflectance: clipped, rounded, nodata.

    Raises Refusal for a valid value that is not finite, and for another type of storage.
    """
    dtype = np.dtype(dtype)
    _refuse_type(dtype)
    whole = bool(valid.all())
    known = values if whole else np.where(valid, values, np.float32(0))
    stored, total = np.empty(values.shape, dtype), 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for few in planes(values):
            total += float(known[few].sum())
            clipped = np.clip(known[few], np.float32(0), np.float32(PEAK))
            if dtype == np.uint16:
                np.multiply(clipped, np.float32(1 / SCALE), out=clipped)
                np.rint(clipped, out=stored[few], casting="unsafe")
            else:
                stored[few] = clipped
    # A sum of finite values may overflow, so only then is each looked at.
    if not np.isfinite(total) and not np.isfinite(known).all():
        raise not_finite()
    if not whole:
        stored[:, ~valid] = NODATA[dtype.name]
    return stored


def _refuse_type(dtype: np.dtype[Any]) -> None:
    if dtype not in (np.uint16, np.float32):
        fix = "Take them as they are stored."
        raise Refusal("stored values are uint16 or float32, of this machine", dtype, fix)


def planes(values: NDArray[Any]) -> Iterator[slice]:
    """As many wavelengths of values (wavelength, height, width) at a time as a cache holds.

    Not one by one: threads hand the interpreter on at each call, which takes longer than a plane.
    """
    count, size = len(values), math.prod(values.shape[1:])
    step = max(1, CACHED // max(1, size))
    return (slice(at, min(at + step, count)) for at in range(0, count, step))


def not_finite() -> Refusal:
    """Of a valid value that is not finite."""
    rule, fix = "reflectance is finite", "Use fp32 precision or another checkpoint."
    return Refusal(rule, "NaN or infinity at a valid pixel", fix)


def unpack(raw: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Reflectance (wavelength, height, width) of stored values, NaN where invalid, and valid.

    Raises Refusal for values of another type: they would be of another unit.
    """
    _refuse_type(raw.dtype)
    if raw.dtype == np.float32:
        return raw, ~np.isnan(raw[0])
    valid = raw[0] != NODATA["uint16"]
    values = np.divide(raw, np.float32(1 / SCALE), dtype=np.float32)
    values[:, ~valid] = np.nan
    return values, valid
