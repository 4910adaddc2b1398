"""What a cube looks like: a colour quicklook, and spectra of a few distinct pixels."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.camera import Floats
from pipeline.charts import REFLECTANCE, WAVELENGTH, draw_picture, plain_axes
from pipeline.cube import SpectralCube
from pipeline.layout import NOTE
from pipeline.picture import COLOURS, Pixels, true_picture
from pipeline.view import CubeView

LONGEST = 2048
"""Pixels of a quicklook's long side, at most."""

_FEW = 64  # chunks are read for candidates: a quarter of a second
_CANDIDATES = 64  # a side of the coarse grid that the pixels of the spectra come from
_DARK = 0.15  # of the bright pixels' reflectance; below, quantisation and noise bend a spectrum
_SAME = np.cos(np.radians(0.5))


class Pixel(NamedTuple):
    """A pixel of a cube."""

    row: int
    col: int
    spectrum: Floats
    """(wavelength,)."""
    uncertainty: Floats | None = None
    """Standard deviation (wavelength,), None where the cube holds none."""


def quicklook(view: CubeView) -> Pixels:
    """The cube as the eye sees it, at most 2048 pixels a side."""
    return true_picture(view, LONGEST)


def write_quicklook(view: CubeView, image: Pixels, path: Path) -> None:
    """Write a picture of the cube as a PNG that says what it is in its text."""
    matplotlib.image.imsave(path, image, origin="upper", format="png", metadata=_text(view.cube))


def write_spectra(view: CubeView, image: Pixels, path: Path) -> None:
    """Write a PNG: a picture of the cube with up to 6 numbered pixels, and the spectra of these.

    The pixels are the ones of a coarse grid that differ most by spectral angle, without dark
    ones. There are fewer, or none, where the cube holds no more.
    """
    figure = spectra_figure(view, image, distinct_pixels(view))
    figure.suptitle(NOTE)
    figure.savefig(path, format="png", dpi=150, metadata=_text(view.cube))


def spectra_figure(view: CubeView, image: NDArray[np.uint8], pixels: list[Pixel]) -> Figure:
    """A picture of the cube (h, w, 4) with numbered pixels, six at most, and their spectra."""
    cube, figure = view.cube, Figure(figsize=(12, 5), layout="constrained")
    if view.begins:
        figure.supxlabel(view.begins, size=9)
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

    Of a cube of many chunks they are told apart by the overview of that scale.
    """
    sizes, fine = (view.cube.height, view.cube.width), view.levels[1]
    shape = min(_CANDIDATES, sizes[0]), min(_CANDIDATES, sizes[1])
    rows, cols = ((np.arange(n) * 2 + 1) * s // (2 * n) for n, s in zip(shape, sizes, strict=True))
    if len(fine.chunks(rows, cols)) <= _FEW:
        coarse = fine.sample(rows, cols, lambda values: values)
    else:
        coarse = view.picture(view.whole, shape, lambda values: values)
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


def _most_distinct(pixels: list[Pixel], count: int) -> list[Pixel]:
    if not pixels:
        return []
    brightness = np.array([pixel.spectrum.mean() for pixel in pixels])
    bright = _DARK * np.percentile(brightness, 99)
    # A zero spectrum has no direction, however dark the scene.
    lit = [p for p, b in zip(pixels, brightness, strict=True) if b >= bright and p.spectrum.any()]
    return [lit[i] for i in _farthest(np.array([pixel.spectrum for pixel in lit]), count)]


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
