"""`r2h verify`: whether a finished cube is whole and what it says it is."""

import json
from typing import Annotated

import typer

from flows.commands.common import Json, fail, say

app = typer.Typer()


@app.command()
def verify(
    cube: Annotated[str, typer.Argument(help="Cube.")],
    source: Annotated[str | None, typer.Option(help="Its input (default: as recorded).")] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Look at the store alone.")] = False,
    sample: Annotated[int, typer.Option(min=0, help="Chunks to reconstruct again.")] = 3,
    as_json: Json = False,
) -> None:
    """Check a finished cube: every chunk, its values, nodata and metadata, and a sample made again.

    Exit code 1 where something is wrong. Example: r2h verify ortho.zarr
    """
    from flows.verify import verify_cube  # noqa: PLC0415 (torch takes a second to import)

    report = verify_cube(cube, source, not no_input, sample)
    faults = report["faults"]
    if as_json:
        typer.echo(json.dumps(report))
    else:
        for fault in faults:
            say(f"FAULT  {fault}")
        say(f"{report['chunks']} chunks read; input: {report['input']}")
        if "made_again" in report:
            say(f"{report['made_again']} made again, compared {report['compared']}")
    if faults:
        fail(f"{cube} has {len(faults)} faults", 1)
