"""Folds of a calibration: what may be left out together, and what is read and trained on then."""

from collections.abc import Callable
from typing import Any

from flows.learn_settings import CalibrateSettings, TrainSettings
from flows.lineage import Link, lineage, seen, untold
from flows.shown import beside_of
from model.checkpoint import KIND, describe
from model.shipped import named
from pipeline.camera import library
from pipeline.cave import WAVELENGTHS, cave
from pipeline.errors import Refusal
from pipeline.reference import Reference


def refuse_unfit(settings: CalibrateSettings, about: dict[str, Any]) -> None:
    """Refuse what could not be fitted once the folds are trained, hours later."""
    if (nm := tuple(about["wavelengths_nm"])) != WAVELENGTHS:
        rule = "sigma is fitted on CAVE's scenes, at their wavelengths"
        found = f"a checkpoint at {len(nm)} from {nm[0]:g} to {nm[-1]:g} nm"
        raise Refusal(rule, found, f"Give one at {WAVELENGTHS[0]:g} to {WAVELENGTHS[-1]:g} by 10.")
    if settings.train.dataset != "cave":
        rule, fix = "sigma is fitted on CAVE", "Set dataset to cave."
        raise Refusal(rule, settings.train.dataset, fix)
    if settings.train.kind != KIND:
        raise Refusal("the folds' networks are of one kind", settings.train.kind, f"Use {KIND}.")
    if settings.train.init is not None:
        _refuse_seen(settings, lineage(describe(named(settings.train.init))))
    if unknown := [name for name in settings.train.cameras if name not in library()]:
        rule = "errors are measured by cameras that are named"
        raise Refusal(rule, unknown, "Name cameras of configs/cameras.")


def _refuse_seen(settings: CalibrateSettings, start: list[Link]) -> None:
    """Refuse a start of the folds' networks that knows, or may know, what they leave out."""
    known = seen(start, "cave", [name for fold in settings.folds for name in fold])
    if known or untold(start):
        rule = "the folds' networks have not seen the scenes that they leave out"
        found = f"a start that learnt of {', '.join(known) or 'nobody says which'}"
        raise Refusal(rule, found, "Train them without init.")


def reader(settings: CalibrateSettings, root: str) -> Callable[[str], Reference]:
    """Reads a scene of the folds by its name, from CAVE or from beside it."""
    of, folds = settings.train, [name for fold in settings.folds for name in fold]
    wanted = {*of.scenes, *of.beside_scenes}
    if of.beside and not of.beside_scenes:
        fix = "Name them as beside_scenes, and each in a fold."
        raise Refusal("scenes of a folder beside are named", of.beside, fix)
    if len(folds) != len(set(folds)) or set(folds) != wanted:
        twice = {name for name in folds if folds.count(name) > 1}
        rule, fix = "every scene of the training is in one fold", "Name each once."
        raise Refusal(rule, sorted(twice | wanted.symmetric_difference(folds)), fix)
    if not all(fold and {*of.scenes} - {*fold} for fold in settings.folds):
        # Of none that are named a training would take all that are there.
        rule, fix = "a fold leaves out some scenes of CAVE, and not all", "Share them out."
        raise Refusal(rule, [list(fold) for fold in settings.folds], fix)
    indoors, others = cave(root), beside_of(of, WAVELENGTHS)
    return lambda name: (others if others and name in of.beside_scenes else indoors).read(name)


def without(fold: tuple[str, ...], train: TrainSettings) -> TrainSettings:
    """The training without the scenes of a fold."""
    kept = {
        key: tuple(name for name in getattr(train, key) if name not in fold)
        for key in ("scenes", "beside_scenes", "beside_radiance")
    }
    # To name none would stand for every scene of the folder.
    beside = train.beside if kept["beside_scenes"] else None
    return train.model_copy(update=kept | {"beside": beside})
