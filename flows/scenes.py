"""Which scenes of which data set, at which wavelengths: shared by training and evaluation."""

from collections.abc import Sequence
from pathlib import Path

from flows.learn_settings import EvaluateSettings, TrainSettings
from pipeline.camera import Camera
from pipeline.datasets import Name, open_dataset
from pipeline.reference import DataSet

SHOWN = 5
"""Of the scenes that are missing, as many are named."""


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


def shortfall(use: str, there: int, missing: Sequence[str]) -> str:
    """What to tell of a split of which scenes are missing."""
    more = ", ..." if len(missing) > SHOWN else ""
    names = ", ".join(missing[:SHOWN]) + more
    return f"{there} of {there + len(missing)} scenes of {use} are there; missing: {names}"


def shortfall_of(settings: TrainSettings, root: str | Path) -> str | None:
    """What to tell before training begins; None where no scene of a split is missing."""
    if settings.split is None:
        return None
    opened, names = scenes_of(settings, settings.dataset, root)
    missing = opened.missing(settings.split)
    return shortfall(settings.split, len(names), missing) if missing else None


def seen_by(camera: Camera, wavelengths: tuple[float, ...]) -> tuple[float, ...]:
    """Those of some wavelengths (nm) that a camera's table spans."""
    first, last = camera.wavelengths[0], camera.wavelengths[-1]
    return tuple(w for w in wavelengths if first <= w <= last)
