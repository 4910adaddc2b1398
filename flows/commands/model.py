"""`r2h model`: checkpoints."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import Json, say, show, tell
from model.shipped import SHIPPED, named

app = typer.Typer()
group = typer.Typer(help="Checkpoints.", no_args_is_help=True)
app.add_typer(group, name="model")


@group.command("info")
def model_info(
    checkpoint: Annotated[
        Path, typer.Argument(help="A file, or a name (default r2h-wide).", show_default=False)
    ] = SHIPPED,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint is: parameters, multiply-adds, steps, wavelengths, digest.

    Example: r2h model info r2h-cave
    """
    from model.cost import cost  # noqa: PLC0415

    show(cost(named(checkpoint)), as_json)


@group.command("list")
def model_list(as_json: Json = False) -> None:
    """List the checkpoints that come with the package, with their figures.

    Example: r2h model list
    """
    from flows.models import shipped  # noqa: PLC0415

    rows = shipped()
    if as_json:
        return typer.echo(json.dumps(rows))
    for row in rows:
        say(f"{row['name']}  {row['kind']}  {row['digest'][:12]}  {row['trained_on']}")
        for figures in row["figures"]:
            numbers = ", ".join(f"{key} {value:g}" for key, value in figures["mean"].items())
            say(f"  {figures['what']}: {numbers}")
    return tell("figures: means over scenes; docs/evaluation.md says how they are made")
