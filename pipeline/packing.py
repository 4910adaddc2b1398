"""Reflectance as it is stored, and back: whole counts of 1e-4, or floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.layout import NODATA, PEAK, SCALE


def quantise(
    values: NDArray[np.float32], valid: NDArray[np.bool_], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The stored values (wavelength, height, width) of reflectance: clipped, rounded, nodata.

    Raises Refusal for a valid value that is not finite.
    """
    whole = bool(valid.all())
    known = values if whole else np.where(valid, values, np.float32(0))
    stored, total = np.empty(values.shape, dtype), 0.0
    # A wavelength at a time stays in the processor's cache.
    plane = np.empty(values.shape[1:], np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for one, out in zip(known, stored, strict=True):
            total += float(one.sum())
            np.clip(one, np.float32(0), np.float32(PEAK), out=plane)
            if dtype == np.uint16:
                np.rint(np.multiply(plane, np.float32(1 / SCALE), out=plane), out=plane)
            np.copyto(out, plane, casting="unsafe")
    # A sum of finite values may overflow, so only then is each looked at.
    if not np.isfinite(total) and not np.isfinite(known).all():
        raise not_finite()
    if not whole:
        stored[:, ~valid] = NODATA[dtype.name]
    return stored


def not_finite() -> Refusal:
    """Of a valid value that is not finite."""
    rule, fix = "reflectance is finite", "Use fp32 precision or another checkpoint."
    return Refusal(rule, "NaN or infinity at a valid pixel", fix)


def unpack(raw: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Reflectance (wavelength, height, width) of stored values, NaN where invalid, and valid."""
    if raw.dtype == np.float32:
        return raw, ~np.isnan(raw[0])
    valid = raw[0] != NODATA["uint16"]
    values = np.divide(raw, np.float32(1 / SCALE), dtype=np.float32)
    values[:, ~valid] = np.nan
    return values, valid
