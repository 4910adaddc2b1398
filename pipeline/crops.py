"""Training crops of reference cubes, seen by random cameras: an endless, repeatable stream."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.camera import Camera, Floats
from pipeline.errors import Refusal
from pipeline.exposure import scale_of
from pipeline.materials import metameric, repaint
from pipeline.rendering import developed, exposure_of, photograph

Sample = tuple[Floats, Floats, Floats]
Kind = TypeVar("Kind")
TRIES = 100
"""Places that are tried for a crop without an unknown pixel."""
PRIOR_SCENES = 64
"""Most scenes that the prior is taken from, evenly spread."""
DIMMEST = 8.0
"""By how much bright surroundings raise a scene's scale: twice as much white table beside them that
of the training scenes by 2 to 22, of most by less than 8 (decision 0003)."""


class OnDemand(Sequence[Kind]):
    """Things that are made when asked for; the last ``keep`` stay."""

    def __init__(self, makers: Sequence[Callable[[], Kind]], keep: int) -> None:
        self._count = len(makers)
        self._made = lru_cache(maxsize=keep)(lambda i: makers[i]())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Kind:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._made(index)


class Seen(NamedTuple):
    """A scene as a camera sees it."""

    scale: float
    """See `scale_of`."""
    exposure: float
    """See `pipeline.rendering.photograph`."""


@dataclass(frozen=True, eq=False)
class Crops:
    """Random crops of reference cubes, seen by random cameras.

    Iteration i is a function of (seed, i) alone.
    """

    cubes: Sequence[Floats]
    """(bands, height, width) each; NaN where nothing is known."""
    cameras: Sequence[Camera]
    """In equal energy or another light."""
    shares: Sequence[float]
    """Probability of each camera."""
    crop: int
    batch: int
    exposure: float
    """Spread of the random exposure: the scale is multiplied by exp(uniform(-e, e))."""
    seed: int
    repaint: float
    """Share of the crops that are repainted."""
    materials: Floats
    """Measured reflectances (n, bands) for both; not looked at where their shares are 0."""
    flips: bool = True
    rotations: bool = True
    mix: float = 0.0
    """Share of the crops into which up to half of another crop of their domain is mixed."""
    beside: int = 0
    """How many of the cubes, the last ones, are of another domain."""
    beside_share: float = 0.0
    """Share of the crops that come from those."""
    metamers: float = 0.0
    """Share of the crops that become other spectra which their camera sees alike."""
    noise: float = 0.0
    """Share of the crops photographed as in NTIRE 2022: shot noise, 8 bits, JPEG."""
    dimmed: float = 0.0
    """Share of the crops seen as beside something bright: up to `DIMMEST` times darker."""
    resident: int | None = None
    """Scenes that crops are drawn from at a time (None: all)."""
    visit: int = 250
    """Iterations after which they are other ones."""
    _seen: dict[tuple[int, int], Seen] = field(default_factory=dict, init=False, repr=False)

    def seen(self, scene: int, which: int) -> Seen:
        """Scale and exposure of a scene for a camera, from every eighth pixel each way."""
        if (scene, which) not in self._seen:
            camera, thin = self.cameras[which], _known(self.cubes[scene][:, ::8, ::8])
            rgb = np.maximum(camera.render(thin), 0)
            signal = rgb * np.array(camera.response)[:, None]
            self._seen[scene, which] = Seen(scale_of(rgb), exposure_of(signal))
        return self._seen[scene, which]

    def at(self, iteration: int) -> Sample:
        """rgb (N, 3, T, T), cube (N, bands, T, T), sensitivities (N, 3, bands) of an iteration."""
        random = np.random.default_rng([self.seed, iteration])
        scenes = self.scenes(iteration)
        samples = [self._sample(random, scenes) for _ in range(self.batch)]
        rgb, cube, cameras = zip(*samples, strict=True)
        return np.stack(rgb), np.stack(cube), np.stack(cameras)

    def scenes(self, iteration: int) -> Sequence[int]:
        """The scenes of the first domain that an iteration draws from."""
        every = range(len(self.cubes) - self.beside)
        if self.resident is None or self.resident >= len(every):
            return every
        random = np.random.default_rng([self.seed, iteration // self.visit, len(every)])
        chosen: list[int] = random.choice(len(every), self.resident, replace=False).tolist()
        return chosen

    def _sample(self, random: np.random.Generator, scenes: Sequence[int]) -> Sample:
        # What is off draws no number: it leaves the stream of random numbers as it was.
        if self.beside and random.random() < self.beside_share:
            drawn: Sequence[int] = range(len(self.cubes))[-self.beside :]
        else:
            drawn = scenes
        scene = drawn[int(random.integers(len(drawn)))]
        which = int(random.choice(len(self.cameras), p=self.shares))
        camera, part = self.cameras[which], self._part(scene, random)
        if random.random() < self.repaint:
            part = repaint(part, self.materials, random)
        one, exposure = self.seen(scene, which)
        spread = random.uniform(-self.exposure, self.exposure)
        if self.dimmed and random.random() < self.dimmed:
            spread += random.uniform(0, np.log(DIMMEST))
        scale = np.float32(one * np.exp(spread))
        if self.mix and random.random() < self.mix:
            other = drawn[int(random.integers(len(drawn)))]
            weight = random.uniform(0, 0.5)
            level = np.float32(one / self.seen(other, which).scale)
            part = (1 - weight) * part + weight * level * self._part(other, random)
        if self.metamers and random.random() < self.metamers:
            part = metameric(part, camera.sensitivities, self.materials, random)
        cube = np.ascontiguousarray(part / scale, np.float32)
        rgb = np.maximum(camera.render(cube), 0)
        if self.noise and random.random() < self.noise:
            rgb = developed(*photograph(rgb * scale, camera, random, exposure)) / scale
        return rgb, cube, camera.sensitivities

    def _part(self, scene: int, random: np.random.Generator) -> Floats:
        cube, side = self.cubes[scene], self.crop
        if side > min(cube.shape[1:]):
            rule = f"a crop is at most {min(cube.shape[1:])} pixels, the scene's shorter side"
            raise Refusal(rule, side, "Use a smaller crop.")
        for _ in range(TRIES):
            row, col = (int(random.integers(size - side + 1)) for size in cube.shape[1:])
            part = cube[:, row : row + side, col : col + side]
            if not np.isnan(part[0]).any():
                break
        else:
            rule = "a scene must have room for a crop without masked pixels"
            raise Refusal(rule, f"none of {TRIES} places", "Use a smaller crop, or leave it out.")
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        part = np.rot90(part, turns, axes=(1, 2)) if self.rotations else part
        return part[:, :, ::-1] if mirrored and self.flips else part

    def stream(self, first: int) -> Iterator[Sample]:
        """Iterations from ``first`` on, each made while the one before is used."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.at, first)
            for iteration in count(first + 1):
                ready, ahead = ahead.result(), pool.submit(self.at, iteration)
                yield ready


def _known(cube: Floats) -> Floats:
    """Spectra (bands, pixels) of a cube where they are known."""
    spectra = cube.reshape(len(cube), -1)
    return spectra[:, ~np.isnan(spectra[0])]


def spectral_prior(crops: Crops) -> NDArray[np.float64]:
    """Second moment (bands, bands) of the scenes' spectra, each scene divided by its scale."""
    step = -(-len(crops.cubes) // PRIOR_SCENES)
    moments = []
    for scene in range(0, len(crops.cubes), step):
        scale = crops.seen(scene, 0).scale
        spectra = _known(crops.cubes[scene][:, ::4, ::4]).astype(np.float64) / scale
        moments.append(spectra @ spectra.T / spectra.shape[1])
    total: NDArray[np.float64] = np.mean(moments, axis=0)
    return total
