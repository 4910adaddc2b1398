"""`r2h report` and `r2h view`: see whether a cube is any good."""

from typing import Annotated

import typer

from flows.commands.common import tell
from pipeline.errors import Refusal

app = typer.Typer()


@app.command()
def view(
    cube: Annotated[str, typer.Argument(help="Cube, a path or any URI.")],
    host: Annotated[str, typer.Option(help="Address to listen at; others can reach it.")] = "",
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
