"""`r2h export` and `r2h doctor`: a cube for other software."""

import json
from typing import Annotated

import fsspec
import typer

from flows.commands.common import Json, show
from pipeline.errors import Refusal
from pipeline.grid import Window

app = typer.Typer()


@app.command()
def export(
    cube: Annotated[str, typer.Argument(help="Cube.")],
    out: Annotated[str, typer.Argument(help="File to write.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="envi, cog, netcdf, mat, npy or ntire. [default: by the ending]"
        ),
    ] = None,
    window: Annotated[str | None, typer.Option(help="Part: row,column,height,width.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a cube in the form that other software asks for.

    Example: r2h export ortho.zarr ortho.img
    """
    from pipeline.cube import SpectralCube  # noqa: PLC0415
    from pipeline.export import export as write  # noqa: PLC0415

    fs, path = fsspec.core.url_to_fs(out)
    if fs.exists(path) and not overwrite:
        raise Refusal("what is exported goes to a new file", out, "Add --overwrite to replace it.")
    chosen = write(SpectralCube.open(cube), out, form, _window(window))
    show({"cube": cube, "out": out, "format": chosen}, as_json)


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
            typer.echo(f"{marks[finding.good]} {name:<{wide}}  {finding.reason}")
    if any(finding.good is False for finding in found):
        raise typer.Exit(1)
