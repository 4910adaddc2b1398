"""The `r2h` command."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from flows.commands import (
    batch,
    camera,
    cube,
    data,
    export,
    learn,
    model,
    run,
    verify,
    view,
)
from flows.commands.common import STOPPED, begin, fail
from model.shipped import CheckpointError
from pipeline.errors import Busy, Refusal
from pipeline.uri import at_home

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"r2h {version('r2h')}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit."),
    ] = False,
) -> None:
    """Large RGB images to hyperspectral cubes, estimated by a diffusion model."""


for part in (run, batch, cube, view, verify, camera, export, data, learn, model):
    app.add_typer(part.app)


def main() -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    begin()
    try:
        app([_at_home(word) for word in map(_said, sys.argv[1:])])
    except Busy as error:
        fail(error, STOPPED)
    except (Refusal, CheckpointError) as error:
        fail(error, 2)
    except Exception as error:
        from pipeline.store import storage_errors  # noqa: PLC0415 (it takes long to import)

        if not isinstance(error, storage_errors()):
            raise
        fail(error, 1)


def _said(word: str) -> str:
    """A word of the command line. Raises Refusal where a shell put nothing in its place."""
    option, equals, value = word.partition("=")
    if not word or (equals and not value and option.startswith("--")):
        raise Refusal("an option has a value", repr(word), "Give it, or leave the option out.")
    return word


def _at_home(word: str) -> str:
    """A word of the command line; of ``--option=~/file`` shells leave ``~`` as it is."""
    option, equals, value = word.partition("=")
    return f"{option}={at_home(value)}" if equals and word.startswith("--") else at_home(word)
