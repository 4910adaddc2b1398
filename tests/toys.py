"""Small stand-ins: a scene in memory and a reconstructor whose answer depends on its whole tile."""

from dataclasses import dataclass

import numpy as np
import torch
from skimage.io import imsave

from pipeline.camera import Camera
from pipeline.closure import Closure
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.grid import TileGrid, Window
from pipeline.stream import Stream

WAVELENGTHS = (400.0, 550.0, 700.0)
CAMERA = Camera("toy", WAVELENGTHS, np.eye(3, dtype=np.float32))
CALM = np.array([[0.8, 0.1, 0.0], [0.1, 0.7, 0.1], [0.0, 0.1, 0.6]], np.float32)
CLOSURES = (None, Closure(CAMERA.sensitivities), Closure(CAMERA.sensitivities, CALM))
"""None, to what was seen, and to what is likely without noise."""


@dataclass
class ArrayScene:
    values: np.ndarray
    valid: np.ndarray
    transform = None
    crs_wkt = None
    declared_white = 1.0
    declared_end = None
    colours = None

    @property
    def height(self):
        return self.values.shape[1]

    @property
    def width(self):
        return self.values.shape[2]

    @property
    def dtype(self):
        return self.values.dtype

    def read(self, window: Window):
        rows, cols = window.slices
        assert rows.stop <= self.height
        assert cols.stop <= self.width
        return self.values[:, rows, cols].copy(), self.valid[rows, cols].copy()


class Toy:
    """Not linear, and every pixel of a tile moves every other."""

    wavelengths = WAVELENGTHS
    noises = 1
    spread = False

    def __init__(self):
        self.tiles = 0

    def __call__(self, rgb, noise):
        self.tiles += len(rgb)
        context = rgb.mean(dim=(2, 3), keepdim=True)
        return 0.4 * rgb**2 + 0.3 * context + 0.1 * noise.abs()


class Constant:
    wavelengths = WAVELENGTHS
    noises = 0
    spread = False

    def __init__(self, value):
        self.value = value

    def __call__(self, rgb, noise):
        assert noise.shape[1] == 0
        return torch.full_like(rgb, self.value)


def scene(height, width, seed=0, share_valid=1.0):
    random = np.random.default_rng(seed)
    values = random.random((3, height, width), np.float32)
    return ArrayScene(values, random.random((height, width)) < share_valid)


def stream(path, of, reconstructor, grid=(16, 4), chunk=8, place=None, **options):
    place = place or Window(0, 0, of.height, of.width)
    spec = CubeSpec(
        place.height,
        place.width,
        WAVELENGTHS,
        chunk,
        row0=place.row,
        col0=place.col,
        spread=reconstructor.spread,
    )
    cube = SpectralCube.create(str(path), spec)
    lattice = TileGrid(of.height, of.width, *grid)
    return Stream(of, CAMERA, lattice, reconstructor, cube, place, **options)


def write_scene(folder, name, planes):
    """A scene in CAVE's own layout: one PNG a wavelength."""
    folder.mkdir(parents=True)
    for band, plane in enumerate(planes, 1):
        imsave(folder / f"{name}_ms_{band:02d}.png", plane, check_contrast=False)
    return folder


def objects(path):
    """Every object of a store and its bytes."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
