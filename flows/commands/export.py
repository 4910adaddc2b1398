"""`r2h export` and `r2h doctor`: a cube for other software."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import Json, Overwrite, say, show
from pipeline.errors import Refusal
from pipeline.grid import Window

if TYPE_CHECKING:
    from pipeline.sensor import Sensor

app = typer.Typer()


@app.command()
def export(  # noqa: PLR0913, PLR0917 (a parameter is an option)
    cube: Annotated[str, typer.Argument(help="Cube.")],
    out: Annotated[str, typer.Argument(help="File to write.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="envi, cog, netcdf, mat, npy or ntire (default: by the ending)."
        ),
    ] = None,
    window: Annotated[str | None, typer.Option(help="Part: row,column,height,width.")] = None,
    sensor: Annotated[
        str | None,
        typer.Option(
            help="Bands of sentinel-2a, landsat-8, ... or a CSV's instead, by wavelength."
        ),
    ] = None,
    wavelengths: Annotated[
        str | None, typer.Option(help="Gaussian bands instead: centre:FWHM in nm, with commas.")
    ] = None,
    illuminant: Annotated[
        str | None, typer.Option(help="Radiance in this light instead: D65, A, ... or a CSV file.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a cube in the form that other software asks for.

    Example: r2h export ortho.zarr ortho.img
    """
    from pipeline.cube import SpectralCube  # noqa: PLC0415
    from pipeline.export import export as write  # noqa: PLC0415
    from pipeline.export import refuse_taken  # noqa: PLC0415
    from pipeline.light import load_light  # noqa: PLC0415

    refuse_taken(cube, out, form, overwrite)
    opened = SpectralCube.open(cube)
    bands = _bands(sensor, wavelengths, opened.wavelengths)
    light = load_light(illuminant) if illuminant else None
    chosen = write(opened, out, form, _window(window), bands, light)
    show({"cube": cube, "out": out, "format": chosen}, as_json)


def _bands(
    sensor: str | None, listed: str | None, wavelengths: tuple[float, ...]
) -> "Sensor | None":
    from pipeline.sensor import gaussian_bands, load_sensor  # noqa: PLC0415

    if sensor and listed:
        rule = "the bands are those of a sensor or those listed"
        raise Refusal(rule, "--sensor and --wavelengths", "Give one.")
    if sensor:
        return load_sensor(sensor, wavelengths)
    return gaussian_bands(listed, wavelengths) if listed else None


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    try:
        row, col, height, width = map(int, text.split(","))
    except ValueError as error:
        fix = "Give --window row,column,height,width."
        raise Refusal("a window is four whole numbers", text, fix) from error
    return Window(row, col, height, width)


@app.command()
def doctor(
    cube: Annotated[str, typer.Argument(help="Cube.")],
    as_json: Json = False,
) -> None:
    """Open a cube with each reader that is installed, and say whether it sees what is stored.

    Exit code 1 where one does not. Example: r2h doctor ortho.zarr
    """
    from pipeline.doctor import examine  # noqa: PLC0415

    found = examine(cube)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in found]))
    else:
        marks = {True: "✓", False: "✗", None: "-"}
        wide = max(len(f"{finding.reader} {finding.version or ''}") for finding in found)
        for finding in found:
            name = f"{finding.reader} {finding.version or ''}"
            say(f"{marks[finding.good]} {name:<{wide}}  {finding.reason}")
        say("of one chunk or four; r2h verify reads all")
    if any(finding.good is False for finding in found):
        raise typer.Exit(1)
