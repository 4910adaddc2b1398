"""One input of a batch, and what is said of it beside the file."""

from dataclasses import dataclass, field
from typing import Any

import fsspec

from pipeline import reach
from pipeline.store import storage_errors

NAMELESS = "-"
"""Where the cube is of an input whose cube can have no name."""


@dataclass(frozen=True, slots=True)
class Item:
    """One raster, and what a template may say of it."""

    source: str
    fields: dict[str, str] = field(default_factory=dict)
    datetime: str | None = None
    """When the picture was taken, ISO 8601, where a catalog says it."""
    said: tuple[dict[str, Any], ...] = ()
    """What a catalog says of it as a whole and of its bands, by the names of STAC 1.1."""
    bands: tuple[dict[str, Any], ...] = ()
    """What a catalog says that each of its bands shows."""
    union: tuple[dict[str, Any], ...] = ()
    """What it says so of all its assets together: of a file's bands where these are as many."""
    refused: str | None = None
    """Why its cube can have no name, where others go on."""


def read(uri: str) -> str:
    """A list or catalog at a path or URI. Raises Refusal where it cannot be read."""
    try:
        with fsspec.open(uri, "rt", encoding="utf-8-sig") as file:
            return str(file.read())
    except storage_errors(UnicodeDecodeError, ValueError, ImportError) as error:
        rule = f"the list of inputs {uri} is a readable text"
        raise reach.failed(error, rule, "Check it.") from None
