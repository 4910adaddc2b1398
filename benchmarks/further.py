"""Going on with more: ``python -m benchmarks.further CAVE AIRBORNE FOLDER [ROW ...]``.

The small networks of `benchmarks.airborne` that know 14 of CAVE's training scenes go on, from the
same weights: with the same alone, with six airborne training scenes beside them, with lights too,
with larger crops. Scored: the middle of the seven other scenes of CAVE in equal energy and in
lights of a collection that training never saw, three other airborne training scenes, and the seven
scenes whole, seen in squares of 512, 256 and 128; means of PSNR (dB), SAM (degrees) and MRAE.
Validation is not read. What FOLDER holds is not trained again.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations import Row, line, settings_of
from benchmarks.airborne import TRAINED, UNSEEN, scored
from benchmarks.learning import BASLER, learnt
from benchmarks.recipes import LEFT_OUT, MIDDLE, chain, compared, left_out, mean
from flows.learn_settings import TrainSettings
from flows.shown import crops_of
from flows.train import new_model
from model import R2HDiff
from pipeline.camera import load_camera
from pipeline.light import load_light

AIRBORNE: dict[str, Any] = {"beside_scenes": TRAINED, "beside_share": 0.25}
LIGHTS = {"sfu_102": 0.2, "colour_light_sources": 0.1, "isetcam_measured_daylight": 0.1}
"""The CIE's are left to be scored by."""
ROWS: dict[str, dict[str, Any]] = {
    "alone": {},
    "airborne": AIRBORNE,
    "airborne and lights": {**AIRBORNE, "lights": LIGHTS},
    "larger crops": {"crop": 128, "batch": 2},
    "four larger crops": {"crop": 128, "batch": 4},
}
SIDES = (512, 256, 128)
SCORED_BY = ("A", "FL2", "FL11", "LED-B1")


def lit(network: R2HDiff, root: Path) -> list[float]:
    """Means over the scenes that were left out, in lights that no training showed."""
    lenses = [load_camera(BASLER, load_light(light)) for light in SCORED_BY]
    pairs = product(LEFT_OUT, lenses)
    answer = chain(network, len(network.schedule))
    return mean([compared(answer, root, name, MIDDLE, lens) for name, lens in pairs])


def begun(seed: int, given: argparse.Namespace) -> tuple[R2HDiff, TrainSettings]:
    """The network that all go on from, trained where it is not there."""
    settings = settings_of(Row(), seed, given)
    crops = crops_of(settings, given.root)
    folder = given.folder / f"default-{given.iterations}-{seed}"
    network, _ = learnt(new_model(settings, crops), settings, crops, folder)
    return network.requires_grad_(True), settings


def run(name: str, seed: int, given: argparse.Namespace) -> None:
    """Go on with one, or go on with going on; score it; print its row."""
    network, settings = begun(seed, given)
    change = {"learning_rate": given.rate, "iterations": given.further, "seed": seed + 100}
    files = {"illuminants": given.illuminants}
    files |= {"beside": str(given.airborne)} if "beside_scenes" in ROWS[name] else {}
    settings = TrainSettings(**{**settings.model_dump(), **change, **files, **ROWS[name]})
    folder = given.folder / f"{name.replace(' ', '-')}-{given.further}-{seed}"
    kept = folder / "scores-of-further.json"
    if not kept.exists():
        trained, _ = learnt(network, settings, crops_of(settings, given.root), folder)
        kept.write_text(json.dumps(scores(trained, given)))
    line(f"{name}, seed {seed}", *json.loads(kept.read_text()))


def cut(network: R2HDiff, root: Path, side: int) -> list[float]:
    """Means over whole scenes that were left out, of which it sees squares of a side at a time."""
    answer = chain(network, len(network.schedule))

    def by_parts(rgb: Tensor, camera: Tensor) -> Tensor:
        rows = [
            torch.cat(
                [answer(part, camera) for part in row.chunk(rgb.shape[3] // side, dim=3)], dim=3
            )
            for row in rgb.chunk(rgb.shape[2] // side, dim=2)
        ]
        return torch.cat(rows, dim=2)

    return mean([compared(by_parts, root, name, slice(None)) for name in LEFT_OUT])


def scores(network: R2HDiff, given: argparse.Namespace) -> list[list[float]]:
    """In equal energy, in other lights, from the air, and in squares of each of `SIDES`."""
    indoors = left_out(network, given.root, 5), lit(network, given.root)
    air = scored(network, given.airborne, UNSEEN, 5)
    return [*indoors, air, *(cut(network, given.root, side) for side in SIDES)]


def main() -> None:
    """Train what is not there, score it, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.further", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("airborne", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--further", type=int, default=2000, help="iterations that each goes on")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--reflectances", required=True, help="measured ones, an .npz file")
    parser.add_argument("--illuminants", required=True, help="lights, an .npz file")
    given = parser.parse_args()
    squares = " | ".join(f"in squares of {side}" for side in SIDES)
    print(
        f"| went on with | CAVE | in other lights | airborne | {squares} |",
        "|---" * 7 + "|",
        sep="\n",
    )
    for seed in given.seeds:
        line(f"nothing, seed {seed}", *scores(begun(seed, given)[0].eval(), given))
        for name in given.names:
            run(name, seed, given)


if __name__ == "__main__":
    main()
