"""Others' networks beside ours on the same crops: ``python -m benchmarks.rivals CAVE FOLDER ...``.

Each learns CAVE's training scenes as the Basler camera sees them, for the same processor time
(``--minutes``; iterations follow from what one costs, measured in turns) or for the same
``--iterations``: the same crops in the same order, the same loss, optimiser and precision. The five
validation scenes, rendered clean, are scored as whole frames. What FOLDER holds is not done again.
The others' code is their authors' and not part of R2H: put it into a folder and name it with
``--peers`` or ``R2H_MST``.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.learning import BASLER, batches, learnt
from benchmarks.recipes import score
from benchmarks.toolbox import toolbox
from flows.learn_settings import EvaluateSettings, TrainSettings
from flows.settings import load
from flows.shown import crops_of
from flows.train import new_model, trainer_config
from model import R2HDiff
from model.train import Trainer
from pipeline.crops import Crops

TIMED = 7
"""Iterations of each, in turns, whose median is what one costs; one before is not counted."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A network, and what it is given."""

    file: str = ""
    """Of its authors' code; none: R2H-Diff."""
    name: str = ""
    lift: bool = True
    """Whether it answers what the camera cannot see, beside the Wiener lift; or the cube."""


RIVALS = {
    "r2h-diff": Rival(),
    "mst++": Rival("MST_Plus_Plus.py", "MST_Plus_Plus", lift=False),
    "mst++-lift": Rival("MST_Plus_Plus.py", "MST_Plus_Plus"),
    "hinet": Rival("hinet.py", "HINet", lift=False),
    "hinet-lift": Rival("hinet.py", "HINet"),
}


class OnePass(nn.Module):
    """A network of RGB alone in the denoiser's place: it looks at neither state nor step."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, _state: Tensor, guide: Tensor, _time: Tensor, _: object = None) -> Tensor:
        """Guide (N, 3 or more, H, W), whose first three are the RGB, to (N, bands, H, W)."""
        answer: Tensor = self.network(guide[:, :3])
        return answer


def settings_of(
    rival: Rival, seed: int, iterations: int, given: argparse.Namespace
) -> TrainSettings:
    """The first recipe of the shipped weights on one camera, most crops at the chain's start."""
    recipe = load(TrainSettings, "train-cave.toml").model_dump()
    changed = {
        "cameras": {BASLER: 1.0},
        "held_out_cameras": (),
        "from_zero": 0.8,
        "batch": given.batch,
        "iterations": iterations,
        "precision": given.precision,
        "learning_rate": given.rate or recipe["learning_rate"],
        "average": 0.995,
        "save_every": 100,
        "seed": seed,
        # Without the bound ours overflowed (docs/decisions/0027); the others normalise.
        "network": {"target": "residual" if rival.lift else "cube", "bounded": True},
    }
    return TrainSettings(**{**recipe, **changed})


def framed(model: R2HDiff, network: nn.Module) -> R2HDiff:
    """The other's network in R2H-Diff's frame of lift, projection and unit."""
    model.guide = nn.Identity()  # type: ignore[assignment]
    model.denoiser = OnePass(network)  # type: ignore[assignment]
    return model


def network_of(rival: Rival, settings: TrainSettings, crops: Crops, folder: str) -> R2HDiff:
    """R2H-Diff, or its frame around the other's network; with fresh weights."""
    model = new_model(settings, crops)
    if not rival.file:
        return model
    torch.manual_seed(settings.seed)
    return framed(model, toolbox(folder, rival.file, rival.name)())


def costs(given: argparse.Namespace) -> dict[str, float]:
    """Seconds of processor time an iteration of each takes, measured in turns and kept."""
    kept = given.folder / "costs.json"
    found: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    if given.iterations or not (names := [name for name in given.names if name not in found]):
        return found
    taken: dict[str, list[float]] = {name: [] for name in names}
    with TemporaryDirectory() as folder:
        trainers = {}
        for name in names:
            settings = settings_of(RIVALS[name], 0, 1, given)
            crops = crops_of(settings, given.root)
            network = network_of(RIVALS[name], settings, crops, given.peers)
            trainers[name] = Trainer(network, trainer_config(settings), Path(folder))
        for batch, _ in zip(batches(crops, 0), range(TIMED + 1), strict=False):
            for name, trainer in trainers.items():
                start = time.process_time()
                trainer.step(batch)
                taken[name].append(time.process_time() - start)
    found |= {name: median(each[1:]) for name, each in taken.items()}
    given.folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def run(name: str, seed: int, iterations: int, given: argparse.Namespace) -> None:
    """Train one, or go on with it; score it; print its row."""
    rival = RIVALS[name]
    settings = settings_of(rival, seed, iterations, given)
    rate = f"-{given.rate}" if given.rate else ""
    folder = given.folder / f"{name}-{iterations}-{seed}{rate}"
    kept = folder / "scores.json"
    if not kept.exists():
        crops = crops_of(settings, given.root)
        network = network_of(rival, settings, crops, given.peers)
        size = sum(parameter.numel() for parameter in network.parameters())
        start, clock = time.process_time(), time.monotonic()
        trained, begun = learnt(network, settings, crops, folder)
        used = {"from": begun, "cpu": time.process_time() - start}
        used["clock"] = time.monotonic() - clock
        scenes = load(EvaluateSettings, "evaluate-cave.toml").scenes
        steps = 1 if rival.file else len(trained.schedule)
        rows = {scene: score(trained, given.root, scene, steps) for scene in scenes}
        kept.write_text(json.dumps({"parameters": size, "used": used, "scenes": rows}))
    about = json.loads(kept.read_text())
    means = np.mean(list(about["scenes"].values()), axis=0)
    used = about["used"]
    whole = f"{used['cpu'] / 60:.1f}" if not used["from"] else f"(from {used['from']})"
    print(
        f"| {name}, {seed}{rate} | {about['parameters'] / 1e6:.2f} | {iterations} | {whole} "
        "| {:.2f} | {:.1f} | {:.3f} |".format(*means),
        flush=True,
    )


def main() -> None:
    """Train what is not there, score it, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", choices=RIVALS)
    parser.add_argument("--peers", default=os.environ.get("R2H_MST", ""))
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--iterations", type=int, default=0, help="for each, whatever it takes")
    parser.add_argument("--rate", type=float, help="of learning; not that of the shipped recipe")
    parser.add_argument("--batch", type=int, default=8, help="crops of 128 an iteration")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    cost = costs(given)
    print("| network, seed | M parameters | iterations | CPU minutes | PSNR dB | SAM | MRAE |")
    print("|---|---|---|---|---|---|---|")
    for seed, name in product(given.seeds, given.names):
        iterations = given.iterations or int(given.minutes * 60 / cost[name])
        run(name, seed, iterations, given)


if __name__ == "__main__":
    main()
