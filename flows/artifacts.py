"""What a Prefect run shows beside its log: how far it is, its regions, and a report with a picture.

Artifacts of one key are shown as the history of a deployment, so each kind has one key.
"""

import time
from base64 import b64encode
from collections.abc import Callable
from string import punctuation
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from pipeline.layout import NOTE
from pipeline.picture import png, true_picture
from pipeline.redact import printable
from pipeline.view import CubeView

EVERY = 2.0
"""Seconds between two updates of the progress, at least: each is a request to the server."""
PICTURE = 384
"""Pixels of the picture's long side, at most: it is stored in the server's database."""
_SIGNS = set(punctuation) - set("./-,")
"""That mean something in markdown, in the middle of a line."""

Row = dict[str, Any]


def show_progress(total: int, of: str) -> Callable[[int], None]:
    """A bar of ``total`` things; returns what is told how many more are done."""
    about = f"{total} {of} to do"
    artifact = cast(UUID, create_progress_artifact(0.0, key="progress", description=about))
    done, told = 0, 0.0

    def advance(more: int) -> None:
        nonlocal done, told
        done += more
        if done >= total or time.monotonic() - told > EVERY:
            told = time.monotonic()
            update_progress_artifact(artifact, 100 * done / total, f"{done} of {total} {of}")

    return advance


def show_table(key: str, rows: list[Row], about: str) -> None:
    """Rows of one kind as a table."""
    create_table_artifact(rows, key=key, description=about)


def show_report(record: dict[str, Any]) -> None:
    """What `run.json` holds, for people, with the cube's picture."""
    create_markdown_artifact(report(record), key="report", description=NOTE)


def report(record: dict[str, Any]) -> str:
    """The report of a run in markdown."""
    taken = record["assumptions"].removeprefix("taken as ").removesuffix(f"; {NOTE}")
    facts = {
        "input": record["input"]["source"],
        "megapixels": f"{record['megapixels']:.2f}",
        "seconds": f"{record['seconds']:.1f}",
        "tiles": record["tiles"],
        "taken as": taken,
        "checkpoint": record["provenance"]["checkpoint"][:12],
        "engine": f"{record['provenance']['engine']} on {record['environment']['device']}",
        "neighbouring tiles, 99 % of pixels, agree within": record["seam"]["disagreement_p99"],
        "most memory": f"{record['peak_bytes'] / 1e9:.2f} GB",
    }
    lines = [f"| {key} | {_text(value)} |" for key, value in facts.items()]
    shown = [f"## {_text(record['cube'])}", "", f"![quicklook]({picture(record['cube'])})"]
    return "\n".join([*shown, "", NOTE, "", "| | |", "|---|---|", *lines])


def _text(value: object) -> str:
    """What is text and no more in markdown, whoever named it; a line."""
    text = " ".join(printable(str(value)).split())
    # By backslash: Prefect's page shows character references as they are written.
    return "".join(f"\\{c}" if c in _SIGNS else c for c in text)


def picture(cube: str) -> str:
    """A small picture of a cube as a data URI: PNG."""
    drawn = png(true_picture(CubeView.open(cube), PICTURE))
    return f"data:image/png;base64,{b64encode(drawn).decode()}"
