"""Whether a data set is all there and looks as it should."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import arad, cave, harvard
from pipeline.datasets import recognised
from pipeline.errors import Refusal
from pipeline.reference import DataSet, Folder, Reference

SIZES = {"arad": arad.SIZE, "cave": cave.SIZE, "harvard": harvard.SIZE}
SCENES = {"arad": 947, "cave": 32, "harvard": 50}
"""How many scenes with spectra their owners publish; of one's own nobody says."""
MANY = 0.5
"""Share of zeros, or of masked pixels, that looks wrong."""
SHOWN = 5


@dataclass(slots=True)
class Found:
    """What a check saw."""

    dataset: str
    scenes: int
    splits: dict[str, str]
    """Of each split, how many scenes of how many are there."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing."""
    problems: list[str] = field(default_factory=list)
    """What is missing or looks wrong."""


def check(root: str | Path) -> Found:
    """Read every scene, one at a time. Raises Refusal where the root has no layout."""
    opened = recognised(root)
    there = {use: [n for n in names if n in opened.paths] for use, names in opened.splits.items()}
    splits = {use: f"{len(found)} of {len(opened.splits[use])}" for use, found in there.items()}
    found = Found(opened.name, len(opened.paths), splits)
    _check_lists(opened, Folder(root), found)
    facts = {}
    for name in opened.paths:
        try:
            facts[name] = _check_scene(opened.read(name), found)
        except Refusal as error:
            found.problems.append(f"{name}: {error}")
    if facts:
        _compare(opened, facts, found)
    return found


def _check_scene(scene: Reference, found: Found) -> dict[str, Any]:
    cube = scene.cube
    known = cube[:, scene.valid]
    flaws = {
        "nothing valid": not scene.valid.any(),
        "negative values": bool((known < 0).any()),
        "one value throughout": known.size > 0 and known.min() == known.max(),
        f"over {MANY:.0%} zeros": (known == 0).mean() > MANY if known.size else False,
        f"over {MANY:.0%} masked: is the mask the other way round?": scene.valid.mean() < MANY,
    }
    for flaw, has in flaws.items():
        if has:
            found.problems.append(f"{scene.name}: {flaw}")
    return {
        "size": cube.shape[1:],
        "least": float(known.min(initial=np.inf)),
        "greatest": float(known.max(initial=-np.inf)),
        "zeros": float((known == 0).mean()) if known.size else 0.0,
        "masked": float(1 - scene.valid.mean()),
    }


def _compare(opened: DataSet, facts: dict[str, dict[str, Any]], found: Found) -> None:
    """Scenes with each other, and with what their owners publish."""
    if opened.name in SIZES:
        _compare_sizes(opened, facts, found)
    least = min(fact["least"] for fact in facts.values())
    greatest = max(fact["greatest"] for fact in facts.values())
    found.notes.append(f"values {least:.4g} to {greatest:.4g}")
    if any(fact["zeros"] for fact in facts.values()):
        share = np.mean([fact["zeros"] for fact in facts.values()])
        found.notes.append(f"{share:.3%} zeros: MRAE without a floor is infinite")
    if any(fact["masked"] for fact in facts.values()):
        found.notes.append(f"{np.mean([f['masked'] for f in facts.values()]):.3%} masked")


def _compare_sizes(opened: DataSet, facts: dict[str, dict[str, Any]], found: Found) -> None:
    usual = Counter(fact["size"] for fact in facts.values()).most_common(1)[0][0]
    for name, fact in facts.items():
        if fact["size"] != usual:
            found.problems.append(f"{name}: {fact['size']} pixels where others have {usual}")
    if usual != SIZES[opened.name]:
        found.notes.append(f"scenes of {usual} pixels; its owner's have {SIZES[opened.name]}")
    if len(opened.paths) != SCENES[opened.name]:
        found.notes.append(f"{len(opened.paths)} scenes; its owner's has {SCENES[opened.name]}")


def _check_lists(opened: DataSet, folder: Folder, found: Found) -> None:
    """Splits that share a scene, and files that lack their companion."""
    uses = list(opened.splits)
    for i, one in enumerate(uses):
        for other in uses[i + 1 :]:
            if both := sorted({*opened.splits[one]} & {*opened.splits[other]}):
                found.problems.append(f"in {one} and in {other}: {_some(both)}")
    if opened.name == "harvard":
        for part in harvard.PARTS:
            names = folder.names(part)
            if any(name.endswith(".mat") for name in names) and harvard.CALIBRATION not in names:
                found.problems.append(f"no {harvard.CALIBRATION} in {part or 'the root'}")
    if opened.name == "arad":
        photographs = arad.inside(folder, arad.PHOTOGRAPHS, ".jpg")
        if lacking := sorted({*opened.paths} - {*photographs}):
            found.problems.append(f"cubes without a photograph: {_some(lacking)}")
        secret = {*opened.splits["test"], *opened.paths}
        if lacking := sorted({*photographs} - secret):
            found.problems.append(f"photographs without a cube: {_some(lacking)}")
        for use in ("train", "validation"):
            if lacking := sorted({*opened.splits[use]} - {*opened.paths}):
                found.problems.append(f"listed for {use} and not there: {_some(lacking)}")


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
