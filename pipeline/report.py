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

from pipeline.camera import SRGB, Camera, Floats, load_camera, resampled
from pipeline.charts import REFLECTANCE, WAVELENGTH, draw_picture, plain_axes
from pipeline.cube import SpectralCube
from pipeline.curve import to_srgb
from pipeline.grid import regions
from pipeline.picture import COLOURS
from pipeline.view import CubeView

NOTE = "estimated from RGB, not measured"
LONGEST = 2048
"""Pixels of a quicklook's long side, at most."""

_CANDIDATES = 64  # a side of the coarse grid that the pixels of the spectra come from
_DARK = 0.15  # of the bright pixels' reflectance; below, quantisation and noise bend a spectrum
_SAME = np.cos(np.radians(0.5))


class _Part(NamedTuple):
    """What one chunk gives to a decimated cube."""

    slices: tuple[slice, slice]
    """Rows and columns in the decimated cube."""
    values: Floats
    """(wavelength, row, col), NaN where not valid."""
    valid: NDArray[np.bool_]


class Pixel(NamedTuple):
    """A pixel of a cube."""

    row: int
    col: int
    spectrum: Floats
    """(wavelength,)."""
    uncertainty: Floats | None = None
    """Standard deviation (wavelength,), None where the cube holds none."""


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
    image = quicklook(cube, load_camera(SRGB))
    figure = spectra_figure(cube, image, _distinct_pixels(cube))
    figure.suptitle(NOTE)
    figure.savefig(path, format="png", dpi=150, metadata=_text(cube))


def spectra_figure(cube: SpectralCube, image: NDArray[np.uint8], pixels: list[Pixel]) -> Figure:
    """A picture of the cube (h, w, 4) with numbered pixels, six at most, and their spectra."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_picture(left, image, (cube.height, cube.width))
    plain_axes(right, WAVELENGTH, REFLECTANCE)
    for number, pixel in enumerate(pixels):
        _draw_pixel(left, number, pixel)
        _draw_spectrum(right, number, cube.wavelengths, pixel)
    _finish_axes(right)
    return figure


def distinct_pixels(view: CubeView, count: int = 6) -> list[Pixel]:
    """The pixels of a grid of 64 a side that differ most by spectral angle, as they are stored.

    They are told apart by the overview of that scale, where there is one.
    """
    sizes = view.cube.height, view.cube.width
    shape = min(_CANDIDATES, sizes[0]), min(_CANDIDATES, sizes[1])
    coarse = view.picture(view.whole, shape, lambda values: values)
    rows, cols = ((np.arange(n) * 2 + 1) * s // (2 * n) for n, s in zip(shape, sizes, strict=True))
    known = np.argwhere(~np.isnan(coarse[0]))
    spotted = [Pixel(int(rows[i]), int(cols[j]), coarse[:, i, j]) for i, j in known]
    found = []
    for row, col, *_ in _most_distinct(spotted, count):
        at = view.pixel(row, col)
        spectrum = at["spectrum"]
        # An overview's pixel is valid where one of those under it is.
        if spectrum is not None and not np.isnan(spectrum[0]):
            found.append(Pixel(row, col, spectrum, at["uncertainty"]))
    return found


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


def _distinct_pixels(cube: SpectralCube, count: int = 6) -> list[Pixel]:
    step = _step(cube, _CANDIDATES)
    pixels = [pixel for part in _decimated(cube, step) for pixel in _pixels(part, step)]
    return _most_distinct(pixels, count)


def _most_distinct(pixels: list[Pixel], count: int) -> list[Pixel]:
    if not pixels:
        return []
    brightness = np.array([pixel.spectrum.mean() for pixel in pixels])
    bright = _DARK * np.percentile(brightness, 99)
    # A zero spectrum has no direction, however dark the scene.
    lit = [p for p, b in zip(pixels, brightness, strict=True) if b >= bright and p.spectrum.any()]
    return [lit[i] for i in _farthest(np.array([pixel.spectrum for pixel in lit]), count)]


def _pixels(part: _Part, step: int) -> Iterator[Pixel]:
    """The valid pixels of a part, with their place in the cube."""
    rows, cols = part.slices
    for row, col in np.argwhere(part.valid):
        # A copy: a view would keep its whole chunk in memory.
        spectrum = part.values[:, row, col].copy()
        yield Pixel((rows.start + int(row)) * step, (cols.start + int(col)) * step, spectrum)


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


def _finish_axes(axes: Axes) -> None:
    if axes.has_data():
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    else:
        axes.set(xticks=[], yticks=[])
        text = "no valid pixel above 0"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center")


def _draw_pixel(axes: Axes, number: int, pixel: Pixel) -> None:
    _draw_number(axes, number, (pixel.col + 0.5, pixel.row + 0.5))


def _draw_spectrum(axes: Axes, number: int, wavelengths: tuple[float, ...], pixel: Pixel) -> None:
    label = f"{number + 1}: row {pixel.row}, column {pixel.col}"
    axes.plot(wavelengths, pixel.spectrum, color=COLOURS[number], label=label)
    if pixel.uncertainty is not None:
        low, high = pixel.spectrum - pixel.uncertainty, pixel.spectrum + pixel.uncertainty
        axes.fill_between(wavelengths, low, high, color=COLOURS[number], alpha=0.2, lw=0)
    # Each number at another wavelength, so that they do not cover each other.
    at = (number + 1) * len(wavelengths) // (len(COLOURS) + 1)
    _draw_number(axes, number, (wavelengths[at], float(pixel.spectrum[at])))


def _draw_number(axes: Axes, number: int, place: tuple[float, float]) -> None:
    style: dict[str, Any] = {"boxstyle": "circle", "fc": COLOURS[number], "ec": "white"}
    axes.annotate(
        str(number + 1), place, ha="center", va="center", color="white", size=8, bbox=style
    )
