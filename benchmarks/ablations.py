"""What each part of the recipe is worth: ``python -m benchmarks.ablations CAVE FOLDER [NAME ...]``.

Small networks learn 14 of the 21 training scenes by the recipe of the shipped weights, all for as
many iterations of the same crops. The middle of the seven others is scored, by all steps and by
one, from zero where training knew that start: means of PSNR (dB), SAM (degrees) and MRAE.
Validation is not read. Above them stands root-polynomial, fitted on the same scenes. What FOLDER
holds is not trained again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.learning import learnt
from benchmarks.recipes import LEFT_OUT, MIDDLE, RECIPES, SMALL, compared, left_out, mean
from flows.baseline import fit_baseline
from flows.learn_settings import TrainSettings
from flows.settings import load
from flows.shown import crops_of
from flows.train import new_model
from model import R2HDiff
from model.baseline import RootPolynomial
from model.diffusion import Schedule
from model.loss import loss
from model.reconstructor import Condition
from model.train import Batch, Objective, TrainConfig, Trainer


@dataclass(frozen=True, slots=True)
class Row:
    """How a network differs from the default."""

    training: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None
    """Where it is not one of five steps."""
    noise: bool = False
    """Whether the network answers the noise, not the clean state."""


class OfNoise(R2HDiff):
    """The network answers the noise; the clean state follows (Ho et al. 2020, eq. 15)."""

    def denoise(
        self,
        state: Tensor,
        condition: Condition,
        step: Tensor,
        attention: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Estimate of the clean state from (N, bands, H, W) at steps (N,)."""
        a = torch.tensor(self.schedule.alpha_bar)[step][:, None, None, None]
        noise = super().denoise(state, condition, step, attention)
        clean: Tensor = (self._hidden(state, condition) - (1 - a).sqrt() * noise) / a.sqrt()
        return clean

    def noise(self, state: Tensor, condition: Condition, step: Tensor) -> Tensor:
        """What the network answers, without what the camera sees."""
        return super().denoise(state, condition, step)

    @classmethod
    def like(cls, other: R2HDiff) -> "OfNoise":
        """The same weights."""
        made = cls(other.config, other.wavelengths, other.prior)
        made.load_state_dict(other.state_dict())
        return made


class NoiseObjective(Objective):
    """The same loss, of the noise."""

    model: OfNoise

    def forward(
        self, batch: Batch, noise: Tensor, steps: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the spread within images of the estimate and of the truth (2,)."""
        condition = self.model.condition(batch.rgb, batch.sensitivities)
        clean = self.model.to_state(batch.cube, condition)
        state = self.model.schedule.diffuse(clean, noise, steps)
        estimate = self.model.noise(state, condition, steps)
        truth = self.model._hidden(noise, condition)
        spread = torch.stack([x.detach().std(dim=(2, 3)).mean() for x in (estimate, truth)])
        return loss(estimate, truth, self.gradient_weight), spread


class NoiseTrainer(Trainer):
    """The training loop with that loss."""

    def __init__(self, model: R2HDiff, config: TrainConfig, folder: Path) -> None:
        super().__init__(model, config, folder)
        self._objective = NoiseObjective(self.model, config.gradient_weight)


ROWS = {
    "default": Row(),
    "without HATA": Row(network={"hata": False}),
    "without GSRM": Row(network={"gsrm": False}),
    "without both": Row(network={"hata": False, "gsrm": False}),
    "gradient loss 0": Row({"gradient_weight": 0.0}),
    "the cube, not the residual": Row(network={"target": "cube"}),
    "with normalisation": Row(network={"normalise": True}),
    "gradient loss 0.5": Row({"gradient_weight": 0.5}),
    "gradient loss 2": Row({"gradient_weight": 2.0}),
    "one pass": Row({"from_zero": 1.0}),
    "3 steps": Row(schedule=Schedule.linear(3)),
    "10 steps": Row(schedule=Schedule.linear(10)),
    "cosine schedule": Row(network={"schedule": "cosine"}),
    "metamers": Row({"metamers": 0.3}),
    "from noise": Row({"from_zero": 0.0}),
    "from noise, and its noise is learnt": Row({"from_zero": 0.0}, noise=True),
}


def settings_of(row: Row, seed: int, given: argparse.Namespace) -> TrainSettings:
    """The recipe on the scenes that are not left out, with what the row changes."""
    recipe = load(TrainSettings, "train-cave.toml")
    changed = {
        **SMALL,
        **RECIPES["most from zero, repainted, noise"],
        "network": SMALL["network"] | row.network,
        "scenes": tuple(name for name in recipe.scenes if name not in LEFT_OUT),
        "reflectances": given.reflectances,
        "iterations": given.iterations,
        "seed": seed,
    }
    return TrainSettings(**{**recipe.model_dump(), **changed, **row.training})


def run(name: str, seed: int, given: argparse.Namespace) -> None:
    """Train one, or go on with it; score it; print its row."""
    row = ROWS[name]
    settings = settings_of(row, seed, given)
    folder = given.folder / f"{name.replace(',', '').replace(' ', '-')}-{given.iterations}-{seed}"
    kept = folder / "scores.json"
    if not kept.exists():
        crops = crops_of(settings, given.root)
        network = new_model(settings, crops)
        network = OfNoise.like(network) if row.noise else network
        network.schedule = row.schedule or network.schedule
        loop = NoiseTrainer if row.noise else Trainer
        trained, _ = learnt(network, settings, crops, folder, loop)
        steps, zero = sorted({1, len(network.schedule)}), settings.from_zero > 0
        kept.write_text(json.dumps({n: left_out(trained, given.root, n, zero) for n in steps}))
    scored = json.loads(kept.read_text())
    one, whole = scored["1"], scored[max(scored, key=int)]
    line(f"{name}, seed {seed}", whole, one)


def baseline(given: argparse.Namespace) -> None:
    """Root-polynomial of the same scenes."""
    scenes = settings_of(Row(), 0, given).scenes
    settings = load(TrainSettings, "train-root-polynomial.toml", scenes=scenes)
    with TemporaryDirectory() as folder:
        path = fit_baseline(settings, given.root, Path(folder))
        fitted = RootPolynomial.load(path)
    scored = [
        compared(lambda rgb, _: fitted(rgb, rgb), given.root, name, MIDDLE) for name in LEFT_OUT
    ]
    line("root-polynomial", mean(scored))


def line(name: str, *scores: list[float]) -> None:
    """Print a row of a table: PSNR, SAM and MRAE of each."""
    cells = ["{:.2f}, {:.1f}, {:.3f}".format(*each) for each in scores]
    print("|", " | ".join([name, *cells]), "|", flush=True)


def main() -> None:
    """Train what is not there, score it, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--reflectances", required=True, help="measured ones, an .npz file")
    given = parser.parse_args()
    print("| row | all steps: PSNR, SAM, MRAE | one step |", "|---|---|---|", sep="\n")
    baseline(given)
    # Seeds inside: a row that time cut off has its two seeds, or is not there.
    for name, seed in product(given.names, given.seeds):
        run(name, seed, given)


if __name__ == "__main__":
    main()
