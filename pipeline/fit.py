"""A camera fitted to a picture of a colour chart."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import (
    COLUMNS,
    SRGB,
    Camera,
    Encoding,
    Floats,
    library,
    load_camera,
    resampled,
)
from pipeline.chart import NEUTRAL, chart_reflectances, corners_of, read_chart
from pipeline.curve import declared, encoded, end, from_srgb
from pipeline.errors import Refusal
from pipeline.scene import RasterScene

UNEXPLAINED = 0.05
"""Largest root mean square error of a channel, in reflectance, that is called a fit."""

MOST_BLACK = 0.01
"""Raw value of black, over white, that may be glare; a black level is more."""


class Fit(NamedTuple):
    """A camera, and how well it explains the chart."""

    camera: Camera
    white: tuple[float, float, float]
    """Pixel value of reflectance 1, of red, green and blue."""
    rms: float
    """Root mean square, over patches, of what the camera does not explain: the worst channel's."""


def fit_picture(source: str, corners: str, encoding: str) -> Fit:
    """The camera, at the library's wavelengths, that took a picture of the classic chart.

    ``corners`` is eight numbers with commas; see `read_chart`. Raises Refusal.
    """
    if encoding not in ("srgb", "linear"):
        raise Refusal("the encoding must be srgb or linear", encoding, "Give --encoding.")
    wavelengths = load_camera(SRGB).wavelengths
    reflectances = chart_reflectances(wavelengths)
    scene = RasterScene.open(source)
    if scene.colours == "other" and encoding == "srgb":
        rule, fix = "a chart's picture in sRGB says nothing else", "Convert it, or give --encoding."
        raise Refusal(rule, f"{source}, whose header may say other colours", fix)
    values = read_chart(scene, corners_of(corners))
    kind: Encoding = "srgb" if encoding == "srgb" else "linear"
    said = None if scene.dtype == np.uint8 else declared(scene.declared_white, scene.declared_end)
    return fit(values, reflectances, wavelengths, kind, scene.dtype, said)


def fit(
    values: NDArray[np.float64],
    reflectances: NDArray[np.float64],
    wavelengths: tuple[float, ...],
    encoding: Encoding,
    dtype: np.dtype[Any],
    ends: float | None = None,
) -> Fit:
    """The camera that explains pixel ``values`` (3, 24) of ``reflectances`` (wavelengths, 24).

    ``dtype`` is the picture's, and where sRGB's curve ``ends`` in it, if it says so; NaN, what is
    clipped, is left out. White is read, as light, off the grey patches as the prior's mean sees
    them, which hardly depends on the camera. Each channel is then the most probable one, patches
    being seen with some error, under a Gaussian prior: for linear pixel values what cameras of the
    library are like, whose sensitivities are a space of few dimensions (Jiang et al., WACV 2013);
    for sRGB, a finished photograph, a 3 x 3 matrix near the identity on linear sRGB. What it finds
    includes the picture's light. Raises Refusal where the picture is no such chart, or its grey is
    clipped.
    """
    known = ~np.isnan(values)
    _refuse_clipped(known[:, NEUTRAL])
    means, covariances = _finished(wavelengths) if encoding == "srgb" else _raw(wavelengths)
    # Not their mean over wavelengths: grey paint is darker below 430 nm, where cameras see little.
    grey = means @ reflectances[:, NEUTRAL]
    last = (ends or end(dtype, float(np.nanmax(values)))) if encoding == "srgb" else 1.0
    shares = (np.where(known, values, 0) / last).astype(np.float32)
    light = from_srgb(shares) if encoding == "srgb" else shares
    white = _white(light[:, NEUTRAL], grey)
    seen = light / white[:, None]
    fitted = (
        _channel(seen[c, there], reflectances.compress(there, axis=1), means[c], covariances[c])
        for c, there in enumerate(known)
    )
    # Raw values are counts of light; a finished photograph's come from differences too.
    least = 0 if encoding == "linear" else -np.inf
    rows = np.maximum(np.stack(list(fitted)), least)
    rows = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    whites = last * encoded(white.astype(np.float32)) if encoding == "srgb" else white
    red, green, blue = whites.tolist()
    camera = Camera("chart", wavelengths, rows, encoding, (red, green, blue))
    missed = camera.render(reflectances.astype(np.float32)) - seen
    rms = float(np.sqrt((missed**2).mean(axis=1, where=known)).max())
    if rms > UNEXPLAINED:
        rule = f"a camera must explain the chart's patches to {UNEXPLAINED} on average"
        raise Refusal(rule, f"{rms:.3f}", "Check --corners, their order, and --encoding.")
    if encoding == "linear":
        _refuse_offset(light[:, NEUTRAL], grey)
    elif ends is None:
        _refuse_other_end(dtype, last, max(red, green, blue))
    return Fit(camera, (red, green, blue), rms)


