"""Benchmark data sets: scenes with a reference cube, and training crops of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from pipeline.camera import Camera, Floats
from pipeline.errors import Refusal
from pipeline.exposure import scale_of
from pipeline.grid import Window
from pipeline.materials import repaint

CAVE_WAVELENGTHS = tuple(float(w) for w in range(400, 701, 10))


def cave_scenes(root: Path) -> dict[str, Path]:
    """Scene names and the folders of their 31 PNGs, in either layout of the database."""
    found = {}
    for folder in sorted(root.glob("*_ms")):
        inner = folder / folder.name
        found[folder.name.removesuffix("_ms")] = inner if inner.is_dir() else folder
    if not found:
        fix = "Give the folder that holds balloons_ms, beads_ms, ..."
        raise Refusal("a CAVE root must hold folders named <scene>_ms", root, fix)
    return found


def _read_png(path: Path) -> Floats:
    try:
        plane = imread(path)
    except (OSError, SyntaxError) as error:
        rule = "a CAVE scene must have 31 readable PNGs"
        raise Refusal(rule, f"{path}: {error}", "Unpack it again.") from None
    # `watercolors` is an 8-bit RGBA image in the database; its first channel is the plane.
    plane = plane if plane.ndim == 2 else plane[..., 0]
    reflectance: Floats = (plane / np.float32(np.iinfo(plane.dtype).max)).astype(np.float32)
    return reflectance


def cave_cube(folder: Path) -> Floats:
    """Reflectance (31, height, width) of a scene's folder: value / 65535."""
    paths = sorted(folder.glob("*_ms_[0-9][0-9].png"))
    if len(paths) != len(CAVE_WAVELENGTHS):
        found = f"{len(paths)} in {folder}"
        raise Refusal("a CAVE scene must have 31 PNGs", found, "Unpack it again.")
    return np.stack([_read_png(path) for path in paths])


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceScene:
    """A `Scene` rendered from a reference cube by a camera, without noise."""

    name: str
    reference: Floats
    """(wavelengths, height, width)."""
    camera: Camera

    transform = None
    crs_wkt = None
    dtype = np.dtype(np.float32)
    declared_white = 1.0

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.reference.shape[1])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.reference.shape[2])

    def read(self, window: Window) -> tuple[Floats, NDArray[np.bool_]]:
        """Linear RGB (3, h, w), negative answers clipped as a sensor's are; all of it valid."""
        rows, cols = window.slices
        rgb = np.maximum(self.camera.render(self.reference[:, rows, cols]), 0)
        return rgb, np.ones(rgb.shape[1:], bool)


@dataclass(frozen=True, slots=True)
class Crops:
    """Random crops of reference cubes, seen by random cameras: an endless, repeatable stream.

    Iteration i is a function of (seed, i) alone.
    """

    cubes: list[Floats]
    """(bands, height, width) each."""
    cameras: list[Camera]
    shares: list[float]
    """Probability of each camera."""
    crop: int
    batch: int
    exposure: float
    """Spread of the random exposure: the scale is multiplied by exp(uniform(-e, e))."""
    seed: int
    repaint: float
    """Share of the crops that are repainted."""
    materials: Floats
    """Measured reflectances (n, bands) to repaint with; not looked at where the share is 0."""

    def __post_init__(self) -> None:
        least = min(min(cube.shape[1:]) for cube in self.cubes)
        if self.crop > least:
            rule = f"a crop is at most {least} pixels, the smallest scene's side"
            raise Refusal(rule, self.crop, "Use a smaller crop.")

    def scales(self) -> NDArray[np.float64]:
        """(cubes, cameras): the scale of each scene as each camera sees it."""
        thin = [cube[:, ::8, ::8].reshape(len(cube), -1) for cube in self.cubes]
        render = [[np.maximum(camera.render(cube), 0) for camera in self.cameras] for cube in thin]
        return np.array([[scale_of(rgb) for rgb in row] for row in render])

    def at(self, iteration: int, scales: NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
        """rgb (N, 3, T, T), cube (N, bands, T, T), sensitivities (N, 3, bands) of an iteration."""
        random = np.random.default_rng([self.seed, iteration])
        samples = [self._sample(random, scales) for _ in range(self.batch)]
        rgb, cube, cameras = zip(*samples, strict=True)
        return np.stack(rgb), np.stack(cube), np.stack(cameras)

    def _sample(
        self, random: np.random.Generator, scales: NDArray[np.float64]
    ) -> tuple[Floats, Floats, Floats]:
        scene = int(random.integers(len(self.cubes)))
        which = int(random.choice(len(self.cameras), p=self.shares))
        cube, camera = self.cubes[scene], self.cameras[which]
        row, col = (int(random.integers(size - self.crop + 1)) for size in cube.shape[1:])
        part = cube[:, row : row + self.crop, col : col + self.crop]
        part = np.rot90(part, int(random.integers(4)), axes=(1, 2))
        part = part[:, :, ::-1] if random.integers(2) else part
        if random.random() < self.repaint:
            part = repaint(part, self.materials, random)
        scale = scales[scene, which] * np.exp(random.uniform(-self.exposure, self.exposure))
        part = np.ascontiguousarray(part / np.float32(scale), np.float32)
        return np.maximum(camera.render(part), 0), part, camera.sensitivities

    def stream(self, first: int) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Iterations from ``first`` on, each made while the one before is used."""
        scales = self.scales()
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.at, first, scales)
            for iteration in count(first + 1):
                ready, ahead = ahead.result(), pool.submit(self.at, iteration, scales)
                yield ready


def spectral_prior(crops: Crops) -> NDArray[np.float64]:
    """Second moment (bands, bands) of the scenes' spectra, each scene divided by its scale."""
    scales = crops.scales()[:, 0]
    moments = []
    for cube, scale in zip(crops.cubes, scales, strict=True):
        spectra = cube[:, ::4, ::4].reshape(len(cube), -1).astype(np.float64) / scale
        moments.append(spectra @ spectra.T / spectra.shape[1])
    total: NDArray[np.float64] = np.mean(moments, axis=0)
    return total
