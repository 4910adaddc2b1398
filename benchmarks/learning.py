"""What networks that are compared have in common: crops of one camera, and a bare loop."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from flows.learn_settings import TrainSettings
from flows.settings import load
from flows.train import trainer_config
from model import R2HDiff
from model.train import Batch, Trainer
from pipeline.crops import Crops

BASLER = "basler-a2a5320-23uc"


def options(parser: argparse.ArgumentParser) -> None:
    """What `one_camera` asks for, beside the iterations."""
    parser.add_argument("--rate", type=float, help="of learning; not that of the shipped recipe")
    parser.add_argument("--batch", type=int, default=8, help="crops of 128 an iteration")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")


def one_camera(given: argparse.Namespace, seed: int, **changes: Any) -> TrainSettings:
    """The first recipe of the shipped weights on one camera, most crops at the chain's start."""
    recipe = load(TrainSettings, "train-cave.toml").model_dump()
    changed = {
        "cameras": {BASLER: 1.0},
        "held_out_cameras": (),
        "from_zero": 0.8,
        "batch": given.batch,
        "precision": given.precision,
        "learning_rate": given.rate or recipe["learning_rate"],
        "average": 0.995,
        "save_every": 100,
        "seed": seed,
        # Without the bound some overflowed (docs/decisions/0027).
        "network": {"bounded": True},
    }
    return TrainSettings(**{**recipe, **changed, **changes})


def batches(crops: Crops, first: int) -> Iterator[Batch]:
    """Iterations from ``first`` on."""
    for arrays in crops.stream(first):
        yield Batch(*map(torch.from_numpy, arrays))


def learnt(
    network: R2HDiff,
    settings: TrainSettings,
    crops: Crops,
    folder: Path,
    loop: type[Trainer] = Trainer,
) -> tuple[R2HDiff, int]:
    """The network after its training, and the iteration from which this call went on."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = loop(network, trainer_config(settings), folder)
    trainer.resume()
    begun = trainer.iteration
    return trainer.run(lambda first: batches(crops, first), lambda _, __: None).eval(), begun
