"""What the commands share: how they tell, show and fail."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from pipeline.errors import Busy, Refusal
from pipeline.redact import for_people, redacted

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Config = Annotated[str | None, typer.Option(help="TOML file; the command line wins over it.")]
Log = Annotated[
    str | None, typer.Option(help="Log lines in place of a bar: json or text.", metavar="KIND")
]
Metrics = Annotated[
    str | None, typer.Option(help="Figures of the run for a scheduler, in Prometheus' text format.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the files.")]
STOPPED = 75
"""Exit code of a run that was told to stop, or whose cube another run is writing: EX_TEMPFAIL of
sysexits.h, try again later."""


def tell(text: str) -> None:
    """Say something to the person at the screen."""
    say(text, err=True)


def say(text: str, err: bool = False) -> None:
    """Print text for a person: no secrets, and nothing that steers the screen."""
    typer.echo(for_people(text), err=err)


_asked: set[str] = set()
"""The kind of log that this command was asked for."""


def begin(log: str | None = None) -> None:
    """Tell in lines of a ``log`` of that kind from here on; none: to the person at the screen."""
    _asked.clear()
    if log:
        from flows.logs import log_as  # noqa: PLC0415

        log_as(log)
        _asked.add(log)


def fail(error: object, code: int) -> None:
    """One line on standard error, of the log where one was asked for, and the exit code."""
    text = " ".join(str(error).split())
    if _asked:
        level = logging.WARNING if code == STOPPED else logging.ERROR
        logging.getLogger("r2h").log(level, "%s", text, extra={"exit_code": code})
    else:
        tell(f"r2h: {text}")
    sys.exit(code)


def stderr() -> Any:
    """Rich console on standard error."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True)


def show(facts: dict[str, Any], as_json: bool) -> None:
    """Facts, as a table or as JSON."""
    facts = redacted(facts)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        say(f"{key:<{width}}  {value}")


@contextmanager
def figures(uri: str | None) -> Iterator[None]:
    """Of a run that ends early, how: no scheduler takes those of the run before for its own."""
    from flows.metrics import write_metrics  # noqa: PLC0415
    from pipeline.store import storage_errors  # noqa: PLC0415

    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "code", 1) == STOPPED
        state = "busy" if isinstance(error, Busy) else "stopped" if stopped else "failed"
        # What ended the run is told, not that its figures cannot be written either.
        with suppress(*storage_errors(ValueError, ImportError)):
            if uri:
                write_metrics(uri, [{"state": state}])
        raise


def begin_at(endpoint: str | None, metrics: str | None) -> None:
    """Where S3 is for this run. Raises Refusal where its figures cannot be written there."""
    from flows.metrics import refuse_no_metrics  # noqa: PLC0415
    from pipeline.store import use_endpoint  # noqa: PLC0415

    use_endpoint(endpoint)
    if metrics:
        refuse_no_metrics(metrics)


@contextmanager
def answered() -> Iterator[None]:
    """Raises Refusal where Prefect's server does not answer."""
    try:
        yield
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        fix = "Start it with `prefect server start`, or unset PREFECT_API_URL."
        raise Refusal("a Prefect server must answer", error, fix) from error
