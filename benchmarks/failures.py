"""Where a method fails: ``python -m benchmarks.failures CAVE EVALUATION OUT.png [METHOD]``.

EVALUATION is the folder of `r2h evaluate cave`, METHOD one of its (r2h-diff). Of the three
validation scenes that came out worst: the error of every pixel, and the mean spectrum of the square
that is farthest off, estimated and measured.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flows.evaluate import OURS
from pipeline.cave import WAVELENGTHS, cave
from pipeline.cube import SpectralCube
from pipeline.grid import Window

SCENES, SIDE = 3, 32


def main(root: str, evaluation: str, out: str, method: str = OURS) -> None:
    """Draw the picture."""
    rows = json.loads((Path(evaluation) / "evaluation.json").read_text())["scenes"]
    mine = sorted((row for row in rows if row["method"] == method), key=lambda row: -row["rmse"])
    figure = Figure((12, 6.2), layout="constrained")
    maps, lines = figure.subplots(2, SCENES)
    for image, line, row in zip(maps, lines, mine[:SCENES], strict=True):
        truth = cave(root).read(row["scene"]).cube
        cube = SpectralCube.open(f"{evaluation}/{row['scene']}-{method}.zarr")
        estimate, _ = cube.read(Window(0, 0, *truth.shape[1:]))
        off = np.sqrt(np.square(estimate - truth).mean(axis=0))
        high, wide = (size // SIDE for size in off.shape)
        squares = off[: high * SIDE, : wide * SIDE].reshape(high, SIDE, wide, SIDE).mean((1, 3))
        top, left = (SIDE * i for i in np.unravel_index(squares.argmax(), squares.shape))
        shown = image.imshow(off, vmin=0, vmax=np.percentile(off, 99), cmap="cividis")
        image.autoscale(False)  # a square at the border is not to widen it
        image.plot(
            left + np.array([0, SIDE, SIDE, 0, 0]), top + np.array([0, 0, SIDE, SIDE, 0]), "w"
        )
        image.set_title(f"{row['scene']}: RMSE {row['rmse']:.3f}, {row['psnr']:.1f} dB")
        figure.colorbar(shown, label="RMSE over wavelengths", extend="max")
        for values, name in ((truth, "measured"), (estimate, "estimated")):
            square = values[:, top : top + SIDE, left : left + SIDE].mean(axis=(1, 2))
            line.plot(WAVELENGTHS, square, "-" if values is truth else "--", label=name)
        line.set(xlabel="wavelength, nm", ylabel="reflectance", ylim=(0, None))
        line.set_title(f"its square at row {top}, column {left}")
    lines[0].legend()
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
