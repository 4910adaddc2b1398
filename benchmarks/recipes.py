"""What training is worth by what it shows: ``python -m benchmarks.recipes CAVE FOLDER [NAME ...]``.

Small networks learn 14 of the 21 training scenes, and the middle of the seven others is scored by
one step and by five, from zero: means of PSNR (dB), SAM (degrees) and MRAE. Validation is not read.
Three minutes a recipe on a quiet core; what FOLDER holds already is not trained again.
"""

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import model
from benchmarks.learning import BASLER
from flows.learn_settings import TrainSettings
from flows.settings import load
from flows.train import train
from model import R2HDiff
from pipeline.camera import Camera, load_camera, resampled
from pipeline.cave import WAVELENGTHS, cave
from pipeline.exposure import scene_scale
from pipeline.metrics import mrae, psnr, sam
from pipeline.reference import Reference, ReferenceScene

LEFT_OUT = (
    "beads", "clay", "glass_tiles", "stuffed_toys", "watercolors", "face", "photo_and_face",
)  # fmt: skip
SMALL: dict[str, Any] = {
    "network": {"widths": (12, 24, 48), "heads": (1, 2, 4), "bottom": 1},
    "crop": 64,
    "iterations": 500,
    "learning_rate": 2e-3,
    "warm_up": 50,
    "average": 0.99,
}
RECIPES: dict[str, dict[str, float]] = {
    "never from zero": {},
    "half from zero": {"from_zero": 0.5},
    "all from zero": {"from_zero": 1.0},
    "all from zero, mixed": {"from_zero": 1.0, "mix": 0.3},
    "all from zero, repainted": {"from_zero": 1.0, "repaint": 0.3},
    "most from zero, repainted": {"from_zero": 0.8, "repaint": 0.3},
    "most from zero, repainted, noise": {"from_zero": 0.8, "repaint": 0.3, "noise": 0.2},
    "one pass": {"from_zero": 1.0, "repaint": 0.3, "noise": 0.2},
}
MIDDLE = slice(128, 384)


def scored(path: Path, root: Path, steps: int) -> list[float]:
    """Mean PSNR, SAM and MRAE over the scenes that were left out, of a checkpoint."""
    return left_out(model.load(path), root, steps)


def left_out(network: R2HDiff, root: Path, steps: int, zero: bool = True) -> list[float]:
    """The same of a network, whose chain starts at zero or at noise."""
    return mean([score(network, root, name, steps, MIDDLE, zero) for name in LEFT_OUT])


def mean(rows: list[list[float]]) -> list[float]:
    """Of each column."""
    return [float(value) for value in np.mean(rows, axis=0)]


def score(
    network: R2HDiff,
    root: Path,
    name: str,
    steps: int,
    part: slice = slice(None),
    zero: bool = True,
) -> list[float]:
    """PSNR, SAM and MRAE of a part of a scene, each way, at one go from zero or from noise."""
    return compared(chain(network, steps, zero), root, name, part)


def chain(network: R2HDiff, steps: int, zero: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
    """The network as what answers RGB (1, 3, H, W) and sensitivities (1, 3, bands) at one go."""

    def answer(rgb: Tensor, camera: Tensor) -> Tensor:
        height, width = rgb.shape[2:]
        whole = torch.nn.functional.pad(rgb, (0, -width % 8, 0, -height % 8), mode="reflect")
        shape = (1, network.config.bands, *whole.shape[2:])
        random = torch.Generator().manual_seed(0)
        start = torch.zeros(shape) if zero else torch.randn(shape, generator=random)
        return network.guided(whole, camera, steps)(start)[..., :height, :width]

    return answer


def compared(
    answer: Callable[[Tensor, Tensor], Tensor],
    root: Path,
    name: str,
    part: slice,
    lens: Camera | None = None,
) -> list[float]:
    """PSNR, SAM and MRAE of what answers RGB (1, 3, H, W) and sensitivities (1, 3, bands).

    By the Basler camera unless another ``lens`` is given.
    """
    return of_reference(answer, cave(root).read(name), part, lens)


def of_reference(
    answer: Callable[[Tensor, Tensor], Tensor],
    reference: Reference,
    part: slice = slice(None),
    lens: Camera | None = None,
) -> list[float]:
    """The same of any scene at CAVE's wavelengths."""
    camera = resampled(lens or load_camera(BASLER), WAVELENGTHS)
    scale = np.float32(scene_scale(ReferenceScene.rendered(reference, camera), camera))
    truth = np.ascontiguousarray(reference.cube[:, part, part])
    rgb = torch.from_numpy(np.maximum(camera.render(truth), 0) / scale)[None]
    with torch.inference_mode():
        cube = answer(rgb, torch.from_numpy(camera.sensitivities)[None])[0].numpy()
    estimate = np.maximum(cube * scale, 0)
    return [float(of(estimate, truth)) for of in (psnr, sam, mrae)]


def main() -> None:
    """Train what is not there, score it, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    parser.add_argument("--reflectances", type=str)
    parser.add_argument("--seeds", type=int, default=1, help="networks of each recipe")
    parser.add_argument("--iterations", type=int, default=SMALL["iterations"])
    given = parser.parse_args()
    shipped = load(TrainSettings, "train-cave.toml")
    scenes = [name for name in shipped.scenes if name not in LEFT_OUT]
    print("| recipe | one step: PSNR, SAM, MRAE | five steps |", "| --- | --- | --- |", sep="\n")
    more = {"scenes": scenes, **SMALL}
    more["iterations"] = given.iterations
    # Seeds outside: recipes that are compared are there after the first.
    for seed, name in product(range(1, 1 + given.seeds), given.names):
        materials = given.reflectances if "repaint" in RECIPES[name] else None
        changed = {**more, **RECIPES[name], "reflectances": materials, "seed": seed}
        settings = TrainSettings(**{**shipped.model_dump(), **changed})
        folder = given.folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
        train(settings, given.root, folder, lambda _, __: None)
        path = folder / "checkpoint.safetensors"
        one, five = (scored(path, given.root, steps) for steps in (1, 5))
        print(f"| {name}, seed {seed} | {_cell(one)} | {_cell(five)} |", flush=True)


def _cell(scores: list[float]) -> str:
    return "{:.2f}, {:.1f}, {:.3f}".format(*scores)


if __name__ == "__main__":
    main()
