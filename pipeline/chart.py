"""A camera fitted to a picture of a colour chart."""

from collections.abc import Iterator
from itertools import product
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
from pipeline.curve import encoded, end, from_srgb
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import RasterScene, Scene

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
ROWS, COLS = 4, 6
"""Of the classic chart of 24 patches, dark skin top left, black bottom right."""
NEUTRAL = slice(18, 24)
"""Patches of its grey scale."""
INSIDE = 0.4
"""Share of the way to the next patch that is averaged."""
_ENDS = [1, *(2**bits - 1 for bits in range(8, 33))]
"""Pixel values at which a range ends, of floats and of 8 bits or more."""
_STRAY = 0.05
"""Share of a patch's pixels that may be where the values end, by noise or a hot pixel."""
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
    return fit(values, reflectances, wavelengths, kind, scene.dtype)


def corners_of(text: str) -> Corners:
    """Four corners, (column, row), from eight numbers with commas. Raises Refusal."""
    try:
        x0, y0, x1, y1, x2, y2, x3, y3 = map(float, text.split(","))
    except ValueError:
        fix = "Give column,row of dark skin, bluish green, black and white."
        raise Refusal("the chart's corners must be eight numbers", text, fix) from None
    return (x0, y0), (x1, y1), (x2, y2), (x3, y3)


def chart_reflectances(wavelengths: tuple[float, ...]) -> NDArray[np.float64]:
    """(wavelengths, 24) of the classic chart: the average of 30 charts measured by BabelColor.

    Needs colour-science, which carries them. Raises Refusal without it.
    """
    try:
        from colour import SDS_COLOURCHECKERS  # noqa: PLC0415 (an extra, and seconds to import)
    except ImportError:
        fix = "pip install 'r2h[colour]'."
        raise Refusal("the chart's reflectances come with colour-science", "no such", fix) from None
    patches = SDS_COLOURCHECKERS["BabelColor Average"].values()
    return np.stack([np.interp(wavelengths, p.wavelengths, p.values) for p in patches], axis=1)


def read_chart(scene: Scene, corners: Corners) -> NDArray[np.float64]:
    """(3, 24) mean pixel values of the patches, NaN where a channel is clipped in one of them.

    ``corners`` are (column, row) of the centres of the four patches at the chart's corners: dark
    skin, bluish green, black, white. Raises Refusal where a patch is outside or has nodata.
    """
    pixels = [_pixels(scene, *place) for place in patches(corners)]
    means = np.stack([patch.mean(axis=1, dtype=np.float64) for patch in pixels], axis=1)
    return np.where(_clipped(np.stack(pixels, axis=1)), np.nan, means)


