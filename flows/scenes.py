"""Which scenes of which data set, at which wavelengths: shared by training and evaluation."""

from pathlib import Path

from flows.learn_settings import EvaluateSettings, TrainSettings
from pipeline.camera import Camera
from pipeline.datasets import Name, open_dataset
from pipeline.reference import DataSet


def scenes_of(
    settings: EvaluateSettings | TrainSettings, dataset: Name, root: str | Path
) -> tuple[DataSet, tuple[str, ...]]:
    """The data set and the names of the scenes that are asked for.

    Raises Refusal where the root has another layout, or a scene is not there.
    """
    opened = open_dataset(dataset, root, settings.calibrate)
    if settings.split:
        return opened, opened.split(settings.split)
    return opened, opened.named(settings.scenes or tuple(opened.paths))


def seen_by(camera: Camera, wavelengths: tuple[float, ...]) -> tuple[float, ...]:
    """Those of some wavelengths (nm) that a camera's table spans."""
    first, last = camera.wavelengths[0], camera.wavelengths[-1]
    return tuple(w for w in wavelengths if first <= w <= last)
