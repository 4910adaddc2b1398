"""Colours of a cube and of the layers beside it: RGBA pictures at any scale."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from pipeline.camera import SRGB, Camera, load_camera, resampled
from pipeline.curve import to_srgb
from pipeline.grid import Window
from pipeline.layer import Floats, Reduce
from pipeline.view import FLAGS, CubeView

Pixels = NDArray[np.uint8]
"""RGBA (height, width, 4), transparent where there is nothing."""

FALSE_COLOUR = (700, 670, 550)
"""nm shown as red, green and blue: leaves, far brighter at 700 nm than at 670 nm, stand out."""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's, which the colour-blind tell apart, without black and the pale yellow."""
FLAG_COLOURS = ("#E69F00", "#0072B2", "#D55E00", "#009E73")
"""Of the bits of `quality`, from the lowest."""
CLEAR = "#ECECEC"
"""Of pixels without a flag."""
_TITLES = {
    "uncertainty": "standard deviation of reflectance, mean over wavelengths",
    "closure": "largest |rendered - input| of three bands, linear RGB",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """What the colours of a layer mean."""

    title: str
    high: float
    """Of the last colour, white = 1; the first is 0."""


def true_colour(camera: Camera | None = None) -> Reduce:
    """The cube through a camera (none: the sRGB one) as sRGB, not stretched: 1 is white.

    Reduces (wavelengths, n, m) to RGBA (4, n, m).
    """
    seen = camera or load_camera(SRGB)

    def reduce(values: Floats) -> Pixels:
        known = ~np.isnan(values[0])  # nodata is nodata at every wavelength
        return opaque(to_srgb(seen.render(np.where(known, values, 0))), known)

    return reduce


def seen_by(view: CubeView) -> Reduce:
    """`true_colour` through the sRGB camera at the cube's wavelengths."""
    return true_colour(resampled(load_camera(SRGB), view.cube.wavelengths))


def true_picture(view: CubeView, longest: int) -> Pixels:
    """The whole cube through the sRGB camera, at most ``longest`` pixels a side.

    Nobody waits at a screen: as many chunks are read as that takes.
    """
    shape = shape_of(view, longest)
    return _pixels(view.picture(view.whole, shape, seen_by(view), most=math.inf))


def shape_of(view: CubeView, longest: int) -> tuple[int, int]:
    """Rows and columns of a picture of the whole cube, at most ``longest`` a side."""
    height, width = view.cube.height, view.cube.width
    scale = min(1, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def three(indices: tuple[int, int, int], high: Floats) -> Reduce:
    """Three wavelengths as red, green and blue: 0 is black, ``high`` (3,) full, sRGB-encoded."""

    def reduce(values: Floats) -> Pixels:
        chosen = values[list(indices)]
        known = ~np.isnan(chosen[0])
        scaled = np.where(known, chosen, 0) / high[:, None, None]
        return opaque(to_srgb(scaled.astype(np.float32)), known)

    return reduce


def heat(high: float) -> Reduce:
    """The mean over the first axis in cividis, from 0 to ``high``."""

    def reduce(values: Floats) -> Pixels:
        one = values.mean(axis=0)
        known = ~np.isnan(one)
        colours = colormaps["cividis"](np.where(known, one, 0) / high)[..., :3]
        return opaque(colours.transpose(2, 0, 1), known)

    return reduce


def flags(values: Floats) -> Pixels:
    """The layer `quality`: the colour of the lowest flag that a pixel has, grey where none."""
    known = ~np.isnan(values[0])
    bits = np.where(known, values[0], 0).astype(np.uint8)
    table = np.array([_rgb(c) for c in (CLEAR, *FLAG_COLOURS)])
    lowest = np.zeros(bits.shape, np.int64)
    for place, flag in reversed(list(enumerate(FLAGS, 1))):
        lowest[(bits & flag) != 0] = place
    return opaque(table[lowest].transpose(2, 0, 1), known)


class Palette:
    """The looks of one cube, with scales that stay while a person moves over it."""

    def __init__(self, view: CubeView) -> None:
        self.view = view
        self._true = seen_by(view)
        pixels = view.levels[max(view.levels)].typical()
        known = pixels.size > 0
        full = np.percentile(pixels, 98, axis=1) if known else np.ones(len(pixels))
        self.full: Floats = np.maximum(full, 1e-3).astype(np.float32)
        """Of each wavelength, the reflectance that 98 % of the pixels stay below."""
        self.scales = {name: _scale(view, name) for name in _TITLES if name in view.aux}
        """Of the layers that are maps of a number."""
        self.layers = (*self.scales, *(name for name in ("quality",) if name in view.aux))
        """Names of the layers that `layer` draws."""

    def nearest(self, wavelength: float) -> int:
        """Index of the wavelength nearest to one in nm."""
        return int(np.abs(np.array(self.view.cube.wavelengths) - wavelength).argmin())

    def colours(
        self, window: Window, shape: tuple[int, int], nm: tuple[float, float, float] | None = None
    ) -> Pixels:
        """The window at a shape, as the eye sees it or of three wavelengths in nm."""
        reduce = self._true
        if nm:
            chosen = self.nearest(nm[0]), self.nearest(nm[1]), self.nearest(nm[2])
            reduce = three(chosen, self.full[list(chosen)])
        return _pixels(self.view.picture(window, shape, reduce))

    def layer(self, name: str, window: Window, shape: tuple[int, int]) -> Pixels:
        """The window of a layer beside the cube, at a shape."""
        reduce = flags if name == "quality" else heat(self.scales[name].high)
        return _pixels(self.view.picture(window, shape, reduce, name))


def png(pixels: Pixels) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    # Level 1: a viewer waits for it, and it goes through the wire once.
    options = {"compress_level": 1}
    matplotlib.image.imsave(file, pixels, origin="upper", format="png", pil_kwargs=options)
    return file.getvalue()


def ramp() -> Pixels:
    """The colours of `heat` from left to right, 256 x 1."""
    colours: Pixels = heat(255)(np.arange(256, dtype=np.float32)[None, None]).transpose(1, 2, 0)
    return colours


def _scale(view: CubeView, name: str) -> Scale:
    # Of sigma the first level that is one plane: 31 times fewer bytes to read.
    levels = view.beside[name].values()
    layer = next((level for level in levels if level.array.ndim == 2), view.aux[name])
    values = layer.typical().mean(axis=0)
    high = float(np.percentile(values, 99)) if values.size else 0.0
    return Scale(_TITLES[name], max(high, 1e-4))


def _pixels(planes: NDArray[Any]) -> Pixels:
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def opaque(rgb: NDArray[Any], known: NDArray[np.bool_]) -> Pixels:
    """RGBA planes (4, n, m) of RGB in [0, 1], nothing where it is not ``known`` (n, m)."""
    planes = np.rint(255 * np.concatenate([rgb, np.ones_like(rgb[:1])])).astype(np.uint8)
    return np.where(known, planes, np.uint8(0))


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
