"""What is known of each pixel beside its spectrum: quality, closure, uncertainty; and their census.

Counts of them are whole numbers a chunk, so that no partition, order or kill changes their sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.closure import FAR, Closure
from pipeline.layout import NODATA, CubeSpec, add_array, georeferenced
from pipeline.overview import Halve, factors, halved
from pipeline.overview import name as level_name
from pipeline.seam import Counts, percentile

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

FLAGS = {"saturated": 1, "near_black": 2, "outside_gamut": 4, "context_filled": 8}
"""Bits of the layer `quality`."""
DARK = np.float32(0.002)
"""Near black: all bands below this linear value, which in 8 bits of sRGB are 6 steps from 0."""
CLOSURE = 1e-5
"""Of one count of the layer `closure`."""
SIGMA_FLOOR, SIGMA_STEP = 1e-4, float(np.log(1e4) / 254)
"""A code of the layer `uncertainty` is the deviation floor x exp(step x code): 254 is 1 or more."""
MEAN_SIGMA = 2e-5
"""Of one count of the overviews of `uncertainty`, of which 1 is the most."""
_UNKNOWN = {"uint8": 255, "uint16": 65535}
EDGES = np.unique(np.round(2 ** (np.arange(65) / 4)).astype(np.int64))
EDGES = np.unique(np.concatenate([np.arange(1, 33), EDGES[EDGES > 32]]))
"""Lower edges of the histogram of closure: a count each up to 32, then four an octave."""
CENSUS = 2 + len(FLAGS) + len(EDGES) + 1
"""Fields of a record: valid pixels; those of each flag; of valid pixels inside the gamut the sum of
closure and its histogram, whose first bin is 0."""
_UNTOLD = -1
"""For the count of saturated pixels where nobody knows where values end."""
_BIN_OF = np.searchsorted(EDGES, np.arange(65536), side="right").astype(np.uint8)


_SIGMA = (SIGMA_FLOOR * np.exp(SIGMA_STEP * np.arange(256))).astype(np.float32)
"""Of each code."""


def _thinned(stored: NDArray[Any]) -> NDArray[Any]:
    """Every second pixel: flags have no mean, and so their shares stay."""
    return stored[:, ::2, ::2]


def _mean_sigma(stored: NDArray[Any]) -> NDArray[Any]:
    """Of codes (wavelength, h, w) the mean deviation of squares, of such means (1, h, w) theirs."""
    if stored.dtype != np.uint8:
        return halved(stored)
    total = np.zeros(stored.shape[1:], np.float32)
    for codes in stored:
        total += _SIGMA[codes]
    counts = np.rint(total * np.float32(1 / MEAN_SIGMA / len(stored)))
    unknown = stored[0] == _UNKNOWN["uint8"]
    return halved(np.where(unknown, NODATA["uint16"], counts).astype(np.uint16)[None])


COARSER: dict[str, Halve] = {
    "quality": _thinned,
    "closure": halved,
    "uncertainty": _mean_sigma,
}
"""Layers that have overviews, and how one level is made from the one before."""


class Layers(NamedTuple):
    """Of one chunk."""

    quality: Bytes
    """(h, w), bits as in FLAGS; 0 where invalid."""
    closure: NDArray[np.uint16]
    """(h, w), largest residual of the three bands in counts of 1e-5; 65535 where invalid."""
    uncertainty: Bytes | None
    """(wavelength, h, w), standard deviation's code; 255 where invalid."""
    census: Counts
    """(CENSUS,)."""


class Seen(NamedTuple):
    """What a chunk's pixels were made from."""

    rgb: Floats
    """(3, h, w), linear."""
    valid: Mask
    """(h, w)."""
    filled: Mask
    """(h, w), whether a tile over the pixel had masked pixels."""
    top: Floats
    """Linear values (3, 1, 1) at which the encoding ends."""
    floats: bool = False
    """Whether pixel values are floats."""


def layers(off: Floats, seen: Seen, closure: Closure, deviation: Floats | None = None) -> Layers:
    """Layers of a chunk: how far what is stored is ``off`` (h, w), and its deviation, reflectance.

    The deviation is (wavelength, h, w), None where none was asked for.
    """
    valid = seen.valid
    residual = np.where(valid, off, np.float32(0))
    at_end = seen.rgb >= seen.top
    if seen.floats:  # what goes on beyond an end has none
        at_end &= seen.rgb <= seen.top * np.float32(1 + 1e-6)
    saturated: Mask = np.any(at_end, axis=0)
    flags: dict[str, Mask] = {
        "saturated": saturated,
        "near_black": seen.rgb.max(axis=0) < DARK,
        "outside_gamut": np.zeros(valid.shape, bool),
        "context_filled": seen.filled,
    }
    far = valid & (residual > FAR)
    flags["outside_gamut"][far] = closure.outside(seen.rgb[:, far])
    quality = np.zeros(valid.shape, np.uint8)
    for name, bit in FLAGS.items():
        quality |= np.where(flags[name] & valid, np.uint8(bit), np.uint8(0))
    counts = np.rint(np.minimum(residual, np.float32(0.65534)) * np.float32(1 / CLOSURE))
    counts = np.where(valid, counts, 65535).astype(np.uint16)
    code = None if deviation is None else _code(deviation, valid)
    return Layers(quality, counts, code, _census(quality, counts, valid, seen.top))


