from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window
from pipeline.plan import plan, refuse_too_big


def test_counts_tiles_once_and_as_often_as_they_are_computed():
    grid = TileGrid(100, 60, 16, 4)
    one = plan(grid, Window(0, 0, 100, 60), 8, 104, 31, 2)
    many = plan(grid, Window(0, 0, 100, 60), 8, 8, 31, 2)
    assert one.tiles == one.needed == many.needed == grid.shape[0] * grid.shape[1]
    assert one.halo == 0
    assert many.halo > 0
    assert many.tiles == sum(len(grid.covering(part)) for part in many.regions)
    assert one.disk_bytes == 100 * 60 * 31 * 2


def test_the_buffer_does_not_grow_with_the_height():
    short = plan(TileGrid(100, 60, 16, 4), Window(0, 0, 100, 60), 8, 104, 31, 2)
    tall = plan(TileGrid(9000, 60, 16, 4), Window(0, 0, 9000, 60), 8, 104, 31, 2)
    assert tall.buffer_bytes == short.buffer_bytes


def test_a_disk_without_room_is_refused(tmp_path):
    huge = plan(TileGrid(10**9, 10**6, 16, 4), Window(0, 0, 8, 10**4), 8, 8, 31, 2)
    refuse_too_big(huge, Path(tmp_path))
    vast = plan(TileGrid(10**7, 10**7, 16, 4), Window(0, 0, 10**7, 10**7), 10**6, 10**6, 31, 2)
    small = replace(vast, buffer_bytes=0)
    with pytest.raises(Refusal, match="disk must have room"):
        refuse_too_big(small, Path(tmp_path))
    with pytest.raises(Refusal, match="memory"):
        refuse_too_big(vast, Path(tmp_path))
