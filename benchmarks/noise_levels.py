"""What a stated noise level is worth: ``python -m benchmarks.noise_levels CAVE``.

The middle 128 x 128 pixels of seven training scenes, seen by the Basler: clean, with white noise of
three levels, and as NTIRE 2022 renders them (shot noise, 8 bits, JPEG). Prints a row a case and
level stated: PSNR in dB, spectral angle in degrees, and the worst scene's change of PSNR from none
stated. Two minutes on a quiet core.
"""

import sys

import numpy as np
import torch

import model
from benchmarks.cameras import BASLER, lens
from flows.bound import closure_of
from flows.learn_settings import TrainSettings
from flows.settings import TileSettings, load
from model.engine import best_engine
from pipeline.camera import Floats
from pipeline.cave import cave
from pipeline.exposure import scale_of
from pipeline.metrics import psnr, sam
from pipeline.rendering import render

LEVELS = (0.01, 0.02, 0.05)
MIDDLE = slice(192, 320)


class Eye:
    """The shipped model, bound to the Basler."""

    def __init__(self) -> None:
        self.camera, self.network = lens(BASLER), model.load()
        sensitivities = torch.from_numpy(self.camera.sensitivities)
        engine = best_engine(self.network)
        self.bound = model.Reconstructor(self.network, sensitivities, engine=engine)

    def cube(self, rgb: Floats, level: float) -> Floats:
        """A tile's cube, closed, where that noise is stated."""
        scale, settings = scale_of(rgb), load(TileSettings, None, noise_level=level)
        closure = closure_of(settings, self.network, self.camera, scale)
        likely = torch.from_numpy(np.ascontiguousarray(closure.likely(rgb)))[None]
        values = self.bound.at(scale)(likely)[0].numpy()
        cube, _ = closure.settle(values, rgb, np.ones(rgb.shape[1:], bool), np.dtype(np.float32))
        return cube

    def cases(self, whole: Floats) -> dict[str, tuple[Floats, tuple[float, ...]]]:
        """What is seen of a scene's middle, and the levels to state."""
        clean = render(whole[:, MIDDLE, MIDDLE], self.camera)
        random = np.random.default_rng(0)
        found: dict[str, tuple[Floats, tuple[float, ...]]] = {"clean": (clean, (0, 0.01))}
        for level in LEVELS:
            noisy = (clean + random.normal(0, level, clean.shape)).astype(np.float32)
            found[f"white noise of {level:g}"] = noisy, (0, level / 2, level, 2 * level)
        jpeg = render(whole, self.camera, "ntire2022")[:, MIDDLE, MIDDLE]
        found["NTIRE 2022"] = np.ascontiguousarray(jpeg), (0, 0.005, 0.01)
        return found


def main(folder: str) -> None:
    """Print the table."""
    eye, dataset = Eye(), cave(folder)
    rows: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for name in load(TrainSettings, "train-cave.toml").scenes[::3]:
        whole = dataset.read(name).cube
        truth = whole[:, MIDDLE, MIDDLE]
        for case, (rgb, levels) in eye.cases(whole).items():
            for level in levels:
                cube = eye.cube(rgb, level)
                rows.setdefault((case, level), []).append((psnr(cube, truth), sam(cube, truth)))
    print("| seen | stated | PSNR dB | SAM degrees | worst change dB |\n|---|---|---|---|---|")
    for (case, level), found in rows.items():
        near, angle = np.mean(found, axis=0)
        pairs = zip(found, rows[case, 0], strict=True)
        worst = min(one[0] - plain[0] for one, plain in pairs)
        print(f"| {case} | {level:g} | {near:.2f} | {angle:.1f} | {worst:+.2f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