def _code(deviation: Floats, valid: Mask) -> Bytes:
    known = np.maximum(np.where(valid, deviation, np.float32(1)), np.float32(SIGMA_FLOOR))
    code = np.log(known / np.float32(SIGMA_FLOOR)) * np.float32(1 / SIGMA_STEP)
    coded = np.rint(np.minimum(code, np.float32(254))).astype(np.uint8)
    coded[:, ~valid] = _UNKNOWN["uint8"]
    return coded


def _census(quality: Bytes, closure: NDArray[np.uint16], valid: Mask, top: Floats) -> Counts:
    flagged = [int(np.count_nonzero(quality & bit)) for bit in FLAGS.values()]
    if np.isinf(top).any():
        flagged[0] = _UNTOLD
    inside = closure[valid & (quality & FLAGS["outside_gamut"] == 0)]
    bins = np.bincount(_BIN_OF[inside], minlength=len(EDGES) + 1)
    start = [int(valid.sum()), *flagged, int(inside.sum(dtype=np.int64))]
    return np.concatenate([np.array(start, np.int64), bins])


def certificate(census: Counts) -> dict[str, Any]:
    """What a census says: shares of the valid pixels, and closure in linear RGB, white = 1.

    Closure is that of pixels inside the camera's gamut; its percentile and maximum are upper edges
    of bins, exact up to 3.2e-4. None where there was no pixel, and for saturated ones where nobody
    knows where pixel values end.
    """
    pixels, bins = int(census[0]), census[2 + len(FLAGS) :]
    flagged = zip(FLAGS, census[1 : 1 + len(FLAGS)], strict=True)
    inside = int(bins.sum())
    mean = float(census[1 + len(FLAGS)]) * CLOSURE / inside if inside else None
    return {
        "pixels": pixels,
        **{name: int(count) / pixels if pixels and count >= 0 else None for name, count in flagged},
        "closure_mean": mean,
        "closure_p99": percentile(bins, EDGES, 0.99) * CLOSURE if inside else None,
        "closure_max": percentile(bins, EDGES, 1) * CLOSURE if inside else None,
    }


def lay_out(group: zarr.Group, spec: CubeSpec) -> None:
    """Create the layers' arrays, without values."""
    meanings = {
        "flag_masks": list(FLAGS.values()),
        "flag_meanings": " ".join(FLAGS),
        "long_name": "quality bits",
        "near_black_below": float(DARK),
    }
    sigma = {
        "long_name": "code of the standard deviation of reflectance, which is "
        "log_floor * exp(log_step * code): of 0 that or less, of 254 that or more",
        "log_floor": SIGMA_FLOOR,
        "log_step": SIGMA_STEP,
    }
    residual = {
        "long_name": "largest difference of a band between the cube rendered and the input, of "
        "0.65534 that or more",
        "units": "1",
        "scale_factor": CLOSURE,
    }
    _add(group, "valid", spec, {"long_name": "1 where the cube has values"})
    _add(group, "quality", spec, meanings)
    _add(group, "closure", spec, residual, "uint16")
    mean = {"long_name": "mean over wavelengths and pixels of the standard deviation", "units": "1"}
    coarse: dict[str, tuple[dict[str, Any], str]] = {
        "quality": (meanings | {"long_name": "quality bits of one pixel of each square"}, "uint8"),
        "closure": (residual | {"long_name": f"mean of {residual['long_name']}"}, "uint16"),
    }
    if spec.spread:
        _add(group, "uncertainty", spec, sigma)
        coarse["uncertainty"] = (mean | {"scale_factor": MEAN_SIGMA}, "uint16")
    for factor in factors(spec.height, spec.width, spec.chunk):
        for layer, (about, dtype) in coarse.items():
            _add(group, level_name(factor, layer), spec, about, dtype, factor)


def _add(
    group: zarr.Group,
    name: str,
    spec: CubeSpec,
    about: dict[str, Any],
    dtype: str = "uint8",
    factor: int = 1,
) -> None:
    bands = (len(spec.wavelengths),) if name == "uncertainty" else ()
    array: dict[str, Any] = {"dtype": dtype}
    if dtype == "uint16" or bands:
        array["fill_value"] = _UNKNOWN[dtype]
        about = about | ({"_FillValue": _UNKNOWN[dtype]} if spec.zarr_format == 3 else {})
    else:
        # In v2 readers take any fill value for nodata, and these have none.
        array["fill_value"] = None if spec.zarr_format == 2 else 0
    axes = ("y", "x") if factor == 1 else (f"y_{factor}", f"x_{factor}")
    dimensions = (*(("wavelength",) if bands else ()), *axes)
    array["shape"] = (*bands, -(-spec.height // factor), -(-spec.width // factor))
    array["chunks"] = (*bands, spec.chunk, spec.chunk)
    add_array(group, name, dimensions, about | georeferenced(spec, factor=factor), **array)
