"""The plots of `r2h view`, empty: the page's script fills their sources by name."""

from typing import Any

from bokeh.models import BoxSelectTool, ColumnDataSource, Range1d
from bokeh.plotting import figure


def figures(nm: tuple[float, ...]) -> dict[str, Any]:
    """The plot of the picture and that of the spectra, whose wavelengths are in nm."""
    image = figure(
        name="image",
        sizing_mode="stretch_both",
        toolbar_location="right",
        tools="pan,wheel_zoom,reset",
        active_scroll="wheel_zoom",
        x_range=Range1d(start=0, end=1, min_interval=4),
        y_range=Range1d(start=1, end=0, min_interval=4),
        x_axis_label="column (pixels)",
        y_axis_label="row (pixels)",
        background_fill_color="#D9D9D9",
    )
    image.toolbar.logo = None
    image.min_border_left = 70  # so that a longer label does not resize the picture
    image.add_tools(BoxSelectTool(description="Drag for a region's mean and spread"))
    image.grid.visible = False
    for name in ("far", "near"):
        drawn = _source(name, "url", "x", "y", "w", "h")
        image.image_url("url", "x", "y", "w", "h", source=drawn, anchor="top_left")
    boxes = _source("boxes", "left", "right", "top", "bottom", "colour")
    # White beneath the colour, or it would be lost on a picture.
    for colour, width in (("white", 5), ("colour", 2)):
        line: dict[str, Any] = {"line_color": colour, "line_width": width}
        image.quad("left", "right", "top", "bottom", source=boxes, fill_alpha=0, **line)
    marks = _source("marks", "x", "y", "number", "colour")
    image.scatter("x", "y", source=marks, size=20, color="colour", line_color="white")
    centred: dict[str, Any] = {
        "text_align": "center",
        "text_baseline": "middle",
        "text_font_size": "11px",
    }
    image.text("x", "y", "number", source=marks, text_color="white", **centred)
    return {"image": image, "spectra": _spectra(nm)}


def _spectra(nm: tuple[float, ...]) -> Any:
    margin = (nm[-1] - nm[0]) / 50 or 1
    plot = figure(
        name="spectra",
        sizing_mode="stretch_both",
        toolbar_location=None,
        tools="",
        x_range=Range1d(start=nm[0] - margin, end=nm[-1] + margin),
        y_range=Range1d(start=0, end=1),
        x_axis_label="wavelength (nm)",
        y_axis_label="reflectance relative to white (1)",
        outline_line_color=None,
    )
    bands = _source("bands", "x", "y", "colour")
    plot.patches("x", "y", source=bands, color="colour", fill_alpha=0.2, line_alpha=0)
    lines = _source("lines", "x", "y", "colour", "dash")
    plot.multi_line("x", "y", source=lines, color="colour", line_dash="dash", line_width=2)
    return plot


def _source(name: str, *columns: str) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns}, name=name)
