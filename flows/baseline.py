"""The baseline, put together: root-polynomial regression on whole scenes seen by one camera."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from flows.learn_settings import TrainSettings
from flows.scenes import scenes_of, seen_by
from model.baseline import RootPolynomial
from model.shipped import CheckpointError
from pipeline.camera import Camera, load_camera, resampled
from pipeline.errors import Refusal
from pipeline.exposure import scale_of
from pipeline.reference import DataSet, ReferenceScene

USED = {"kind", "dataset", "scenes", "calibrate", "cameras"}
"""Settings that decide a fit."""


def fit_baseline(settings: TrainSettings, root: str | Path, folder: Path) -> Path:
    """Fit over every pixel of the settings' scenes in a root; returns the checkpoint's path.

    Raises Refusal unless exactly one camera and only scenes of the root are named, and for settings
    that are of networks alone.
    """
    _refuse_unused(settings)
    path = folder / "checkpoint.safetensors"
    if path.exists():
        _refuse_other(path)
    dataset, names = scenes_of(settings, settings.dataset, root)
    camera = _one_camera(settings, dataset.wavelengths)
    scenes = _scenes(dataset, names, camera)
    fitted = RootPolynomial.fit(scenes, camera.wavelengths, camera.name)
    folder.mkdir(parents=True, exist_ok=True)
    # A split may be of what is there today: names say what was fitted on, now and later.
    fitted.save(path, settings.model_dump(mode="json", include=USED) | {"scenes": list(names)})
    return path


def _refuse_other(path: Path) -> None:
    try:
        RootPolynomial.load(path)
    except CheckpointError as error:
        rule, fix = "a fit replaces a fit alone", "Choose another folder."
        raise Refusal(rule, f"{path}, which is none", fix) from error


def _refuse_unused(settings: TrainSettings) -> None:
    """Refuse what would be passed over, and kept as if it had counted."""
    plain = {name: field.default for name, field in TrainSettings.model_fields.items()}
    # It is solved in one pass; a network's iterations have no default.
    plain |= {"iterations": 1, "split": settings.split}
    asked = {name: getattr(settings, name) for name in plain.keys() - USED}
    if other := {name: value for name, value in asked.items() if value != plain[name]}:
        rule = f"a root-polynomial fit is decided by {', '.join(sorted(USED))} and split alone"
        raise Refusal(rule, other, "Leave them out, or train another kind.")


def _one_camera(settings: TrainSettings, wavelengths: tuple[float, ...]) -> Camera:
    names = list(settings.cameras)
    if len(names) != 1 or names == ["library"]:
        rule = "a root-polynomial fit is of one camera"
        raise Refusal(rule, names, "Name one camera in [cameras].")
    camera = load_camera(names[0])
    return resampled(camera, seen_by(camera, wavelengths))


def _scenes(
    dataset: DataSet, names: tuple[str, ...], camera: Camera
) -> Iterator[tuple[Tensor, Tensor]]:
    """RGB (1, 3, 1, n) and cube (1, bands, 1, n) of each scene's pixels, divided by its scale.

    The division weighs dark scenes as much as bright ones; left-out training scenes gain 0.1 to
    0.2 dB by it.
    """
    for name in names:
        reference = dataset.read(name)
        scene = ReferenceScene.rendered(reference, camera)
        rgb, cube = scene.rgb, reference.at(camera.wavelengths)
        known = [array[:, reference.valid][None, :, None] for array in (rgb, cube)]
        scale = scale_of(rgb, reference.valid)
        yield torch.from_numpy(known[0]) / scale, torch.from_numpy(known[1]) / scale
