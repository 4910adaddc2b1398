"""Cloud-optimised GeoTIFFs of any size, in flat memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.io import DatasetWriter

from pipeline.ahead import cores
from pipeline.grid import Window
from pipeline.labels import Parts
from pipeline.remote import without_place

_SIDE = 256
_COG = {"compress": "DEFLATE", "predictor": "YES", "overview_resampling": "AVERAGE"}
_forked: list[bool] = []
# GDAL keeps its threads. A process that is forked has none of them, and would wait for ever.
os.register_at_fork(after_in_child=lambda: _forked.append(True))


@contextmanager
def cog(path: Path, **profile: Any) -> Iterator[DatasetWriter]:
    """A dataset to write in parts; at the end ``path`` is a COG of it, with overviews.

    Lossless. Overviews are area means of valid pixels.
    """
    draft = path.with_name(f"{path.name}.draft")
    layout = {"tiled": True, "blockxsize": _SIDE, "blockysize": _SIDE, "compress": "LZW"}
    # Threads compress; the bytes stay the same.
    common = {"bigtiff": "IF_SAFER", "num_threads": 1 if _forked else cores()}
    # Made first and copied, as a COG's parts lie in an order in which they cannot be written.
    with _told_as_a_disks():
        with without_place():
            file = rasterio.open(draft, "w", driver="GTiff", **layout, **common, **profile)
        with file:
            yield file
        with without_place():
            rasterio.shutil.copy(draft, path, driver="COG", **_COG, **common)
    draft.unlink()


@contextmanager
def _told_as_a_disks() -> Iterator[None]:
    """Raise OSError where GDAL cannot write: it says that in errors of its own."""
    try:
        yield
    except CPLE_BaseError as error:
        raise OSError(f"{error}") from None


def window_of(part: Window) -> rasterio.windows.Window:
    """A window as rasterio takes it."""
    return rasterio.windows.Window(part.col, part.row, part.width, part.height)


def fill(file: DatasetWriter, parts: Parts) -> None:
    """Write all parts of a cube."""
    for part, raw in parts:
        file.write(raw, window=window_of(part))
