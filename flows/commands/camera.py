"""`r2h camera`: the library of cameras, and one fitted to a picture of a colour chart."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import Json, Overwrite, show, tell
from pipeline.errors import Refusal

app = typer.Typer()
group = typer.Typer(help="Cameras.", no_args_is_help=True)
app.add_typer(group, name="camera")

Plot = Annotated[Path | None, typer.Option(help="Picture to write, PNG or SVG.")]
PICTURES = (".png", ".svg")
Illuminant = Annotated[str, typer.Option(help="Light: E, D65, A, ... or a CSV file.")]


@group.command("list")
def list_cameras(as_json: Json = False) -> None:
    """Name the cameras of the library, and where their numbers are from.

    Example: r2h camera list
    """
    from pipeline.camera import library, source  # noqa: PLC0415

    show({name: source(name) for name in library()}, as_json)


@group.command("show")
def show_camera(
    name: Annotated[str, typer.Argument(help="Camera of the library, or a CSV file.")],
    illuminant: Illuminant = "E",
    plot: Plot = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Print a camera's sensitivities, and draw them.

    Example: r2h camera show nikon-d700 --plot nikon-d700.png
    """
    from pipeline.camera import load_camera  # noqa: PLC0415
    from pipeline.light import load_light  # noqa: PLC0415
    from pipeline.plots import plot_camera  # noqa: PLC0415

    _refuse_unfit(plot, PICTURES, "a picture is PNG or SVG", overwrite)
    camera = load_camera(name, load_light(illuminant))
    if plot is not None:
        plot_camera(camera, plot)
    rows = dict(zip(("red", "green", "blue"), camera.sensitivities.tolist(), strict=True))
    if as_json:
        facts = {"camera": camera.name, "wavelengths_nm": camera.wavelengths, **rows}
        return typer.echo(json.dumps(facts))
    typer.echo("   nm     red   green    blue")
    for nm, *sees in zip(camera.wavelengths, *rows.values(), strict=True):
        typer.echo(f"{nm:5g} " + " ".join(f"{value:7.4f}" for value in sees))


@group.command()
def fit(  # noqa: PLR0913, PLR0917 (a parameter is an option)
    source: Annotated[str, typer.Argument(help="Picture with a classic chart of 24 patches.")],
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    corners: Annotated[
        str,
        typer.Option(
            help="Centres of dark skin, bluish green, black and white: column,row four times."
        ),
    ],
    encoding: Annotated[str, typer.Option(help="What pixel values are: srgb or linear.")] = "srgb",
    plot: Plot = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit a camera, in the light of the picture, to a colour chart in it.

    Example: r2h camera fit shot.tif mine.csv --corners 253,103,661,103,655,358,250,358
    """
    from pipeline.fit import fit_picture, write_camera  # noqa: PLC0415
    from pipeline.plots import plot_camera  # noqa: PLC0415

    _refuse_unfit(out, (".csv",), "a camera's file is a CSV, as --camera takes it", overwrite)
    _refuse_unfit(plot, PICTURES, "a picture is PNG or SVG", overwrite)
    found = fit_picture(source, corners, encoding)
    white = ",".join(f"{value:.4g}" for value in found.white)
    write_camera(found.camera, out, f"fitted to {Path(source).name}, in its light; white {white}")
    if plot is not None:
        plot_camera(found.camera, plot)
    use = f"--camera {out} --encoding {encoding} --white {white}"
    show({"camera": str(out), "rms": round(found.rms, 4), "use": use}, as_json)
    tell("white is that of the chart's place and exposure: fit again where the light differs")


def _refuse_unfit(path: Path | None, endings: tuple[str, ...], rule: str, overwrite: bool) -> None:
    """Before any work: a name that says another kind of file, a folder that is not there."""
    from pipeline.publish import refuse_there  # noqa: PLC0415

    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise Refusal(rule, path, f"Give a name that ends in {' or '.join(endings)}.")
    if not path.parent.is_dir():
        raise Refusal("the file's folder is there", path, "Make the folder.")
    if not overwrite:
        refuse_there(path)
