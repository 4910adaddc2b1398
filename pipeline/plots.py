"""Pictures of cameras."""

from pathlib import Path

from matplotlib.figure import Figure

from pipeline.camera import Camera

# Okabe and Ito's vermilion, bluish green and blue, which the colour-blind tell apart.
_COLOURS = {"red": "#D55E00", "green": "#009E73", "blue": "#0072B2"}


def plot_camera(camera: Camera, path: Path) -> None:
    """Draw a camera's sensitivities over wavelength."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, colour), row in zip(_COLOURS.items(), camera.sensitivities, strict=True):
        axes.plot(camera.wavelengths, row, color=colour, label=name)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(xlabel="wavelength (nm)", ylabel="share of a channel's response (1)")
    axes.set_title(camera.name, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
