"""`r2h report` and `r2h view`: see whether a cube is any good."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import Json, show, tell
from pipeline.errors import Refusal

app = typer.Typer()


@app.command()
def report(
    cube: Annotated[str, typer.Argument(help="Cube (any URI), or an evaluation's folder.")],
    out: Annotated[str | None, typer.Option(help="HTML file (default NAME.report.html).")] = None,
    source: Annotated[str | None, typer.Option(help="The cube's input, if it has moved.")] = None,
    as_json: Json = False,
) -> None:
    """Write what is known of a cube or evaluation as one HTML file, to open in any browser.

    Example: r2h report ortho.zarr
    """
    from flows.report import write_evaluation, write_report  # noqa: PLC0415

    if (Path(cube) / "evaluation.json").is_file():
        written = write_evaluation(Path(cube), out)
    else:
        written = write_report(cube, out, source)
    show({"of": cube, "report": written}, as_json)


@app.command()
def view(
    cube: Annotated[str, typer.Argument(help="Cube, a path or any URI.")],
    host: Annotated[
        str,
        typer.Option(help="Address that others can reach (default: this machine alone)."),
    ] = "",
    port: Annotated[int, typer.Option(help="Port (0: one that is free).", min=0, max=65535)] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only.")
    ] = False,
) -> None:
    """Look at a cube of any size in the browser; Ctrl-C ends it.

    Example: r2h view ortho.zarr
    """
    try:
        from flows.serve import serve  # noqa: PLC0415
    except ModuleNotFoundError as error:
        fix = "Install it with: pip install 'r2h[viewer]'"
        raise Refusal("r2h view needs the extra 'viewer'", f"no {error.name}", fix) from error
    serve(cube, host, port, not no_browser, tell)
