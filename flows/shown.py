"""What training is shown: the crops that its settings ask for."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.learn_settings import TrainSettings
from flows.scenes import scenes_of, seen_by
from pipeline.camera import Camera, Floats, library, load_camera, resampled
from pipeline.crops import Crops, OnDemand
from pipeline.errors import Refusal
from pipeline.light import Light, load_light, measured_lights
from pipeline.materials import measured_reflectances
from pipeline.own import own, reflectance_of
from pipeline.reference import DataSet

SUN = "D55"
"""Sunlight with some of the sky's, as scenes from the air are taken in."""


def crops_of(settings: TrainSettings, root: str | Path) -> Crops:
    """The training crops of a data set's folder under these settings."""
    dataset, names = scenes_of(settings, settings.dataset, root)
    wavelengths = wavelengths_of(settings, dataset)
    cameras, shares = _cameras(settings, wavelengths)
    reads = [partial(_cube, dataset, name, wavelengths) for name in names]
    others = _beside(settings, wavelengths)
    return Crops(
        cubes=OnDemand([*reads, *others], keep=(settings.resident or len(reads)) + len(others)),
        beside=len(others),
        beside_share=settings.beside_share,
        cameras=cameras,
        shares=shares,
        crop=settings.crop,
        batch=settings.batch,
        exposure=settings.exposure,
        dimmed=settings.dimmed,
        seed=settings.seed,
        repaint=settings.repaint,
        materials=_materials(settings, wavelengths),
        flips=settings.flips,
        rotations=settings.rotations,
        mix=settings.mix,
        metamers=settings.metamers,
        noise=settings.noise,
        resident=settings.resident,
        visit=settings.visit,
    )


def wavelengths_of(settings: TrainSettings, dataset: DataSet) -> tuple[float, ...]:
    """The data set's wavelengths (nm) that every camera's table spans."""
    wavelengths = dataset.wavelengths
    for name in camera_shares(settings):
        wavelengths = seen_by(load_camera(name), wavelengths)
    return wavelengths


def _cube(dataset: DataSet, name: str, wavelengths: tuple[float, ...]) -> Floats:
    """A scene's cube with NaN where it is masked."""
    reference = dataset.read(name)
    if wavelengths == reference.wavelengths and reference.valid.all():
        return reference.cube
    cube = reference.at(wavelengths)
    cube[:, ~reference.valid] = np.nan
    return cube


def beside_of(settings: TrainSettings, wavelengths: tuple[float, ...]) -> DataSet | None:
    """The folder of another domain, none where no scene of one is asked for."""
    if settings.beside is None:
        if settings.beside_scenes:
            fix = "Give --beside, the folder they are in, or name none."
            raise Refusal("scenes beside a data set need a folder", settings.beside_scenes, fix)
        return None
    return own(settings.beside, wavelengths)


def _beside(
    settings: TrainSettings, wavelengths: tuple[float, ...]
) -> Sequence[Callable[[], Floats]]:
    """The cubes of another domain."""
    dataset = beside_of(settings, wavelengths)
    if dataset is None:
        return []

    light = load_light(SUN).at(np.array(wavelengths)) if settings.beside_radiance else None

    def read(name: str, sunlight: NDArray[np.float64] | None) -> Floats:
        cube = dataset.read(name).cube
        if sunlight is not None:
            cube = reflectance_of(cube, sunlight)
        # Small ones are mirrored beyond their edges, as the last tiles of a scene are.
        pad = [(0, 0), *((0, max(0, settings.crop - side)) for side in cube.shape[1:])]
        return np.pad(cube, pad, mode="reflect")

    names = dataset.named(settings.beside_scenes or tuple(dataset.paths))
    surfaces = [partial(read, name, light) for name in settings.beside_radiance]
    return [*(partial(read, name, None) for name in names), *surfaces]


def _materials(settings: TrainSettings, wavelengths: tuple[float, ...]) -> Floats:
    """Measured reflectances (n, bands), none where no crop is moved by them."""
    if not (settings.repaint or settings.metamers):
        return np.empty((0, len(wavelengths)), np.float32)
    if settings.reflectances is None:
        found = f"--repaint {settings.repaint:g} --metamers {settings.metamers:g} without"
        fix = "Give --reflectances, or 0 for both."
        raise Refusal("repainting and metamers need measured reflectances", found, fix)
    return measured_reflectances(Path(settings.reflectances), wavelengths)


def _cameras(
    settings: TrainSettings, wavelengths: tuple[float, ...]
) -> tuple[Sequence[Camera], list[float]]:
    """Every camera in equal energy, then in every light, and the probability of each."""
    of = camera_shares(settings)
    lights = [(None, 1 - sum(settings.lights.values())), *_lights(settings)]
    pairs = [(name, light) for light, _ in lights for name in of]
    seen = OnDemand([partial(_lens, *pair, wavelengths) for pair in pairs], keep=len(pairs))
    return seen, [share * each for _, share in lights for each in of.values()]


def _lens(name: str, light: Light | None, wavelengths: tuple[float, ...]) -> Camera:
    return resampled(load_camera(name, light), wavelengths)


def _lights(settings: TrainSettings) -> list[tuple[Light, float]]:
    """Each light and its probability."""
    if not settings.lights:
        return []
    if settings.illuminants is None:
        raise Refusal("lights need a file of them", settings.lights, "Give --illuminants.")
    known = {name: measured_lights(Path(settings.illuminants), name) for name in settings.lights}
    if empty := [name for name, lights in known.items() if not lights]:
        rule = "a collection has lights of three wavelengths or more"
        raise Refusal(rule, f"none in {', '.join(empty)}", "Leave it out.")
    shares = settings.lights.items()
    return [(light, share / len(known[name])) for name, share in shares for light in known[name]]


def camera_shares(settings: TrainSettings) -> dict[str, float]:
    """Probability of each camera; 'library' is spread over the cameras not named otherwise."""
    known = library()
    if unknown := {*settings.cameras, *settings.held_out_cameras} - {*known, "library"}:
        # A misspelt name would otherwise be trained on in silence.
        raise Refusal("every camera named must be in the library", unknown, "See configs/cameras.")
    if twice := {*settings.cameras, "library"} & {*settings.held_out_cameras}:
        fix = "Take it out of one of both."
        raise Refusal("a camera that is held out is not trained on", sorted(twice), fix)
    shares = {name: share for name, share in settings.cameras.items() if name != "library"}
    out = {*shares, *settings.held_out_cameras}
    rest = [name for name in known if name not in out]
    spread = settings.cameras.get("library", 0.0)
    shares |= {name: spread / len(rest) for name in rest if spread}
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0:
        raise Refusal("cameras must have shares that sum above 0", settings.cameras, "Raise one.")
    return {name: share / total for name, share in shares.items()}
