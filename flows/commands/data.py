"""`r2h data`: data sets."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands.common import Json, say

app = typer.Typer()
group = typer.Typer(help="Data sets.", no_args_is_help=True)
app.add_typer(group, name="data")


@group.callback()
def _group() -> None:
    """Keep `check` a command of its own although it is the only one."""


@group.command("check")
def data_check(
    root: Annotated[str, typer.Argument(help="Folder or URI of one: docs/evaluation.md.")],
    as_json: Json = False,
) -> None:
    """Say what is there of a data set, what is missing and what looks wrong; then exit code 1.

    Example: r2h data check CAVE
    """
    from pipeline.check import check  # noqa: PLC0415

    found = check(root)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        splits = "".join(f", {use} {count}" for use, count in found.splits.items())
        say(f"{found.dataset}: {found.scenes} scenes{splits}")
        for kind, lines in (("note", found.notes), ("PROBLEM", found.problems)):
            for line in lines:
                say(f"{kind}  {line}")
    sys.exit(1 if found.problems else 0)
