"""The `r2h` command."""

import typer

from flows.commands import cube, learn, model, run, view
from flows.commands.common import fail
from model.checkpoint import CheckpointError
from pipeline.errors import Refusal

app = typer.Typer(
    help="Large RGB images to hyperspectral cubes, estimated by a diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for part in (run, cube, view, learn, model):
    app.add_typer(part.app)


def main() -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    try:
        app()
    except (Refusal, CheckpointError) as error:
        fail(error, 2)
    except OSError as error:
        fail(error, 1)
