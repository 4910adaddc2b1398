"""What networks that are compared share: the camera they are scored by, and a bare loop."""

from collections.abc import Iterator
from pathlib import Path

import torch

from flows.learn_settings import TrainSettings
from flows.train import trainer_config
from model import R2HDiff
from model.train import Batch, Trainer
from pipeline.crops import Crops

BASLER = "basler-a2a5320-23uc"


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
