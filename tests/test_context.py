"""Windows that tell what a scene holds."""

from itertools import product
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.camera import SRGB, load_camera
from pipeline.context import ACROSS, GREY, MOST, SIDE, SIDES, Context, contexts, measured
from pipeline.errors import Stopped
from pipeline.exposure import SHARE, lattices, spread
from pipeline.grid import Window
from tests.toys import ArrayScene

CAMERA = load_camera(SRGB)
ALL = np.s_[:]


def scene(height: int, width: int, known: object = ALL) -> ArrayScene:
    """Random, valid in a part; what is not is not a number."""
    valid = np.zeros((height, width), bool)
    valid[known] = True  # type: ignore[index]
    values = np.random.default_rng(0).uniform(0.1, 1, (3, height, width)).astype(np.float32)
    return ArrayScene(np.where(valid, values, np.nan).astype(np.float32), valid)


def windows(found: list[Context]) -> list[Window]:
    return [one.window for one in found]


@given(st.integers(1, 700), st.integers(1, 700))
def test_they_are_few_and_of_whole_eights(height: int, width: int) -> None:
    found = contexts(scene(height, width), CAMERA)
    assert 0 < len(found) <= ACROSS**2
    for window, rgb, share in found:
        assert rgb.shape == (3, window.height, window.width)
        assert window.height % SIDES == window.width % SIDES == 0
        assert max(window.height, window.width) <= SIDE
        assert np.isfinite(rgb).all()
        assert share == 1


def test_a_small_scene_is_seen_whole_and_mirrored_at_its_edge() -> None:
    small = scene(5, 11)
    (one,) = contexts(small, CAMERA)
    assert one.window == Window(0, 0, 32, 32)
    assert np.array_equal(one.rgb[:, :5, :11], CAMERA.decode(small.values))
    assert np.array_equal(one.rgb[:, 5], one.rgb[:, 3])


@pytest.mark.parametrize(
    ("size", "rows", "cols"),
    [
        ((512, 500), [0, 128, 256, 384], [0, 124, 248, 372]),
        ((1300, 999), [0, 293, 586, 879, 1172], [0, 290, 580, 871]),
        ((5000, 100), [0, 974, 1948, 2923, 3897, 4872], [0]),
        ((150, 200), [11], [0, 72]),
    ],
)
def test_they_are_spread_from_end_to_end(
    size: tuple[int, int], rows: list[int], cols: list[int]
) -> None:
    found = windows(contexts(scene(*size), CAMERA))
    assert [(w.row, w.col) for w in found] == list(product(rows, cols))
    assert {w.height for w in found} == {128}
    assert {w.width for w in found} == {min(128, -(-size[1] // SIDES) * SIDES)}


@pytest.mark.parametrize("share", [1 / SHARE, 0.9 / SHARE])
def test_a_window_that_is_hardly_known_does_not_count(share: float) -> None:
    rows = round(128 * share)
    found = contexts(scene(128, 256, np.s_[:, 128:]), CAMERA)
    assert windows(found) == [Window(0, 128, 128, 128)]
    both = scene(128, 256, np.s_[:, 128:])
    both.valid[:rows] = True
    both.values[:, :rows] = 0.5
    assert len(contexts(both, CAMERA)) == 1 + (share * SHARE >= 1)


def test_what_is_not_valid_is_not_seen() -> None:
    one, other = scene(300, 300, np.s_[20:, 40:]), scene(300, 300, np.s_[20:, 40:])
    other.values[:, ~other.valid] = 7e5
    for a, b in zip(contexts(one, CAMERA), contexts(other, CAMERA), strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert a.share == b.share <= 1


def test_black_is_not_known() -> None:
    """A collar that nobody declared nodata says nothing of the scene."""
    black = scene(128, 256)
    black.values[:, :, :128] = 0
    assert windows(contexts(black, CAMERA)) == [Window(0, 128, 128, 128)]


def test_an_island_between_the_first_windows_is_found() -> None:
    place = np.s_[1300:1500, 4300:4600]
    sea = scene(6000, 6000, place)
    assert not any(col < 4600 and col + SIDE > 4300 for col in spread(6000, SIDE, ACROSS))
    found = contexts(sea, CAMERA)
    assert found
    assert all(one.share > 1 / SHARE for one in found)


def test_what_a_lattice_brings_is_thinned_evenly() -> None:
    """Of a strip between the first windows, along its length."""
    height, width = 20 * 256, 40 * 256
    assert not any(
        row < 3 * 256 + 40 and row + SIDE > 3 * 256 for row in spread(height, SIDE, ACROSS)
    )
    strip = scene(height, width, np.s_[3 * 256 : 3 * 256 + 40])
    found = windows(contexts(strip, CAMERA))
    assert MOST / 2 <= len(found) <= MOST
    columns = sorted(one.col for one in found)
    assert columns[0] < width / 8
    assert columns[-1] > width * 7 / 8


@pytest.mark.parametrize("valid", [False, True], ids=["nodata", "black"])
def test_a_scene_that_shows_nothing_has_none(valid: bool) -> None:
    empty = ArrayScene(np.zeros((3, 600, 600), np.float32), np.full((600, 600), valid))
    assert contexts(empty, CAMERA) == []


@pytest.mark.parametrize(("size", "windows"), [((200, 256), 0), ((200, 257), 4)])
def test_a_scene_that_one_tile_shows_whole_attends_to_itself(
    size: tuple[int, int], windows: int
) -> None:
    small = scene(*size)
    assert len(measured(small, CAMERA, 256).contexts) == windows
    assert measured(small, CAMERA, 256).scale == measured(small, CAMERA).scale


def test_it_is_read_no_more_when_told_to_stop() -> None:
    """Of what shows little all may be read, which takes long."""
    stop, read = Event(), []

    class Stopping(ArrayScene):
        def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
            read.append(window)
            if len(read) == 3:
                stop.set()
            return super().read(window)

    nothing = Stopping(np.zeros((3, 600, 600), np.float32), np.zeros((600, 600), bool))
    with pytest.raises(Stopped):
        measured(nothing, CAMERA, stop=stop)
    assert len(read) == 3


def test_grey_needs_no_scene() -> None:
    assert GREY.rgb.shape == (3, GREY.window.height, GREY.window.width)
    assert sum(1 for lattice in lattices(8, 8) for _ in lattice) == 1
