"""What the light costs: ``python -m benchmarks.lights CAVE [LIGHT ...]``, with the extra `colour`.

The validation scenes in the CIE's lights, which training never showed (it shows others), told to
the model as part of the camera; whole frames at one go. Beside it the Wiener lift alone, which says
how much harder the light itself makes it. Prints Markdown: means of PSNR (dB), SAM (degrees), MRAE.
"""

import argparse
from pathlib import Path

import numpy as np
from torch import Tensor

import model
from benchmarks.learning import BASLER
from benchmarks.recipes import chain, compared
from flows.learn_settings import EvaluateSettings
from flows.settings import load
from model.lift import apply_matrix, wiener_lift
from pipeline.camera import SRGB, load_camera
from pipeline.light import load_light

LIGHTS = ("E", "D65", "A", "FL2", "FL11", "LED-B1")
CAMERAS = (BASLER, SRGB)


def main() -> None:
    """Score every camera in every light."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lights", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("lights", nargs="*", default=list(LIGHTS))
    given = parser.parse_args()
    network, scenes = model.load(), load(EvaluateSettings, "evaluate-cave.toml").scenes

    def lifted(rgb: Tensor, camera: Tensor) -> Tensor:
        return apply_matrix(wiener_lift(camera, network.prior), rgb)

    print("| camera | light | R2H-Diff | the lift alone |", "|---|---|---|---|", sep="\n")
    for name in CAMERAS:
        for light in given.lights:
            lens = load_camera(name, load_light(light))
            cells = []
            for way in (chain(network, len(network.schedule)), lifted):
                rows = [compared(way, given.root, scene, slice(None), lens) for scene in scenes]
                cells.append("{:.2f}, {:.1f}, {:.3f}".format(*np.mean(rows, axis=0)))
            print(f"| {name} | {light} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