def _clipped(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """(3, 24) whether more than stray ones of a patch's pixels (3, 24, n) are where values end.

    They end at a largest one of all bits set, as 255; or, in more than 8 bits, where a sensor may
    be full below that, at one that fills half of two patches, or of one while others show noise.
    """
    top = pixels.max(axis=(1, 2), keepdims=True)
    full = (pixels == top) & (top > 0)
    even = (pixels == pixels.max(axis=2, keepdims=True)).mean(axis=2)
    filled = (full.mean(axis=2) >= 1 / 2).sum(axis=1)
    flat = (filled > 1) | ((filled == 1) & (np.median(even, axis=1) < 1 / 2))
    ends = np.isin(top[:, 0, 0], _ENDS) | (flat & (pixels.dtype.itemsize > 1))
    clipped: NDArray[np.bool_] = (full.mean(axis=2) > _STRAY) & ends[:, None]
    return clipped


def patches(corners: Corners) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """Rows and columns (81,) of picture pixels within each of the 24 patches; see `read_chart`."""
    to_picture = _homography(corners)
    steps = np.linspace(-INSIDE / 2, INSIDE / 2, 9)
    for row, col in product(range(ROWS), range(COLS)):
        v, u = (a.ravel() for a in np.meshgrid(row + steps, col + steps, indexing="ij"))
        x, y, w = to_picture @ np.stack([u, v, np.ones_like(u)])
        yield np.rint(y / w).astype(int), np.rint(x / w).astype(int)


def _pixels(scene: Scene, rows: NDArray[np.int_], cols: NDArray[np.int_]) -> NDArray[Any]:
    """(3, places)."""
    top, left = int(rows.min()), int(cols.min())
    window = Window(top, left, int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
    rule = "every patch of the chart must lie in the picture"
    fix = "Give the centres of its corner patches as column,row."
    if window.intersection(Window(0, 0, scene.height, scene.width)) != window:
        raise Refusal(rule, f"one at column {left}, row {top}", fix)
    values, valid = scene.read(window)
    if not valid.all():
        raise Refusal(rule, f"nodata at column {left}, row {top}", fix)
    return values[:, rows - top, cols - left]


def _homography(corners: Corners) -> NDArray[np.float64]:
    """The projective map from (column, row) of a patch in the chart to the picture."""
    chart = [(0, 0), (COLS - 1, 0), (COLS - 1, ROWS - 1), (0, ROWS - 1)]
    equations = []
    for (u, v), (x, y) in zip(chart, corners, strict=True):
        equations.append([u, v, 1, 0, 0, 0, -u * x, -v * x, -x])
        equations.append([0, 0, 0, u, v, 1, -u * y, -v * y, -y])
    solution: NDArray[np.float64] = np.linalg.svd(np.array(equations))[2][-1]
    return solution.reshape(3, 3)


def fit(
    values: NDArray[np.float64],
    reflectances: NDArray[np.float64],
    wavelengths: tuple[float, ...],
    encoding: Encoding,
    dtype: np.dtype[Any],
) -> Fit:
    """The camera that explains pixel ``values`` (3, 24) of ``reflectances`` (wavelengths, 24).

    ``dtype`` is the picture's; NaN, what is clipped, is left out. White is read, as light, off the
    grey patches as the prior's mean sees them, which hardly depends on the camera. Each channel is
    then the most probable one, patches being seen with some error, under a Gaussian prior: for
    linear pixel values what cameras of the library are like, whose sensitivities are a space of few
    dimensions (Jiang et al., WACV 2013); for sRGB, a finished photograph, a 3 x 3 matrix near the
    identity on linear sRGB. What it finds includes the picture's light. Raises Refusal where the
    picture is no such chart, or its grey is clipped.
    """
    known = ~np.isnan(values)
    clipped = [COLUMNS[1 + c] for c in range(3) if not known[c, NEUTRAL].all()]
    if clipped:
        rule = "the chart's grey patches, which tell white, must not be clipped"
        raise Refusal(rule, " and ".join(clipped), "Expose less, or check the corners.")
    means, covariances = _finished(wavelengths) if encoding == "srgb" else _raw(wavelengths)
    last = end(dtype, float(np.nanmax(values))) if encoding == "srgb" else 1.0
    shares = (np.where(known, values, 0) / last).astype(np.float32)
    light = from_srgb(shares) if encoding == "srgb" else shares
    # Not their mean over wavelengths: grey paint is darker below 430 nm, where cameras see little.
    grey = means @ reflectances[:, NEUTRAL]
    bright = (light[:, NEUTRAL] * grey).sum(axis=1) / (grey**2).sum(axis=1)
    if not (bright > 0).all():
        raise Refusal("the chart's grey patches must be lit", bright.tolist(), "Check the corners.")
    seen = light / bright[:, None]
    whites = last * encoded(bright.astype(np.float32)) if encoding == "srgb" else bright
    white = (float(whites[0]), float(whites[1]), float(whites[2]))
    fitted = (
        _channel(seen[c, there], reflectances.compress(there, axis=1), means[c], covariances[c])
        for c, there in enumerate(known)
    )
    rows = np.stack(list(fitted))
    if encoding == "linear":
        # Raw values are counts of light; a finished photograph's come from differences too.
        rows = np.maximum(rows, 0)
    rows /= rows.sum(axis=1, keepdims=True)
    camera = Camera("chart", wavelengths, rows.astype(np.float32), encoding, white)
    missed = camera.render(reflectances.astype(np.float32)) - seen
    rms = float(np.sqrt((missed**2).mean(axis=1, where=known)).max())
    if rms > UNEXPLAINED:
        rule = f"a camera must explain the chart's patches to {UNEXPLAINED} on average"
        raise Refusal(rule, f"{rms:.3f}", "Check --corners, their order, and --encoding.")
    if encoding == "linear":
        _refuse_offset(light[:, NEUTRAL], grey)
    return Fit(camera, white, rms)


def _refuse_offset(light: NDArray[Any], grey: NDArray[np.float64]) -> None:
    """Refuse raw values of grey patches (3, 6) that are not proportional to their ``grey``."""
    for values, shares in zip(light, grey, strict=True):
        white, black = np.polyfit(shares, values, 1)
        if black > MOST_BLACK * white:
            rule, fix = "raw values have the black level taken off", "Take it off."
            raise Refusal(rule, f"{black:.0f} where white is {black + white:.0f}", fix)


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
