"""How a training was begun, kept in its folder: it goes on so, or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.learn_settings import TrainSettings
from flows.scenes import SHOWN, scenes_of
from flows.shown import beside_of
from model.checkpoint import describe
from model.shipped import named
from model.train import STATE
from pipeline.errors import Refusal
from pipeline.lock import alone
from pipeline.reference import Folder
from pipeline.store import put

SETTINGS, SEEN, START = "settings.json", "seen.json", "--init"
MACHINE = {"device", "tensorboard"}
"""Settings that a run may go on under other values of: they say where, not what."""
_FIX = "Train in another folder."


@contextmanager
def taken_up(settings: TrainSettings, root: str | Path, folder: Path) -> Iterator[None]:
    """Keep a folder for a training, and in it how that is begun.

    Raises Refusal where it was begun otherwise, or the folder holds what no training wrote, and
    Busy where another one is at work in it.
    """
    with alone(folder / ".train.lck", where_possible=True):
        _refuse_other(folder)
        _keep_settings(settings, folder)
        _keep_seen(settings, root, folder)
        yield


def _refuse_other(folder: Path) -> None:
    """Refuse a folder that holds files of these names without a training's settings beside them."""
    kept = folder / SETTINGS
    if kept.exists() and '"iterations"' in kept.read_text("utf-8", "replace"):
        return
    for name in (SETTINGS, SEEN, "loss.csv", STATE, "checkpoint.safetensors"):
        if (path := folder / name).exists():
            raise Refusal("what a training keeps can be read, and is its own", path, _FIX)


def _keep_settings(settings: TrainSettings, folder: Path) -> None:
    """Write the settings beside the state; refuse to go on under other ones."""
    path, wanted = folder / SETTINGS, settings.model_dump(mode="json", exclude=MACHINE)
    # What an earlier version did not know had today's default.
    before = _begun(path)
    try:
        begun = TrainSettings(**before) if before else settings
    except ValueError as error:  # of a version that had other settings
        raise Refusal("what a training keeps can be read, and is its own", path, _FIX) from error
    if begun.beside and not begun.beside_scenes:  # all, which it did not name
        begun = begun.model_copy(update={"beside_scenes": settings.beside_scenes})
    for key, value in begun.model_dump(mode="json", exclude=MACHINE).items():
        if wanted[key] != value:
            change = f"{key} {value} when it was begun, {wanted[key]} now"
            fix = "Train in another folder, or as it was begun."
            raise Refusal("training goes on under the settings it was begun with", change, fix)
    put(str(path), json.dumps(wanted, indent=2).encode())


def _keep_seen(settings: TrainSettings, root: str | Path, folder: Path) -> None:
    """Write beside the state what its data look like; refuse to go on with others.

    Of one that an earlier version began, these are taken to be those it began with.
    """
    dataset = scenes_of(settings, settings.dataset, root)[0]
    now = {name: Folder(root).digest(dataset.paths[name]) for name in settings.scenes}
    if others := beside_of(settings, dataset.wavelengths):
        of, beside = others.paths, Folder(settings.beside)
        now |= {f"beside {name}": beside.digest(of[name]) for name in settings.beside_scenes}
    for path in map(Path, filter(None, (settings.reflectances, settings.illuminants))):
        key = f"illuminants {path.name}" if path.name in now else path.name
        now[key] = Folder(path.parent).digest(path.name)
    if settings.init is not None:
        now[START] = describe(named(settings.init))["digest"]
    kept = folder / SEEN
    begun = _begun(kept) or now
    if START in now:  # of which an earlier version kept no digest
        begun = {START: now[START]} | begun
    if other := [name for name in begun | now if begun.get(name) != now.get(name)]:
        found = f"{', '.join(other[:SHOWN])}: {len(other)} of {len(now)} are others in {root} now"
        fix = "Give the data it was begun with, or train in another folder."
        raise Refusal("training goes on with the data it was begun with", found, fix)
    put(str(kept), json.dumps(now, indent=2).encode())


def _begun(path: Path) -> dict[str, Any]:
    """What is kept at a path of what was trained beside it; nothing where nothing was."""
    trained = [path.with_name(name) for name in (STATE, "checkpoint.safetensors")]
    if not (path.exists() and any(other.exists() for other in trained)):
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise Refusal("what a training keeps can be read", f"{path}: {error}", _FIX) from error
    return found
