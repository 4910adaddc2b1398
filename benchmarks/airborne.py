"""Scenes from the air as a second domain: ``python -m benchmarks.airborne CAVE AIRBORNE FOLDER``.

Small networks learn 14 of CAVE's training scenes by the recipe of the shipped weights, alone and
with six airborne training scenes beside them, as many crops of both. The seven other scenes of CAVE
and three other airborne ones are scored: means of PSNR (dB), SAM (degrees) and MRAE. With
``--checkpoint`` weights are scored alone, on scenes that are named, in five steps and in one, with
``--surfaces`` of those that are radiance after they are made reflectance. Validation is not read
unless it is named. What FOLDER holds is not trained again.

AIRBORNE is a folder as `pipeline.own` reads it: each scene on the scale of its 99th percentile.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

import model
from benchmarks.ablations import Row, line, settings_of
from benchmarks.learning import learnt
from benchmarks.recipes import chain, left_out, mean, of_reference
from flows.shown import SUN, crops_of
from flows.train import new_model
from model import R2HDiff
from pipeline.cave import WAVELENGTHS
from pipeline.light import load_light
from pipeline.own import own, reflectance_of
from pipeline.reference import Reference

TRAINED = (
    "abu_airport_1", "abu_airport_2", "abu_airport_3", "abu_urban_1", "abu_urban_2",
    "salton_sea_roi_51x56",
)  # fmt: skip
UNSEEN = ("abu_urban_4", "abu_urban_5", "gatorsense_vi_aviris_90x90")
"""Of the training scenes those that are scored."""
VALIDATION = (
    "abu_airport_4", "abu_urban_3", "abu_beach_1", "abu_beach_3", "muufl_gulfport_sub_51x88",
)  # fmt: skip
"""Those that are scored once all is decided."""
RADIANCE = "abu_"
"""How the names of those begin that are radiance (decision 0031)."""


def scored(
    network: R2HDiff, root: Path, names: tuple[str, ...], steps: int, on_ground: bool = False
) -> list[float]:
    """Means over airborne scenes, as they are or as reflectance."""
    scenes = [own(root, WAVELENGTHS).read(name) for name in names]
    known = map(surfaces, scenes) if on_ground else scenes
    return mean([of_reference(chain(network, steps), scene) for scene in known])


def surfaces(scene: Reference) -> Reference:
    """What surfaces reflect: the scene itself, unless it is of radiance."""
    if not scene.name.startswith(RADIANCE):
        return scene
    sunlight = load_light(SUN).at(np.array(WAVELENGTHS))
    return replace(scene, cube=reflectance_of(scene.cube, sunlight))


def run(name: str, seed: int, given: argparse.Namespace) -> None:
    """Train one, or go on with it; score it; print its row."""
    beside = {"beside": str(given.airborne), "beside_scenes": TRAINED}
    settings = settings_of(Row(beside if name == "both" else {}), seed, given)
    folder = given.folder / f"{name.replace(' ', '-')}-{given.iterations}-{seed}"
    kept = folder / "airborne.json"
    if not kept.exists():
        crops = crops_of(settings, given.root)
        trained, _ = learnt(new_model(settings, crops), settings, crops, folder)
        rows = [left_out(trained, given.root, 5), scored(trained, given.airborne, UNSEEN, 5)]
        kept.write_text(json.dumps(rows))
    line(f"{name}, seed {seed}", *json.loads(kept.read_text()))


def main() -> None:
    """Train what is not there, score it, print a table; or score weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airborne", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("airborne", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="rows, default and both, or scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--reflectances", help="measured ones, an .npz file")
    parser.add_argument("--checkpoint", type=Path, help="weights that are scored alone")
    parser.add_argument("--surfaces", action="store_true", help="radiance as reflectance")
    given = parser.parse_args()
    if given.checkpoint:
        network = model.load(given.checkpoint)
        for name in given.names or VALIDATION:
            each = (scored(network, given.airborne, (name,), n, given.surfaces) for n in (5, 1))
            line(name, *each)
        return
    print("| trained on | CAVE: PSNR, SAM, MRAE | airborne |", "|---|---|---|", sep="\n")
    for seed in given.seeds:
        for name in given.names or ("default", "both"):
            run(name, seed, given)


if __name__ == "__main__":
    main()
