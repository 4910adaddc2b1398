"""What a job is asked to do, and how a job is written."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
Steps = Generator[None, None, Facts]


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work; JSON-able, as it crosses to a fresh process."""

    network: str = "r2h"
    """A name of `benchmarks.networks`."""
    engine: str = ""
    """What computes it; empty for the project's default."""
    size: int = 512
    """Columns of the scene, and rows where these are not given."""
    rows: int = 0
    tile: int = 256
    overlap: int = 32
    batch: int = 1
    workers: int = 1
    """Tiles, or tasks, under way at once; each has the process's threads."""
    megapixels: float = 0.5
    """Of tiles that a network alone computes."""
    bare: bool = False
    """Whether the model takes values as they are, not scaled to the scene."""
    mst: str = ""
    """Folder of the MST++ code."""

    @property
    def height(self) -> int:
        """Rows of the scene."""
        return self.rows or self.size


Job = Callable[[Case, Path], Steps]
"""Prepares, yields, does the work, yields, returns facts. The clock runs between the yields."""


class Skip(Exception):
    """A contender that cannot be measured here; its text says why."""