def _refuse_clipped(grey: NDArray[np.bool_]) -> None:
    """Refuse grey patches (3, 6) that are not all known."""
    if clipped := [COLUMNS[1 + c] for c, known in enumerate(grey) if not known.all()]:
        rule = "the chart's grey patches, which tell white, must not be clipped"
        raise Refusal(rule, " and ".join(clipped), "Expose less, or check the corners.")


def _white(light: NDArray[Any], grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light (3,) of white, of that of grey patches (3, 6), of which white's share is ``grey``."""
    white: NDArray[np.float64] = (light * grey).sum(axis=1) / (grey**2).sum(axis=1)
    if not (white > 0).all():
        raise Refusal("the chart's grey patches must be lit", white.tolist(), "Check the corners.")
    return white


def _refuse_offset(light: NDArray[Any], grey: NDArray[np.float64]) -> None:
    """Refuse raw values of grey patches (3, 6) that are not proportional to their ``grey``."""
    for values, shares in zip(light, grey, strict=True):
        white, black = np.polyfit(shares, values, 1)
        if black > MOST_BLACK * white:
            rule, fix = "raw values have the black level taken off", "Take it off."
            raise Refusal(rule, f"{black:.0f} where white is {black + white:.0f}", fix)


def _refuse_other_end(dtype: np.dtype[Any], last: float, white: float) -> None:
    """Refuse sRGB values taken to end at ``last`` whose ``white`` would have them end elsewhere."""
    # A run knows the white alone: it would bend them by another curve than they were read by.
    if (other := end(dtype, white)) != last:
        rule = "sRGB values end where their white says"
        found = f"{dtype} values to {last:g} of white {white:.4g}, which says {other:g}"
        raise Refusal(rule, found, "Convert the picture to 8 bits, or to the whole of 16.")


_NOISE = 0.01
"""Standard deviation of a patch's value that no camera explains: print, glare, uneven light."""
_MATRIX = 0.2
"""Standard deviation of what a finished photograph's 3 x 3 matrix differs from the identity."""

Prior = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Means (3, wavelengths) and covariances (3, wavelengths, wavelengths) of the channels."""


def _raw(wavelengths: tuple[float, ...]) -> Prior:
    known = [resampled(load_camera(name), wavelengths) for name in library() if name != SRGB]
    rows = np.stack([camera.sensitivities for camera in known]).astype(np.float64)
    return rows.mean(axis=0), np.stack([np.cov(rows[:, c], rowvar=False) for c in range(3)])


def _finished(wavelengths: tuple[float, ...]) -> Prior:
    rows = resampled(load_camera(SRGB), wavelengths).sensitivities.astype(np.float64)
    return rows, np.stack([_MATRIX**2 * rows.T @ rows] * 3)


def _channel(
    seen: Floats,
    reflectances: NDArray[np.float64],
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The most probable sensitivity (wavelengths,)."""
    across = covariance @ reflectances
    noise = _NOISE**2 * np.eye(reflectances.shape[1])
    gain = np.linalg.solve(reflectances.T @ across + noise, seen - reflectances.T @ mean)
    return mean + across @ gain


def write_camera(camera: Camera, path: Path, about: str) -> None:
    """Write a camera as a CSV that `load_camera` reads, below a comment."""
    table = zip(camera.wavelengths, *camera.sensitivities.tolist(), strict=True)
    rows = [",".join(f"{value:.7g}" for value in row) for row in table]
    path.write_text("\n".join([f"# {' '.join(about.split())}", ",".join(COLUMNS), *rows, ""]))
