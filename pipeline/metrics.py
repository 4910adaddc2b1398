"""How far an estimated cube is from its reference. Arrays are (wavelength, row, col).

Sums run in float64 over the arrays as they are indexed, so their layout in memory is no matter.
NaN in either array gives NaN. `pipeline.scores` adds the same up in parts.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from pipeline.errors import Refusal

FLOOR = 0.01
"""The least reference value that an error is divided by, in `mrae`."""
SSIM_SIDE = 11

Array = NDArray[np.floating]
Doubles = NDArray[np.float64]


def score(estimate: Array, reference: Array) -> dict[str, float]:
    """All metrics by name: mrae, rmse, psnr (dB), sam (degrees), ssim, ergas.

    Raises Refusal where the shapes differ, or an image is too small for `ssim`.
    """
    x, y = pair(estimate, reference)
    return {metric.__name__: metric(x, y) for metric in (mrae, rmse, psnr, sam, ssim, ergas)}


def mrae(estimate: Array, reference: Array, floor: float = FLOOR) -> float:
    """Mean relative absolute error: ``mean(|x - y| / max(y, floor))``.

    The metric of NTIRE 2022 (Arad et al., CVPRW 2022) but for the floor: it has none (0 here), and
    is infinite where a reference is 0, as in CAVE. Name the floor wherever you quote the figure.
    """
    return float(relative(*pair(estimate, reference), floor).mean())


def rmse(estimate: Array, reference: Array) -> float:
    """Root mean square error, ``sqrt(mean((x - y)^2))``, in units of reflectance."""
    x, y = pair(estimate, reference)
    return math.sqrt(np.mean(np.square(x - y)))


def psnr(estimate: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB, ``-10 log10(mean((x - y)^2))``; inf where x equals y.

    As MST++ (Cai et al., CVPRW 2022) has it: both are clipped to [0, 1], the peak is 1, and the
    mean is one over all wavelengths and pixels, not a mean of a ratio of each wavelength.
    """
    x, y = pair(estimate, reference)
    return decibels(float(np.mean(np.square(np.clip(x, 0, 1) - np.clip(y, 0, 1)))))


def sam(estimate: Array, reference: Array) -> float:
    """Spectral angle in degrees, ``mean(arccos(<x, y> / (|x| |y|)))`` over pixels.

    Spectral angle mapper, Kruse et al., Remote Sensing of Environment 44 (1993). A zero spectrum
    has no direction: it is 0 degrees from another one, and 90 from all else.
    """
    return float(angles(*pair(estimate, reference)).mean())


def ssim(estimate: Array, reference: Array) -> float:
    """Structural similarity of each wavelength's image, then their mean; 1 where x equals y.

    Wang et al., IEEE TIP 13 (2004), by scikit-image with the paper's settings, which are not its
    defaults: a Gaussian window of 11 x 11 pixels and sigma 1.5, population covariance; range 1,
    nothing clipped. The mean is over windows that lie inside the image. Raises Refusal for an
    image smaller than one.
    """
    x, y = pair(estimate, reference)
    if min(x.shape[1:]) < SSIM_SIDE:
        rule = f"an image for SSIM has at least {SSIM_SIDE} pixels a side"
        raise Refusal(rule, x.shape[1:], "Score a larger scene.")
    return float(np.mean([similarities(a, b).mean() for a, b in zip(x, y, strict=True)]))


def ergas(estimate: Array, reference: Array) -> float:
    """Relative dimensionless global error, ``100 sqrt(mean_w(mse_w / mean(y_w)^2))``.

    Wald (2002), with a ratio of resolutions of 1, as both cubes have one pixel size.
    """
    x, y = pair(estimate, reference)
    return relative_global(np.square(x - y).mean(axis=(1, 2)), y.mean(axis=(1, 2)))


def pair(estimate: Array, reference: Array) -> tuple[Doubles, Doubles]:
    """Both in float64. Raises Refusal where their shapes differ."""
    x, y = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if x.shape != y.shape or x.ndim != 3:
        rule = "estimate and reference have one shape (wavelength, row, col)"
        raise Refusal(rule, f"{x.shape} and {y.shape}", "Compare the same window and wavelengths.")
    return x, y


def relative(x: Doubles, y: Doubles, floor: float) -> Doubles:
    """``|x - y| / max(y, floor)`` of each value; infinite or NaN where it divides by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(x - y) / (np.maximum(y, floor) if floor else y)


def decibels(square: float) -> float:
    """Of a mean square error, with a peak of 1; inf for 0."""
    return -10 * math.log10(square) if square else math.inf


def angles(x: Doubles, y: Doubles) -> Doubles:
    """Degrees of pixels (...) of spectra (wavelength, ...)."""
    x_norm, y_norm = np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0)
    norms = x_norm * y_norm
    cosine = np.where(x_norm == y_norm, 1.0, 0.0)
    np.divide(np.einsum("w...,w...->...", x, y), norms, out=cosine, where=norms != 0)
    degrees: Doubles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return degrees


def similarities(x: Doubles, y: Doubles) -> Doubles:
    """SSIM of every window inside an image (rows, cols)."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity: Callable[..., Any] = structural_similarity
    whole: Doubles = similarity(x, y, data_range=1.0, full=True, **options)[1]
    edge = SSIM_SIDE // 2
    return whole[edge:-edge, edge:-edge]


def relative_global(squares: Doubles, means: Doubles) -> float:
    """ERGAS of each wavelength's mean square error and mean reference (wavelengths,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * math.sqrt(np.mean(squares / np.square(means)))
