"""Figures of reports: one quiet style, colours that the colour-blind tell apart, units on axes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.camera import Floats
from pipeline.picture import CLEAR, COLOURS, FLAG_COLOURS, Pixels, Scale
from pipeline.view import FLAGS

WAVELENGTH = "wavelength (nm)"
REFLECTANCE = "reflectance relative to white (1)"
_DPI = 130
# A name with dollars is a name, and no formula.
rcParams["text.parse_math"] = False


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes each time."""
    file = io.BytesIO()
    # Without the library's version, which is no part of what is shown.
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def plain_axes(axes: Axes, x: str, y: str) -> None:
    """Labels, a pale grid, and no lines that say nothing."""
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def picture(pixels: Pixels, size: tuple[int, int], scale: Scale | None = None) -> Figure:
    """A picture of a cube of a size (rows, columns), with its pixels on the axes."""
    figure, axes = _picture_axes(pixels, size)
    if scale:
        _colour_bar(figure, axes, scale)
    return figure


def flag_picture(pixels: Pixels, size: tuple[int, int]) -> Figure:
    """The picture of the layer `quality`, with what its colours mean."""
    figure, _ = _picture_axes(pixels, size)
    known = [("no flag", CLEAR), *zip(FLAGS.values(), FLAG_COLOURS, strict=True)]
    shown = [Patch(facecolor=c, label=n, edgecolor="0.6", linewidth=0.5) for n, c in known]
    figure.legend(handles=shown, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def draw_picture(axes: Axes, pixels: Pixels, size: tuple[int, int]) -> None:
    """A picture whose axes count the cube's pixels from its upper left corner."""
    axes.set_facecolor("0.85")
    axes.imshow(pixels, origin="upper", extent=(0, size[1], size[0], 0), interpolation="nearest")
    axes.set(xlabel="column (pixels)", ylabel="row (pixels)")


def distribution(nm: Sequence[float], spectra: Floats) -> Figure:
    """How the spectra (wavelengths, n) of a cube are spread: median and central shares."""
    figure, axes = _axes()
    for low, high, shade in ((5, 95, 0.15), (25, 75, 0.3)):
        bottom, top = np.percentile(spectra, (low, high), axis=1)
        label = f"central {high - low} %"
        axes.fill_between(nm, bottom, top, color=COLOURS[0], alpha=shade, lw=0, label=label)
    axes.plot(nm, np.median(spectra, axis=1), color=COLOURS[0], label="median")
    plain_axes(axes, WAVELENGTH, REFLECTANCE)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def bars(values: Mapping[str, float], x: str) -> Figure:
    """A horizontal bar for each value, with its number."""
    figure, axes = _axes((6, 0.6 + 0.4 * len(values)))
    drawn = axes.barh(list(values), list(values.values()), color=COLOURS[0], height=0.6)
    axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    plain_axes(axes, x, "")
    axes.grid(visible=False, axis="y")
    return figure


def curves(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], labels: tuple[str, str]
) -> Figure:
    """A line for each name, six at most, from 0 up."""
    figure, axes = _axes()
    for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(x, values, color=colour, label=name)
    plain_axes(axes, *labels)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def dots(values: Mapping[str, Mapping[str, float]], x: str) -> Figure:
    """A row for each name, in it a dot for each method."""
    figure, axes = _axes((12, 1 + 0.3 * len(values)))
    methods = list(dict.fromkeys(method for row in values.values() for method in row))
    for method, colour in zip(methods, COLOURS, strict=False):
        known = [name for name in values if method in values[name]]
        axes.plot([values[n][method] for n in known], known, "o", color=colour, label=method)
    axes.invert_yaxis()
    plain_axes(axes, x, "")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def off(estimate: Floats, reference: Floats) -> Floats:
    """RMSE over wavelengths (row, col) of an estimate (wavelength, row, col); NaN stays NaN."""
    error: Floats = np.sqrt(np.square(estimate - reference).mean(axis=0))
    return error


def error_maps(pixels: Pixels, errors: Mapping[str, Floats]) -> Figure:
    """A scene in its colours, and where each method is off (row, col), on one scale."""
    known = np.concatenate([error[np.isfinite(error)] for error in errors.values()])
    high = max(float(np.percentile(known, 99)), 1e-4) if known.size else 1e-4
    size = pixels.shape[:2]
    figure = Figure((12, min(max(3.2 * size[0] / size[1], 1), 8) + 0.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(errors), sharex=True, sharey=True)
    draw_picture(first, pixels, size)
    first.set_title("the scene", fontsize=10)
    for axes, (method, error) in zip(others, errors.items(), strict=True):
        axes.set_facecolor("0.85")
        extent = (0, size[1], size[0], 0)
        options: dict[str, Any] = {"vmin": 0, "vmax": high, "interpolation": "nearest"}
        shown = axes.imshow(error, origin="upper", cmap="cividis", extent=extent, **options)
        axes.set_xlabel("column (pixels)")
        axes.set_title(f"{method}: RMSE {_root_mean(error):.2g} of the whole frame", fontsize=10)
    label = "RMSE over wavelengths (reflectance)"
    figure.colorbar(shown, ax=others, label=label, extend="max", fraction=0.05)
    return figure


def _root_mean(error: Floats) -> float:
    known = error[np.isfinite(error)]
    return float(np.sqrt(np.square(known).mean())) if known.size else np.nan


def _axes(size: tuple[float, float] = (6, 3.6)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _picture_axes(pixels: Pixels, size: tuple[int, int]) -> tuple[Figure, Axes]:
    # As wide as the others, and as high as the picture is.
    share = size[0] / size[1]
    figure, axes = _axes((6, min(max(5.2 * share, 1), 8) + 0.9))
    draw_picture(axes, pixels, size)
    return figure, axes


def _colour_bar(figure: Figure, axes: Axes, scale: Scale) -> None:

    colours = ScalarMappable(Normalize(0, scale.high), "cividis")
    where: dict[str, Any] = {"location": "bottom", "aspect": 40}
    figure.colorbar(colours, ax=axes, label="white = 1", extend="max", **where)
