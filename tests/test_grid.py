import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Refusal
from pipeline.grid import Axis, TileGrid, Window, regions

windows = st.builds(
    Window,
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.integers(1, 60),
    st.integers(1, 60),
)


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    tile = 8 * draw(st.integers(1, 12))
    return Axis(draw(st.integers(1, 500)), tile, draw(st.integers(0, tile // 2)))


def pixels(window: Window) -> set[tuple[int, int]]:
    rows = range(window.row, window.row_stop)
    return {(row, col) for row in rows for col in range(window.col, window.col_stop)}


@given(windows, windows)
def test_intersection_holds_the_pixels_in_both(a: Window, b: Window) -> None:
    both = a.intersection(b)
    assert (pixels(both) if both else set()) == pixels(a) & pixels(b)


@given(windows, windows)
def test_relative_to_is_undone_by_shifting_back(a: Window, b: Window) -> None:
    assert a.relative_to(b).shifted(b.row, b.col) == a


def test_slices_cut_the_window_out_of_an_array() -> None:
    array = np.arange(20 * 30).reshape(20, 30)
    cut = array[Window(3, 4, 5, 6).slices]
    assert cut.shape == (5, 6)
    assert cut[0, 0] == array[3, 4]


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, 5)])
def test_an_empty_window_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(Refusal):
        Window(0, 0, *size)


@given(axes())
def test_tiles_cover_every_pixel_once_or_twice_and_the_last_is_needed(axis: Axis) -> None:
    covers = np.zeros(axis.start(axis.count - 1) + axis.tile, int)
    for index in range(axis.count):
        covers[axis.start(index) : axis.start(index) + axis.tile] += 1
    assert len(covers) >= axis.size
    assert covers.min() == 1
    assert covers.max() <= 2
    if axis.count > 1:
        assert axis.start(axis.count - 2) + axis.tile < axis.size


@given(axes(), st.integers(0, 500), st.integers(1, 100))
def test_covering_is_exactly_the_tiles_that_overlap(axis: Axis, start: int, length: int) -> None:
    stop = start + length
    overlapping = [
        index
        for index in range(axis.count)
        if axis.start(index) < stop and start < axis.start(index) + axis.tile
    ]
    assert list(axis.covering(start, stop)) == overlapping


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 16), windows)
def test_grid_covering_is_every_tile_that_meets_the_window(
    height: int, width: int, overlap: int, window: Window
) -> None:
    grid = TileGrid(height, width, 32, overlap)
    every = [(i, j) for i in range(grid.shape[0]) for j in range(grid.shape[1])]
    assert grid.covering(window) == [t for t in every if grid.window(t).intersection(window)]


def test_tiles_are_square_and_anchored_at_zero() -> None:
    grid = TileGrid(100, 50, 32, 8)
    assert grid.shape == (4, 2)
    assert grid.window((0, 0)) == Window(0, 0, 32, 32)
    assert grid.window((3, 1)) == Window(72, 24, 32, 32)


@pytest.mark.parametrize("index", [-1, 4])
def test_no_tile_outside_the_axis(index: int) -> None:
    with pytest.raises(IndexError):
        Axis(100, 32, 8).start(index)


@pytest.mark.parametrize(
    "axis", [(0, 32, 8), (10, 0, 0), (10, 4, 0), (10, 30, 0), (10, 32, -1), (10, 32, 17)]
)
def test_an_impossible_lattice_is_refused(axis: tuple[int, int, int]) -> None:
    with pytest.raises(Refusal):
        Axis(*axis)
    with pytest.raises(Refusal):
        TileGrid(10, *axis)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 12), st.integers(1, 4))
def test_regions_partition_in_row_major_order(
    height: int, width: int, chunk: int, chunks: int
) -> None:
    count = np.zeros((height, width), int)
    parts = regions(height, width, chunk, chunk * chunks)
    for part in parts:
        assert part.row % chunk == part.col % chunk == 0
        count[part.slices] += 1
    assert (count == 1).all()
    assert sum(part.height * part.width for part in parts) == height * width
    assert parts == sorted(parts, key=lambda part: (part.row, part.col))


@pytest.mark.parametrize(("chunk", "region"), [(16, 24), (16, 0), (16, -16), (16, 8), (0, 16)])
def test_a_region_that_cuts_a_chunk_is_refused(chunk: int, region: int) -> None:
    with pytest.raises(Refusal):
        regions(100, 100, chunk, region)
