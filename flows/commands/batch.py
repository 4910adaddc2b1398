"""`r2h batch`: many rasters under one configuration."""

import json
import os
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STOPPED, Json, Log, Metrics, begin, begin_at, figures, say, tell
from flows.settings import BatchSettings, load
from pipeline.errors import Refusal
from pipeline.redact import redacted

if TYPE_CHECKING:
    from flows.batch import Batch

app = typer.Typer()


@app.command()
def batch(
    config: Annotated[str, typer.Argument(help="TOML file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    log: Log = None,
    metrics: Metrics = None,
    as_json: Json = False,
) -> None:
    """Reconstruct many rasters; run it again to go on with what is not done.

    A cube is skipped where its input's name, size and time of change (or ETag) are as they were.

    Exit code 0, 1 where scenes failed, 2 for a bad configuration, told before any work, 75 where it
    was told to stop, or another run is writing a cube: run it again later.

    Example: r2h batch batch.toml --dry-run
    """
    from flows.batch import plan_batch  # noqa: PLC0415
    from flows.metrics import write_metrics  # noqa: PLC0415
    from flows.progress import stopped_by_signals  # noqa: PLC0415

    with stopped_by_signals() as stop:
        with figures(metrics):
            begin(log)
            if not Path(config).exists():
                # Not one that is shipped: a job begun in another folder would take what lies there.
                rule, fix = "a batch's config is a TOML file", "Write one, after docs/cloud.md."
                raise Refusal(rule, f"no {Path(config).absolute()}", fix)
            settings = load(BatchSettings, config)
            begin_at(settings.scene.endpoint, metrics)
            planned = plan_batch(settings, stop)
        _tell(planned, dry_run, as_json, log)
        if dry_run:
            raise typer.Exit(STOPPED if stop.is_set() else 0)
        rows = _run(planned, stop, as_json, log, metrics)
    # There each was told as it ended.
    told = not log and not as_json and read_as_one()
    _show([row for row in rows if not told or row["state"] == "waiting"], as_json)
    if metrics:
        write_metrics(metrics, rows)
    states = Counter(row["state"] for row in rows)
    if not log:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        tell(f"{counts}; {planned.report}")
    later = states["stopped"] or states["waiting"] or (states["busy"] and not states["failed"])
    raise typer.Exit(STOPPED if later else 1 if states["failed"] else 0)


def _run(
    planned: "Batch", stop: Event, as_json: bool, log: str | None, metrics: str | None
) -> list[dict[str, Any]]:
    """What became of each scene; told as far as it is known where the report cannot be written."""
    from flows.batch import run_batch  # noqa: PLC0415
    from flows.metrics import write_metrics  # noqa: PLC0415
    from flows.progress import log_end  # noqa: PLC0415
    from pipeline.store import storage_errors  # noqa: PLC0415

    ended: list[dict[str, Any]] = []

    def watch(row: dict[str, Any]) -> None:
        ended.append(row)
        if log:
            log_end(row)
        else:
            tell(_line(row))

    try:
        return run_batch(planned, stop, watch)
    except storage_errors():
        _show(ended, as_json)
        with suppress(*storage_errors()):
            if metrics:
                write_metrics(metrics, ended)
        raise


def _tell(planned: "Batch", dry_run: bool, as_json: bool, log: str | None) -> None:
    """What is planned, and where that is all, of each scene."""
    if dry_run:
        _show([entry.row for entry in planned.entries], as_json)
    if (expected := planned.forecast) and (dry_run or not log):
        megapixels = sum(entry.megapixels for entry in planned.todo)
        disk = sum(entry.disk_bytes for entry in planned.todo)
        tell(
            f"{len(planned.todo)} of {len(planned.entries)} scenes to do, {megapixels:.2f} Mpx: "
            f"about {expected.seconds:.0f} s of the model, memory up to "
            f"{expected.peak_bytes / 1e9:.1f} GB, disk up to {disk / 1e9:.2f} GB"
        )


def read_as_one() -> bool:
    """Whether answers and what is told beside them go to one screen or file."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # one of them is no file, or closed
        return False


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    for row in rows:
        say(json.dumps(redacted(row)) if as_json else _line(row))


def _line(row: dict[str, Any]) -> str:
    seconds = f"{row['seconds']:8.2f} s" if "seconds" in row else " " * 10
    reason = f"  {row['reason']}" if row["reason"] else ""
    size = f"{row['megapixels']:9.3f} Mpx {seconds}"
    said = row["assumptions"] if row["state"] != "skipped" else None
    taken = f"\n{'':<8}{said}" if said else ""
    return f"{row['state']:<8}{size}  {row['source']} -> {row['destination'] or '-'}{reason}{taken}"
