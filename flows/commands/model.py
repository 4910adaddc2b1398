"""`r2h model`: checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import Json, show
from model.checkpoint import SHIPPED

app = typer.Typer()
group = typer.Typer(help="Checkpoints.", no_args_is_help=True)
app.add_typer(group, name="model")


@group.command("info")
def model_info(
    checkpoint: Annotated[Path, typer.Argument(help="Weights. [default: shipped]")] = SHIPPED,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint is: parameters, multiply-adds, steps, wavelengths, digest.

    Example: r2h model info
    """
    from model.cost import cost  # noqa: PLC0415

    show(cost(checkpoint), as_json)
