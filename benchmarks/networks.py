"""What the contenders compute, by name: 31 wavelengths out of RGB.

`r2h` is the shipped model, `light` a matrix a pixel; `constant` and `texture` answer what they
hold and do no work.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import model
from benchmarks.case import Case
from benchmarks.scenes import Repeated, camera, photograph, shown
from model.engine import best_engine
from pipeline.camera import Camera
from pipeline.closure import Closure
from pipeline.context import Measured, measured
from pipeline.stream import Reconstructor

WAVELENGTHS = tuple(np.arange(400.0, 701.0, 10.0).tolist())
STEPS = 5
HELD = ("constant", "texture")
"""Networks that answer what they hold."""
_COUNT = 1e-4  # reflectance of a stored count


class Held:
    """Answers the same values for every tile."""

    wavelengths = WAVELENGTHS
    noises = 0
    spread = False

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def __call__(self, rgb: Tensor, _: Tensor, /) -> Tensor:
        """Values (N, C, T, T), no memory of their own."""
        return self._values.expand(len(rgb), *self._values.shape)


class Light:
    """A 31 x 3 matrix a pixel: spectra not below zero that render to red, green and blue."""

    wavelengths = WAVELENGTHS
    noises = 0
    spread = False

    def __init__(self) -> None:
        seen, primaries = camera(WAVELENGTHS).sensitivities, np.eye(3, dtype=np.float32)
        zero = np.zeros((len(WAVELENGTHS), 3), np.float32)
        spectra = Closure(seen).closed(zero, primaries)
        # What is left of the residual would be closed a pixel at a time.
        self._matrix = torch.from_numpy(spectra @ np.linalg.inv(seen @ spectra))

    def __call__(self, rgb: Tensor, _: Tensor, /) -> Tensor:
        """Values (N, C, T, T)."""
        return torch.matmul(self._matrix, rgb.flatten(2)).reshape(len(rgb), -1, *rgb.shape[2:])


def counts(case: Case, size: int) -> NDArray[np.uint16]:
    """What `constant` or `texture` stores, (C, size, size), from a tile's first pixel.

    Its period is the tiles' stride, so that neighbours agree and blending changes nothing.
    """
    bands, stride = len(WAVELENGTHS), case.tile - case.overlap
    level = np.linspace(2000, 4000, bands).astype(np.uint16)[:, None, None]
    grain = np.random.default_rng(0).integers(0, 200, (bands, stride, stride), np.uint16)
    values: NDArray[np.uint16] = np.add(level, grain * (case.network == "texture"), dtype=np.uint16)
    at = np.arange(size) % stride
    # Not values[:, at[:, None], at], whose memory is in another order.
    return values.take(at, axis=1).take(at, axis=2)


def seen(case: Case) -> tuple[Repeated, Camera]:
    """The scene of a case and its camera: a photograph, or what is seen of values that are held.

    A cube that does not render back would be moved until it does, which is the model's to avoid.
    """
    if case.network in HELD:
        stride = counts(case, case.tile - case.overlap)
        return shown(stride.astype(np.float32) * np.float32(_COUNT), case.size, case.height)
    return photograph(case.size, case.height), camera(WAVELENGTHS)


def reconstructor(case: Case, scene: Repeated) -> Reconstructor:
    """A case's network as the pipeline takes it."""
    if case.network == "light":
        return Light()
    if case.network in HELD:
        values = counts(case, case.tile).astype(np.float32) * np.float32(_COUNT)
        return Held(torch.from_numpy(values))
    lens = camera(WAVELENGTHS)
    network = model.load()
    engine: Any = case.engine or best_engine(network)
    sensitivities = torch.from_numpy(lens.sensitivities)
    # A network alone is compared with its plain self, which knows no scene.
    seen, noises = Measured(1.0) if case.bare else measured(scene, lens), int(case.bare)
    bound = model.Reconstructor(network, sensitivities, seen.scale, STEPS, engine, noises)
    views = [model.View(torch.from_numpy(of.rgb), None, of.share) for of in seen.contexts]
    return bound.attending(views, case.workers)


def plain(case: Case, scene: Repeated) -> Callable[[Tensor], Tensor]:
    """The same in plain torch as others' tools take it: rgb (N, 3, T, T) to (N, C, T, T).

    They do not say where a tile lies, so start noise is drawn anew for each.
    """
    network = reconstructor(replace(case, engine="torch"), scene)
    channels = len(network.wavelengths) * network.noises

    def forward(rgb: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(rgb, torch.randn(len(rgb), channels, *rgb.shape[2:]))

    return forward
