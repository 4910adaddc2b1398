"""Scenes of any size that take no memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import data

from pipeline.camera import Camera, load_camera, resampled
from pipeline.grid import Window


@dataclass(frozen=True, slots=True, eq=False)
class Repeated:
    """A small image repeated without end."""

    image: NDArray[Any]
    """(3, h, w)."""
    height: int
    width: int
    mirrored: bool = True
    """Whether every other copy is mirrored, so that none shows an edge."""

    transform = None
    crs_wkt = None
    declared_white = None
    declared_end = None
    colours = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the image."""
        return self.image.dtype

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width), all of them valid."""
        rows = self._of(window.row, window.row_stop, self.image.shape[1])
        cols = self._of(window.col, window.col_stop, self.image.shape[2])
        values = self.image.take(rows, axis=1).take(cols, axis=2)
        return values, np.ones(values.shape[1:], bool)

    def _of(self, start: int, stop: int, size: int) -> NDArray[np.intp]:
        if not self.mirrored:
            return np.arange(start, stop) % size
        phase = np.arange(start, stop) % (2 * size)
        return np.minimum(phase, 2 * size - 1 - phase)


def photograph(size: int, height: int = 0) -> Repeated:
    """A photograph of scikit-image's, uint8 sRGB, over size columns and as many rows, or others."""
    load: Any = data.astronaut
    image = np.ascontiguousarray(np.moveaxis(load(), 2, 0))
    return Repeated(image, height or size, size)


def shown(values: NDArray[np.float32], size: int, height: int) -> tuple[Repeated, Camera]:
    """What a camera sees of a cube (C, h, w) that is repeated, linear, and that camera."""
    lens = camera(tuple(np.linspace(400, 700, len(values)).tolist())).reading("linear", 1.0)
    return Repeated(lens.render(values), height, size, mirrored=False), lens


def camera(wavelengths: tuple[float, ...]) -> Camera:
    """What the photograph was taken with, as `r2h reconstruct` takes it by default."""
    return resampled(load_camera("srgb"), wavelengths).reading("srgb", 255.0)
