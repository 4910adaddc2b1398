"""The field of start noise: a pure function of seed, sample, wavelength, row and column.

A counter-based hash, so that any window can be cut out without making the rest, and only
integer operations and one table, so that every machine computes the same bits.
"""

from __future__ import annotations

import math
from functools import cache
from hashlib import blake2b
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.grid import Window

_LEVELS = 2**16  # normal quantiles: one 32-bit hash serves two wavelengths, 16 bits each


def noise(window: Window, channels: int, seed: int, sample: int = 0) -> NDArray[np.float32]:
    """Standard normal noise (channels, height, width) of the scene's pixels in `window`.

    The same pixel has the same value in every window that holds it. Rows and columns count
    modulo 2**32; seed and sample are any integers.
    """
    out = np.empty((channels, window.height, window.width), np.float32)
    index = np.empty(out.shape[1:], np.intp)
    scratch = np.empty(out.shape[1:], np.uint32)
    for first in range(0, channels, 2):
        bits = _bits(window, f"{seed}/{sample}/{first // 2}", scratch)
        np.bitwise_and(bits, _LEVELS - 1, out=index)
        _look_up(index, out[first])
        if first + 1 < channels:
            np.right_shift(bits, 16, out=index)
            _look_up(index, out[first + 1])
    return out


def fields(window: Window, channels: int, seed: int, count: int) -> NDArray[np.float32]:
    """Noise of samples 0 to ``count``, one after the other (count * channels, height, width)."""
    out = np.empty((count * channels, window.height, window.width), np.float32)
    for sample in range(count):
        start = sample * channels
        out[start : start + channels] = noise(window, channels, seed, sample)
    return out


def _bits(window: Window, plane: str, scratch: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Hash (height, width) of the window's pixels in one named plane.

    Rows and columns are hashed apart first: a one-to-one hash each, so no two rows of a plane
    share a key, and one more round mixes the two.
    """
    row_key, col_key = np.frombuffer(blake2b(plane.encode(), digest_size=8).digest(), "<u4")
    rows = _counters(window.row, window.row_stop, row_key)
    cols = _counters(window.col, window.col_stop, col_key)
    bits = np.bitwise_xor.outer(rows, cols)
    _mix(bits, scratch)
    return bits


def _counters(start: int, stop: int, key: np.uint32) -> NDArray[np.uint32]:
    hashed = np.arange(start, stop, dtype=np.int64).astype(np.uint32) ^ key
    _mix(hashed, np.empty_like(hashed))
    return hashed


def _mix(bits: NDArray[np.uint32], scratch: NDArray[np.uint32]) -> None:
    """Hash in place: lowbias32 of github.com/skeeto/hash-prospector (public domain)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        np.right_shift(bits, shift, out=scratch)
        np.bitwise_xor(bits, scratch, out=bits)
        if factor != 1:
            np.multiply(bits, np.uint32(factor), out=bits)


def _look_up(index: NDArray[np.intp], out: NDArray[np.float32]) -> None:
    # No index is out of range; the mode only spares numpy a check and a copy.
    np.take(_quantiles(), index, out=out, mode="clip")


@cache
def _quantiles() -> NDArray[np.float32]:
    """Normal quantiles (65536,) at mid points, mirrored for mean 0, scaled to variance 1."""
    inverse = NormalDist().inv_cdf
    lower = [inverse((i + 0.5) / _LEVELS) for i in range(_LEVELS // 2)]
    # fsum: exact whatever the machine's order of summation.
    deviation = math.sqrt(math.fsum(q * q for q in lower) / len(lower))
    half = np.array([q / deviation for q in lower])
    return np.concatenate([half, -half[::-1]]).astype(np.float32)
