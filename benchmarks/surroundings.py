"""What a bright surrounding costs: ``python -m benchmarks.surroundings CAVE FOLDS``.

The networks of ``r2h calibrate`` (FOLDS, its folder) score the middles of the scenes that they have
not seen, by the Basler camera: alone, at the scale that twice as much of a white table beside them
makes, and beside it. Then at multiples of their own scale. PSNR in dB. With ``--further FOLDER``
the network of one fold goes on, once for each ``--dimmed`` share of its crops, and is scored alike.
What FOLDER holds is not trained again. Validation is not read but with ``--checkpoint FILE``: those
weights on its scenes, in the folds' place.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import model
from benchmarks.learning import BASLER, learnt
from benchmarks.recipes import MIDDLE, chain, mean
from flows.folds import without
from flows.learn_settings import CalibrateSettings, EvaluateSettings, TrainSettings
from flows.settings import load
from flows.shown import crops_of
from model import R2HDiff
from pipeline.camera import Floats, load_camera, resampled
from pipeline.cave import WAVELENGTHS, cave
from pipeline.exposure import scale_of
from pipeline.metrics import psnr

WHITE = 0.79
"""Of the table: 230 of sRGB's 255."""
TIMES = (0.7, 1.0, 2.0, 4.0, 8.0)
"""Of a scene's own scale."""


def scores(network: R2HDiff, root: Path, name: str) -> tuple[list[float], list[float]]:
    """Times of the scale beside white, PSNR alone, at that scale, beside white; of all `TIMES`."""
    camera = resampled(load_camera(BASLER), WAVELENGTHS)
    sensitivities = torch.from_numpy(camera.sensitivities)[None]
    answer = chain(network, len(network.schedule))
    truth = np.ascontiguousarray(cave(root).read(name).cube[:, MIDDLE, MIDDLE])
    rgb = np.maximum(camera.render(truth), 0)
    side = rgb.shape[2]
    white = np.full((3, side, side), WHITE, np.float32)
    alone, beside = scale_of(rgb), scale_of(np.concatenate([rgb, white, white], axis=2))

    def of(image: Floats, scale: float) -> float:
        seen = torch.from_numpy(image / np.float32(scale))[None]
        with torch.inference_mode():
            cube = answer(seen, sensitivities)[0, :, :, :side].numpy()
        return float(psnr(np.maximum(cube * np.float32(scale), 0), truth))

    # A tile sees the nearer half of the table.
    both = np.concatenate([rgb, white], axis=2)
    surrounded = [beside / alone, of(rgb, alone), of(rgb, beside), of(both, beside)]
    return surrounded, [of(rgb, alone * times) for times in TIMES]


def trained(settings: CalibrateSettings, share: float, given: argparse.Namespace) -> R2HDiff:
    """The network of a fold after it went on with a share of its crops dimmed."""
    fold = settings.folds[given.fold]
    change = {
        "dimmed": share, "iterations": given.iterations, "learning_rate": 5e-4, "warm_up": 50,
        "average": 0.99, "seed": 5,
    }  # fmt: skip
    recipe = TrainSettings(**{**without(fold, settings.train).model_dump(), **change})
    network = kept(given.folds, fold).requires_grad_(True)
    folder = given.further / f"dimmed-{share:g}-{given.iterations}-{fold[0]}"
    return learnt(network, recipe, crops_of(recipe, given.root), folder)[0]


def kept(folds: Path, fold: tuple[str, ...]) -> R2HDiff:
    """The network that has not seen a fold."""
    return model.load(folds / f"without-{fold[0]}" / "checkpoint.safetensors").eval()


def of_checkpoint(path: Path) -> Iterator[tuple[R2HDiff, str]]:
    """The network of a file, and each validation scene."""
    network = model.load(path).eval()
    return ((network, name) for name in load(EvaluateSettings, "evaluate-cave.toml").scenes)


def of_folds(given: argparse.Namespace) -> Iterator[tuple[R2HDiff, str]]:
    """Each training scene, and the network that has not seen it."""
    for fold in load(CalibrateSettings, given.settings).folds:
        network = kept(given.folds, fold)
        yield from ((network, name) for name in fold)


def main() -> None:
    """Score, print tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.surroundings", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("folds", type=Path, nargs="?")
    parser.add_argument("--checkpoint", type=Path, help="weights that are scored on validation")
    parser.add_argument("--settings", default="calibrate-cave.toml", help="of the folds")
    parser.add_argument("--further", type=Path)
    parser.add_argument("--fold", type=int, default=1, help="which goes on")
    parser.add_argument("--dimmed", type=float, nargs="+", default=(0.0, 0.5, 1.0))
    parser.add_argument("--iterations", type=int, default=700)
    given = parser.parse_args()
    settings = load(CalibrateSettings, given.settings)

    def of_fold(network: R2HDiff) -> list[float]:
        found = [scores(network, given.root, name) for name in settings.folds[given.fold]]
        beside, at = (mean([row[part] for row in found]) for part in (0, 1))
        return [*at, beside[3]]

    print("| scene | scale | alone | at that scale | beside white |", "|---" * 5 + "|", sep="\n")
    rows, times = [], []
    for network, name in of_checkpoint(given.checkpoint) if given.checkpoint else of_folds(given):
        surrounded, at = scores(network, given.root, name)
        rows.append(surrounded)
        times.append(at)
        print(f"| {name} |", _cells(surrounded), flush=True)
    print("| mean |", _cells(mean(rows)))
    head = " | ".join(f"scale x {time:g}" for time in TIMES)
    print(f"\n| | {head} | beside white |", "|---" * (len(TIMES) + 2) + "|", sep="\n")
    print("| all |", _cells([*mean(times), mean(rows)[3]]), flush=True)
    if not given.further:
        return
    print("| one fold |", _cells(of_fold(kept(given.folds, settings.folds[given.fold]))))
    for share in given.dimmed:
        network = trained(settings, share, given)
        print(f"| gone on with, dimmed {share:g} |", _cells(of_fold(network)), flush=True)


def _cells(values: list[float]) -> str:
    return " | ".join(f"{value:.2f}" for value in values) + " |"


if __name__ == "__main__":
    main()
