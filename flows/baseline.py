"""The baseline, put together: root-polynomial regression on whole scenes seen by one camera."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from flows.settings import TrainSettings
from flows.train import scene_folders
from model.baseline import RootPolynomial
from pipeline.camera import Camera, load_camera, resampled
from pipeline.datasets import CAVE_WAVELENGTHS, ReferenceScene, cave_cube
from pipeline.errors import Refusal
from pipeline.exposure import scale_of
from pipeline.grid import Window


def fit_baseline(settings: TrainSettings, root: Path, folder: Path) -> Path:
    """Fit over every pixel of the settings' scenes in a CAVE root; returns the checkpoint's path.

    Raises Refusal unless exactly one camera and only scenes of the root are named.
    """
    camera = _one_camera(settings)
    scenes = _scenes(scene_folders(settings, root), camera)
    fitted = RootPolynomial.fit(scenes, CAVE_WAVELENGTHS, camera.name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint.safetensors"
    fitted.save(path, settings.model_dump(mode="json"))
    return path


def _one_camera(settings: TrainSettings) -> Camera:
    names = list(settings.cameras)
    if len(names) != 1 or names == ["library"]:
        rule = "a root-polynomial fit is of one camera"
        raise Refusal(rule, names, "Name one camera in [cameras].")
    return resampled(load_camera(names[0]), CAVE_WAVELENGTHS)


def _scenes(folders: list[Path], camera: Camera) -> Iterator[tuple[Tensor, Tensor]]:
    """RGB (1, 3, H, W) and cube (1, bands, H, W) of each scene, divided by its scale.

    The division weighs dark scenes as much as bright ones; left-out training scenes gain 0.1 to
    0.2 dB by it.
    """
    for folder in folders:
        scene = ReferenceScene(folder.name, cave_cube(folder), camera)
        rgb, _ = scene.read(Window(0, 0, scene.height, scene.width))
        scale = scale_of(rgb)
        yield torch.from_numpy(rgb)[None] / scale, torch.from_numpy(scene.reference)[None] / scale
