"""Sigma, put together: networks that have not seen a scene, their errors there, and the fit."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import model
from flows.begun import taken_up
from flows.bound import views
from flows.folds import reader, refuse_unfit, without
from flows.learn_settings import CalibrateSettings
from flows.train import provenance, train, with_names
from model.checkpoint import KIND, describe_kind
from model.engine import best_engine
from model.shipped import named
from model.uncertainty import LEVELS, PowerLaw, Uncertainty, features
from pipeline.ahead import cores
from pipeline.camera import Camera, load_camera, resampled
from pipeline.cave import WAVELENGTHS
from pipeline.context import measured
from pipeline.grid import Window
from pipeline.noise import fields
from pipeline.reference import Reference, ReferenceScene

Row = dict[str, Any]
_Seen = tuple[ReferenceScene, float, model.Reconstructor]
"""By a camera, its scale, and what reconstructs values that are divided by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """What pixels of a scene tell, and how far off their estimate is, over the scene's scale."""

    scene: str
    known: Tensor
    """(n, bands, F), as of `model.uncertainty.features`."""
    error: Tensor
    """(n, bands), absolute; of the estimate as it is stored, not below zero."""


def calibrate(
    settings: CalibrateSettings,
    checkpoint: Path,
    root: str,
    out: Path,
    tell: Callable[[str], None],
) -> Path:
    """Fit the laws of a checkpoint; write them and the check, calibration.json, to ``out``.

    Networks of the folds that are there already are not trained again. Raises Refusal, or
    CheckpointError for a checkpoint of another kind, before any is trained.
    """
    checkpoint = named(checkpoint)
    about = describe_kind(checkpoint, KIND)
    refuse_unfit(settings, about)
    read = reader(settings, root)
    networks = [_network(settings, fold, root, out, tell) for fold in settings.folds]
    laws, check, alike = {}, {}, groups(settings.alike)
    for name, samples in (("one", 0), ("samples", settings.samples)):
        found = [
            errors
            for fold, network in zip(settings.folds, networks, strict=True)
            for errors in left_out(settings, network, map(read, fold), samples)
        ]
        tell(f"{name}: {sum(len(e.error) for e in found)} pixels of {len(found)} scenes")
        laws[name] = fitted(found, alike)
        check[name] = leave_one_out(found, alike)
    uncertainty = Uncertainty(**laws, wavelengths=WAVELENGTHS, network=about["digest"])
    path = out / f"{checkpoint.stem}.uncertainty.safetensors"
    uncertainty.save(path, settings.model_dump(mode="json") | {"train": provenance(settings.train)})
    (out / "calibration.json").write_text(json.dumps(check, indent=2))
    return path


