"""What a run will do and need, before it does anything."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window, regions


@dataclass(frozen=True, slots=True)
class Plan:
    """The work, cut into regions, and what it takes."""

    place: Window
    """The cube's window in the scene."""
    regions: tuple[Window, ...]
    """In the cube's own pixels; each is a unit of work."""
    tiles: int
    """Tiles the model computes, those that two regions share counted twice."""
    needed: int
    """Tiles that touch the window, each counted once."""
    buffer_bytes: int
    """Largest memory of sums under way and waiting to be written; the model's own comes on top."""
    disk_bytes: int
    """Of the cube, before compression."""

    @property
    def halo(self) -> float:
        """Share of the work that is done twice because regions overlap in tiles."""
        return self.tiles / self.needed - 1


def plan(
    grid: TileGrid, place: Window, chunk: int, region: int, wavelengths: int, item_bytes: int
) -> Plan:
    """Plan a cube of ``place``; ``item_bytes`` is the size of one stored value.

    Raises Refusal unless ``region`` is whole chunks.
    """
    parts = regions(place.height, place.width, chunk, region)
    tiles = [grid.count(part.shifted(place.row, place.col)) for part in parts]
    # Sums are float32 whatever is stored. Of rows of chunks, those that a tile touches are under
    # way, two wait, one is being written and one is handed over.
    rows = -(-grid.tile // chunk) + 1 + 4
    sums = rows * chunk * max(part.width for part in parts)
    return Plan(
        place=place,
        regions=tuple(parts),
        tiles=sum(tiles),
        needed=grid.count(place),
        buffer_bytes=sums * wavelengths * 4,
        disk_bytes=place.height * place.width * wavelengths * item_bytes,
    )


def refuse_too_big(planned: Plan, folder: Path) -> None:
    """Raise Refusal where memory, or the disk of ``folder`` before compression, is too small."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if planned.buffer_bytes > memory:
        rule = f"the machine must have {planned.buffer_bytes / 1e9:.2f} GB of memory"
        raise Refusal(rule, f"{memory / 1e9:.2f} GB", "Choose a smaller --region.")
    free = shutil.disk_usage(folder).free
    if planned.disk_bytes > free:
        rule = f"the disk must have room for {planned.disk_bytes / 1e9:.2f} GB"
        raise Refusal(rule, f"{free / 1e9:.2f} GB in {folder}", "Choose another disk or a window.")
