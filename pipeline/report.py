"""What a cube looks like: a colour quicklook, and spectra of a few distinct pixels."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.camera import SRGB, Camera, Floats, load_camera, resampled, to_srgb
from pipeline.cube import SpectralCube
from pipeline.grid import regions

NOTE = "estimated from RGB, not measured"
LONGEST = 2048
"""Pixels of a quicklook's long side, at most."""

_CANDIDATES = 64  # a side of the coarse grid that the pixels of the spectra come from
_DARK = 0.15  # of the bright pixels' reflectance; below, quantisation and noise bend a spectrum
_SAME = np.cos(np.radians(0.5))
# Okabe and Ito's colours, which the colour-blind tell apart, without black and the pale yellow.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


class _Part(NamedTuple):
    """What one chunk gives to a decimated cube."""

    slices: tuple[slice, slice]
    """Rows and columns in the decimated cube."""
    values: Floats
    """(wavelength, row, col), NaN where not valid."""
    valid: NDArray[np.bool_]


class _Pixel(NamedTuple):
    row: int
    col: int
    spectrum: Floats


def quicklook(cube: SpectralCube, camera: Camera, longest: int = LONGEST) -> NDArray[np.uint8]:
    """The cube as sRGB through a camera: RGBA (h, w, 4), transparent where there is nodata.

    At most ``longest`` pixels a side: of a larger cube every n-th pixel, unsmoothed. Nothing is
    stretched: reflectance 1 is white, and what is brighter clips. Reads chunk by chunk, so
    memory does not grow with the cube. Raises Refusal where the camera does not span the
    cube's wavelengths.
    """
    seen = resampled(camera, cube.wavelengths)
    step = _step(cube, longest)
    image = np.zeros((-(-cube.height // step), -(-cube.width // step), 4), np.uint8)
    for part in _decimated(cube, step):
        rgb = to_srgb(seen.render(np.where(part.valid, part.values, 0)))
        opaque = np.rint(255 * np.concatenate([rgb, np.ones_like(rgb[:1])])).astype(np.uint8)
        image[part.slices] = np.where(part.valid, opaque, 0).transpose(1, 2, 0)
    return image


def write_quicklook(cube: SpectralCube, path: Path) -> None:
    """Write the quicklook through the sRGB camera as a PNG that says what it is in its text."""
    image = quicklook(cube, load_camera(SRGB))
    matplotlib.image.imsave(path, image, format="png", metadata=_text(cube))


def write_spectra(cube: SpectralCube, path: Path) -> None:
    """Write a PNG: the quicklook with up to 6 numbered pixels, and the spectra of these.

    The pixels are the ones of a coarse grid that differ most by spectral angle, without dark
    ones. There are fewer, or none, where the cube holds no more.
    """
    figure = Figure(figsize=(12, 5), dpi=150, layout="constrained")
    figure.suptitle(NOTE)
    left, right = figure.subplots(1, 2)
    _draw_image(left, cube, quicklook(cube, load_camera(SRGB)))
    _draw_axes(right)
    for number, pixel in enumerate(_distinct_pixels(cube)):
        _draw_pixel(left, number, pixel)
        _draw_spectrum(right, number, cube.wavelengths, pixel)
    _finish_axes(right)
    figure.savefig(path, format="png", metadata=_text(cube))


def _text(cube: SpectralCube) -> dict[str, str]:
    """Text for a PNG's header, which must be Latin-1."""
    return {"Description": NOTE, "Comment": json.dumps(cube.settings, default=str)}


def _step(cube: SpectralCube, longest: int) -> int:
    return -(-max(cube.height, cube.width) // longest)


def _decimated(cube: SpectralCube, step: int) -> Iterator[_Part]:
    """Every step-th row and column of a cube, part by part; reads only chunks that hold one."""
    for window in regions(cube.height, cube.width, cube.chunk, cube.chunk):
        rows = _multiples(window.row, window.row_stop, step)
        cols = _multiples(window.col, window.col_stop, step)
        if rows.start < rows.stop and cols.start < cols.stop:
            values, valid = cube.read(window)
            kept = slice(-window.row % step, None, step), slice(-window.col % step, None, step)
            yield _Part((rows, cols), values[:, *kept], valid[kept])


def _multiples(start: int, stop: int, step: int) -> slice:
    """The n for which n * step lies in the half-open [start, stop)."""
    return slice(-(-start // step), -(-stop // step))


def _distinct_pixels(cube: SpectralCube, count: int = 6) -> list[_Pixel]:
    step = _step(cube, _CANDIDATES)
    pixels = [pixel for part in _decimated(cube, step) for pixel in _pixels(part, step)]
    if not pixels:
        return []
    brightness = np.array([pixel.spectrum.mean() for pixel in pixels])
    bright = _DARK * np.percentile(brightness, 99)
    # A zero spectrum has no direction, however dark the scene.
    lit = [p for p, b in zip(pixels, brightness, strict=True) if b >= bright and p.spectrum.any()]
    return [lit[i] for i in _farthest(np.array([pixel.spectrum for pixel in lit]), count)]


def _pixels(part: _Part, step: int) -> Iterator[_Pixel]:
    """The valid pixels of a part, with their place in the cube."""
    rows, cols = part.slices
    for row, col in np.argwhere(part.valid):
        # A copy: a view would keep its whole chunk in memory.
        spectrum = part.values[:, row, col].copy()
        yield _Pixel((rows.start + int(row)) * step, (cols.start + int(col)) * step, spectrum)


def _farthest(spectra: Floats, count: int) -> list[int]:
    """Indices of up to `count` of (n, wavelengths) spectra, none closer than half a degree.

    The most typical, then each time the one whose nearest chosen spectrum is farthest by angle
    (Gonzalez, Theoretical Computer Science 38, 1985).
    """
    if not len(spectra):
        return []
    directions = spectra / np.linalg.norm(spectra, axis=1, keepdims=True)
    chosen = [int((directions @ directions.mean(axis=0)).argmax())]
    cosine = directions @ directions[chosen[0]]
    while len(chosen) < count and cosine.min() < _SAME:
        chosen.append(int(cosine.argmin()))
        cosine = np.maximum(cosine, directions @ directions[chosen[-1]])
    return chosen


def _draw_image(axes: Axes, cube: SpectralCube, image: NDArray[np.uint8]) -> None:
    axes.set_facecolor("0.85")
    axes.imshow(image, extent=(0, cube.width, cube.height, 0), interpolation="nearest")
    axes.set(xlabel="column (pixels)", ylabel="row (pixels)")


def _draw_axes(axes: Axes) -> None:
    axes.set(xlabel="wavelength (nm)", ylabel="reflectance relative to white (1)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")


def _finish_axes(axes: Axes) -> None:
    if axes.has_data():
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    else:
        axes.set(xticks=[], yticks=[])
        text = "no valid pixel above 0"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center")


def _draw_pixel(axes: Axes, number: int, pixel: _Pixel) -> None:
    _draw_number(axes, number, (pixel.col + 0.5, pixel.row + 0.5))


def _draw_spectrum(axes: Axes, number: int, wavelengths: tuple[float, ...], pixel: _Pixel) -> None:
    label = f"{number + 1}: row {pixel.row}, column {pixel.col}"
    axes.plot(wavelengths, pixel.spectrum, color=_COLOURS[number], label=label)
    # Each number at another wavelength, so that they do not cover each other.
    at = (number + 1) * len(wavelengths) // (len(_COLOURS) + 1)
    _draw_number(axes, number, (wavelengths[at], float(pixel.spectrum[at])))


def _draw_number(axes: Axes, number: int, place: tuple[float, float]) -> None:
    style: dict[str, Any] = {"boxstyle": "circle", "fc": _COLOURS[number], "ec": "white"}
    axes.annotate(
        str(number + 1), place, ha="center", va="center", color="white", size=8, bbox=style
    )
