"""sRGB (IEC 61966-2-1): its primaries, and its curve from light to pixel values and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal

Floats = NDArray[np.float32]

_ENDS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Of 8, 10, 12, 14 and 16 bits."""
_FLOATS = {1.0: 16.0, 255.0: 4096.0, 65535.0: np.inf}
"""Where floats end, by what white is below."""

# IEC 61966-2-1: linear sRGB from CIE XYZ under D65.
_SRGB_FROM_XYZ = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
# Cone responses of the Bradford transform, by which a white is adapted to another.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])


def end(dtype: np.dtype[Any], white: float) -> float:
    """The pixel value at which the curve is 1, where ``white`` means reflectance 1.

    255 of 8 bits. Of others white's own where all its bits are set, as of 255 and 4095. Else a
    picture is darker or brighter than reflectance tells: of floats 1, or 255 from a white of 16 on,
    65535 from 4096 on; of whole ones the least end of 8, 10, 12, 14, 16 bits not below white.
    """
    if dtype == np.uint8:
        return _ENDS[0]
    if full(np.float32(white)):
        return white
    if dtype.kind == "f":
        return next(known for known, most in _FLOATS.items() if white < most)
    return next((known for known in _ENDS if white <= known), _ENDS[-1])


def declared(scale_end: float | None, bits_end: float | None) -> float | None:
    """Where an image says that sRGB's curve ends, by the value that its scale makes 1, or its bits.

    A scale is often rounded: what is within a thousandth of a value with all bits set is that.
    """
    if scale_end is None:
        return bits_end
    near = 2.0 ** np.rint(np.log2(scale_end + 1)) - 1
    return float(near) if near >= 1 and abs(scale_end / near - 1) < 1e-3 else scale_end


def refuse_beyond(values: NDArray[Any], last: np.float32) -> None:
    """Raise Refusal for whole values beyond the end of sRGB's curve, which was guessed then.

    Of floats they are light that is brighter than white.
    """
    if values.dtype.kind == "u" and values.size and (most := values.max()) > last:
        rule = f"values in sRGB end where its curve does: at {last:g}"
        nodata = f"If that is nodata, say so with gdal_edit.py -a_nodata {most}"
        fix = f"{nodata}, else give --white its value of all bits, as 4095."
        raise Refusal(rule, f"{most}", fix)


def full(value: Floats | np.float32) -> NDArray[np.bool_]:
    """Whether all bits of a pixel value of 8 or more are set."""
    bits = np.log2(value + 1)
    return np.asarray((bits == np.rint(bits)) & (value >= 255))


def from_srgb(value: Floats) -> Floats:
    """Encoded to linear, beyond 0 and 1 too."""
    # In float64, whose last bits, which differ between machines, the rounding hides.
    exact = value.astype(np.float64)
    bent = ((np.maximum(exact, 0) + 0.055) / 1.055) ** 2.4
    return np.where(exact <= 0.04045, exact / 12.92, bent).astype(np.float32)


def to_srgb(linear: Floats) -> Floats:
    """Linear to encoded; clips to [0, 1]."""
    return encoded(np.clip(linear, 0, 1))


def encoded(linear: Floats) -> Floats:
    """Linear to encoded, beyond 1 too."""
    bent = np.float32(1.055) * np.maximum(linear, 0) ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(linear <= 0.0031308, linear * np.float32(12.92), bent).astype(np.float32)


def srgb_of(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear sRGB (3, n) of CIE XYZ (3, n), whose sum, white, is adapted to D65 (Bradford)."""
    xyz = xyz / xyz[1].sum()
    to_d65 = np.diag((_BRADFORD @ _D65) / (_BRADFORD @ xyz.sum(axis=1)))
    rows: NDArray[np.float64] = _SRGB_FROM_XYZ @ np.linalg.inv(_BRADFORD) @ to_d65 @ _BRADFORD @ xyz
    return rows
