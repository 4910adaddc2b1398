import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.blend import weights
from pipeline.grid import Axis, TileGrid


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    tile = 8 * draw(st.integers(1, 12))
    return Axis(draw(st.integers(1, 500)), tile, draw(st.integers(0, tile // 2)))


@given(axes())
def test_weights_of_an_axis_sum_to_exactly_one(axis: Axis) -> None:
    total = np.zeros(axis.start(axis.count - 1) + axis.tile, np.float32)
    for index in range(axis.count):
        total[axis.start(index) : axis.start(index) + axis.tile] += weights(axis, index)
    assert (total == 1).all()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 16), st.randoms())
def test_products_sum_to_exactly_one_in_any_order(
    height: int, width: int, overlap: int, random: object
) -> None:
    grid = TileGrid(height, width, 32, overlap)
    tiles = [(i, j) for i in range(grid.shape[0]) for j in range(grid.shape[1])]
    random.shuffle(tiles)  # type: ignore[attr-defined]
    last = grid.window((grid.shape[0] - 1, grid.shape[1] - 1))
    total = np.zeros((last.row_stop, last.col_stop), np.float32)
    for tile in tiles:
        product = np.multiply.outer(weights(grid.rows, tile[0]), weights(grid.cols, tile[1]))
        total[grid.window(tile).slices] += product
    assert (total == 1).all()


@given(axes())
def test_ramps_are_only_on_sides_with_a_neighbour(axis: Axis) -> None:
    for index in range(axis.count):
        weight = weights(axis, index)
        inner = slice(
            axis.overlap if index > 0 else 0,
            axis.stride if index < axis.count - 1 else axis.tile,
        )
        assert (weight[inner] == 1).all()
        assert (np.diff(weight[: inner.start]) >= 0).all()
        assert (np.diff(weight[inner.stop :]) <= 0).all()
        assert ((weight >= 0) & (weight <= 1)).all()
        assert weight.dtype == np.float32


def test_a_ramp_is_straight_and_centred() -> None:
    np.testing.assert_array_equal(
        weights(Axis(20, 8, 4), 1), np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8
    )


def test_weights_are_multiples_of_a_fixed_step() -> None:
    counts = weights(Axis(1000, 512, 101), 0) * 2**12
    np.testing.assert_array_equal(counts, np.rint(counts))


def test_no_weights_outside_the_axis() -> None:
    with pytest.raises(IndexError):
        weights(Axis(20, 8, 4), 9)