def _network(
    settings: CalibrateSettings,
    fold: tuple[str, ...],
    root: str,
    out: Path,
    tell: Callable[[str], None],
) -> model.R2HDiff:
    folder, of = out / f"without-{fold[0]}", without(fold, settings.train)
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        every = max(1, of.iterations // 10)

        def report(iteration: int, loss: float) -> None:
            if iteration % every == 0:
                tell(f"{folder.name}: iteration {iteration}, loss {loss:.3f}")

        train(of, root, folder, report)
    else:
        # As by a training that goes on, other settings and other data are refused.
        with taken_up(with_names(of, root), root, folder):
            pass
    return model.load(path)


def left_out(
    settings: CalibrateSettings,
    network: model.R2HDiff,
    scenes: Iterable[Reference],
    samples: int,
) -> Iterator[Errors]:
    """Errors of a network on scenes, each by four tiles that the cameras take in turns."""
    cameras = [resampled(load_camera(name), WAVELENGTHS) for name in settings.train.cameras]
    bound = [_bound(network, camera, samples) for camera in cameras]
    step = network.config.reduction
    for reference in scenes:
        seen = [_seen(settings, *of, reference) for of in zip(bound, cameras, strict=True)]
        parts = []
        for index, window in enumerate(_quarters(reference.cube.shape[1:], settings.tile, step)):
            known, error = _tile(settings, seen[index % len(seen)], window)
            drawn = np.random.default_rng([settings.seed, index])
            chosen = drawn.permutation(len(error))[: settings.pixels]
            parts.append((known[chosen], error[chosen]))
        yield Errors(reference.name, *(torch.cat(part) for part in zip(*parts, strict=True)))


def _quarters(shape: tuple[int, ...], tile: int, step: int) -> Iterator[Window]:
    """A square tile about the middle of each quarter of a scene, of whole steps and inside it."""
    side = min(tile, min(shape) // step * step)
    rows, cols = (
        [min(max(size * part // 4 - side // 2, 0), size - side) for part in (1, 3)]
        for size in shape
    )
    for row in rows:
        for col in cols:
            yield Window(row, col, side, side)


def _seen(
    settings: CalibrateSettings, bound: model.Reconstructor, camera: Camera, reference: Reference
) -> _Seen:
    scene = ReferenceScene.rendered(reference, camera)
    (scale, windows), seed = measured(scene, camera), settings.seed if bound.noises else None
    shown = views(windows, partial(np.multiply, np.float32(1 / scale)), bound.wavelengths, seed)
    return scene, scale, bound.attending(shown, cores())


def _tile(settings: CalibrateSettings, seen: _Seen, window: Window) -> tuple[Tensor, Tensor]:
    """Features (pixels, bands, F) and errors (pixels, bands) of a window."""
    (scene, scale, reconstruct), (rows, cols) = seen, window.slices
    rgb = torch.from_numpy(scene.read(window)[0] / np.float32(scale))[None]
    truth = torch.from_numpy(scene.reference.cube[:, rows, cols] / np.float32(scale))[None]
    bands = len(truth[0])
    start = torch.from_numpy(fields(window, bands, settings.seed, reconstruct.noises))[None]
    answer = reconstruct(rgb, start)
    cube = answer[:, :bands]
    known = features(rgb, cube, answer[:, bands:] if reconstruct.noises else None)
    error = (cube.clamp(min=0) - truth).abs()
    return known[0].flatten(2).permute(2, 0, 1), error[0].flatten(1).T


def _bound(network: model.R2HDiff, camera: Camera, samples: int) -> model.Reconstructor:
    """The network for a camera, on values that are divided by the scale already."""
    sensitivities = torch.from_numpy(camera.sensitivities)
    return model.Reconstructor(network, sensitivities, engine=best_engine(network), noises=samples)


def fitted(errors: list[Errors], group: dict[str, str]) -> PowerLaw:
    """The law of all these scenes; those of one group count as one."""
    names = [group.get(e.scene, e.scene) for e in errors]
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    of = [torch.full((len(e.error),), number[n]) for e, n in zip(errors, names, strict=True)]
    known, error = torch.cat([e.known for e in errors]), torch.cat([e.error for e in errors])
    return PowerLaw.fit(known, error, torch.cat(of))


def groups(alike: tuple[tuple[str, ...], ...]) -> dict[str, str]:
    """The group of each scene that has look-alikes."""
    return {name: names[0] for names in alike for name in names}


def leave_one_out(errors: list[Errors], group: dict[str, str]) -> list[Row]:
    """A row a scene: what a law fitted on all but its group covers there, a level and wavelength.

    Rank correlations are of the pixels' errors, mean over wavelengths, with their sigma, and with
    their brightness alone.
    """
    of = {e.scene: group.get(e.scene, e.scene) for e in errors}
    rows = []
    for left in dict.fromkeys(of.values()):
        law = fitted([e for e in errors if of[e.scene] != left], group)
        rows += [scored(law, e) | {"group": left} for e in errors if of[e.scene] == left]
    return rows


def scored(law: PowerLaw, errors: Errors) -> Row:
    """Coverage of each level and wavelength in a scene; a pixel each error, sigma, log brightness.

    Coverage is the share of pixels whose truth is inside the interval.
    """
    sigma = law.of(errors.known)
    inside = (errors.error <= law.factors[:, None, None] * sigma).double().mean(dim=1)
    return {
        "scene": errors.scene,
        "covered": {
            f"{level:.0%}": shares.tolist() for level, shares in zip(LEVELS, inside, strict=True)
        },
        "error": errors.error.mean(dim=1).tolist(),
        "sigma": sigma.mean(dim=1).tolist(),
        "brightness": errors.known[:, 0, 1].tolist(),
    }
