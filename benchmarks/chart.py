"""A photograph of a colour chart against the chart as measured.

``python -m benchmarks.chart PICTURE CORNERS OUT.png`` reconstructs the picture (sRGB, its own
white), averages each patch of the cube and compares with measured reflectances. Corners are those
of ``r2h camera fit``. Prints RMSE of reflectance and spectral angle, and draws the spectra.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flows.reconstruct import reconstruct
from flows.settings import ReconstructSettings, load
from pipeline.camera import SRGB, load_camera
from pipeline.chart import COLS, ROWS, Corners, chart_reflectances, corners_of, patches
from pipeline.cube import SpectralCube
from pipeline.curve import to_srgb
from pipeline.fit import fit_picture
from pipeline.grid import Window

Spectra = NDArray[np.float64]
"""(wavelengths, 24)."""


def estimated(source: str, corners: str, illuminant: str) -> tuple[Spectra, Spectra]:
    """The patches as a cube of the picture has them, and as they were measured."""
    white = fit_picture(source, corners, "srgb").white
    with TemporaryDirectory() as folder:
        given = {"white": white, "illuminant": illuminant}
        out = f"{folder}/chart.zarr"
        settings = load(ReconstructSettings, None, source=source, destination=out, **given)
        reconstruct(settings, lambda *_: lambda _: None, Event())
        cube = SpectralCube.open(settings.destination)
        return mean_spectra(cube, corners_of(corners)), chart_reflectances(cube.wavelengths)


def mean_spectra(cube: SpectralCube, corners: Corners) -> Spectra:
    """The mean spectrum of each patch."""
    whole, _ = cube.read(Window(0, 0, cube.height, cube.width))
    means = [whole[:, rows, cols].mean(axis=1, dtype=np.float64) for rows, cols in patches(corners)]
    return np.stack(means, axis=1)


def angles(ours: Spectra, truth: Spectra) -> Spectra:
    """Spectral angle of each patch (24,), degrees."""
    norms = np.linalg.norm(ours, axis=0) * np.linalg.norm(truth, axis=0)
    cosine: Spectra = np.clip((ours * truth).sum(axis=0) / norms, -1, 1)
    return np.degrees(np.arccos(cosine))


def draw(ours: Spectra, truth: Spectra, path: Path) -> None:
    """A small plot a patch, where the patch is in the chart."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    grid = figure.subplots(ROWS, COLS, sharex=True, sharey=True)
    seen = load_camera(SRGB)
    colours = to_srgb(seen.render(truth.astype(np.float32))).T
    angle = angles(ours, truth)
    for number, axes in enumerate(grid.ravel()):
        axes.plot(seen.wavelengths, truth[:, number], color="black", linewidth=1, label="measured")
        axes.plot(seen.wavelengths, ours[:, number], color="#D55E00", label="from the photograph")
        axes.axhspan(-0.14, -0.04, color=colours[number], linewidth=0)
        axes.text(
            0.97, 0.93, f"{angle[number]:.0f}°", transform=axes.transAxes, ha="right", va="top"
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(ylim=(-0.14, 1.2), xlim=(400, 700), xticks=(400, 550, 700), yticks=(0, 0.5, 1))
    figure.supxlabel("wavelength (nm); angle between the spectra in the corner", size=10)
    figure.supylabel("reflectance (1)", size=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Score with and without a stated light, and draw the first."""
    source, corners, out = sys.argv[1:]
    for illuminant in ("E", "D65"):
        ours, truth = estimated(source, corners, illuminant)
        rmse = float(np.sqrt(((ours - truth) ** 2).mean()))
        angle = angles(ours, truth)
        line = f"RMSE {rmse:.4f}, angle {angle.mean():.2f} (worst {angle.max():.1f})"
        print(f"light {illuminant}: {line}")
        if illuminant == "E":
            draw(ours, truth, Path(out))


if __name__ == "__main__":
    main()
