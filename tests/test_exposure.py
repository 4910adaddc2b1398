import tracemalloc
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.camera import SRGB, load_camera
from pipeline.exposure import (
    BRIGHT_AT,
    MEAN_AT,
    MOST,
    SHARE,
    lattices,
    scale_of,
    scale_windows,
    scene_scale,
)
from pipeline.grid import Window
from tests.toys import ArrayScene

RGB = np.random.default_rng(0).random((3, 40, 50), np.float32)
CAMERA = load_camera(SRGB)


def scene(values: np.ndarray) -> ArrayScene:
    return ArrayScene(values, np.ones(values.shape[1:], bool))


@pytest.mark.parametrize("rows", [0, 100, 400, 420, 440, 446])
def test_a_black_collar_changes_nothing(rows: int) -> None:
    """Whatever its share, to the last lit rows."""
    values = np.tile(np.random.default_rng(0).random((3, 1, 500), np.float32), (1, 450, 1))
    known = scene_scale(scene(values), CAMERA)
    values[:, :rows] = 0
    assert scene_scale(scene(values), CAMERA) == pytest.approx(known, rel=1e-3)


@given(st.floats(1e-3, 1e3))
def test_it_is_homogeneous(factor: float) -> None:
    assert scale_of(RGB * np.float32(factor)) == pytest.approx(factor * scale_of(RGB), rel=1e-5)


def test_a_flat_scene_has_its_value() -> None:
    assert scale_of(np.full((3, 5, 5), 0.5, np.float32)) == pytest.approx(0.5 / MEAN_AT)


def test_highlights_beyond_the_99th_percentile_count_no_more() -> None:
    bright = RGB.copy()
    bright[:, :2, :5] = 1
    brighter = bright.copy()
    brighter[:, :2, :5] = 1e6
    assert scale_of(brighter) == pytest.approx(scale_of(bright))


def test_the_lights_of_a_night_scene_stay_within_what_training_showed() -> None:
    night = np.full((3, 40, 50), 1e-4, np.float32)
    night[:, :2] = 0.8
    assert np.percentile(night, 99) / scale_of(night) == pytest.approx(BRIGHT_AT)


@pytest.mark.parametrize("rgb", [np.zeros((3, 4, 4), np.float32), np.zeros((3, 0, 0), np.float32)])
def test_black_or_nothing_gives_1(rgb: np.ndarray) -> None:
    assert scale_of(rgb) == 1
    assert scale_of(rgb + 1, np.zeros(rgb.shape[1:], bool)) == 1


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -np.inf, 7])
def test_what_is_under_the_mask_is_ignored(rubbish: float) -> None:
    masked, valid = RGB.copy(), np.ones(RGB.shape[1:], bool)
    masked[:, 10:, :30], valid[10:, :30] = rubbish, False
    assert scale_of(masked, valid) == scale_of(RGB, valid)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 3.4e38, -3.4e38])
@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_a_scenes_nodata_is_ignored(rubbish: float, encoding: Any) -> None:
    camera = CAMERA.reading(encoding, 0.1)
    clean = scene(RGB.copy())
    clean.valid[:, :20] = False
    dirty = ArrayScene(clean.values.copy(), clean.valid)
    dirty.values[:, :, :20] = rubbish
    assert scene_scale(dirty, camera) == scene_scale(clean, camera) != 1


def test_a_small_scene_is_seen_whole() -> None:
    collar = np.where(np.arange(RGB.shape[2]) < 9, RGB, 0)
    for rgb in (RGB, collar):  # what a training is shown, and what a run shows
        assert scene_scale(scene(rgb), CAMERA) == pytest.approx(scale_of(rgb), rel=1e-6)
    assert scale_of(collar) == scale_of(RGB[..., :9])


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (1100, 300)])
def test_a_scene_of_any_shape_has_a_scale(shape: tuple[int, int]) -> None:
    flat = scene(np.full((3, *shape), 128, np.uint8))
    assert scene_scale(flat, CAMERA.reading("linear", 255)) == pytest.approx(128 / 255 / MEAN_AT)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_scale_windows_are_few_inside_and_distinct(height: int, width: int) -> None:
    windows = scale_windows(height, width)
    scene = Window(0, 0, height, width)
    assert len(windows) == len(set(windows)) <= 16
    for window in windows:
        assert window.intersection(scene) == window
        assert max(window.height, window.width) <= 256
    assert (windows[0].row, windows[0].col) == (0, 0)
    assert (windows[-1].row_stop, windows[-1].col_stop) == (height, width)


@dataclass
class Island(ArrayScene):
    """Pixels somewhere in a large scene that is not valid, or black, but there."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    place: Window
    sea: bool = False
    """Whether what is around it is valid."""
    height: int = 3000
    width: int = 4001
    reads: Counter[Window] = field(default_factory=Counter)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        self.reads[window] += 1
        values = np.zeros((3, window.height, window.width), self.values.dtype)
        valid = np.full(values.shape[1:], self.sea)
        if shared := self.place.intersection(window):
            to, of = shared.relative_to(window).slices, shared.relative_to(self.place).slices
            values[:, *to], valid[to] = self.values[:, *of], self.valid[of]
        return values, valid


@st.composite
def islands(draw: st.DrawFn) -> Island:
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    row, col = draw(st.integers(0, 3000 - height)), draw(st.integers(0, 4001 - width))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    values = random.random((3, height, width), np.float32) + np.float32(0.01)
    valid = random.random((height, width)) < draw(st.sampled_from([1.0, 0.5, 0.02]))
    return Island(values, valid, Window(row, col, height, width), draw(st.booleans()))


@settings(max_examples=40)
@given(islands())
def test_what_lies_between_the_first_windows_has_a_scale(island: Island) -> None:
    found = scene_scale(island, CAMERA)
    lit = island.valid.sum()
    if lit < MOST // SHARE:
        # All of it was looked for, each pixel once.
        assert found == pytest.approx(scale_of(island.values, island.valid), rel=1e-6)
    assert (found == 1) == (lit == 0)
    brighter = replace(island, values=4 * island.values)
    assert scene_scale(brighter, CAMERA) == pytest.approx(4 * found if lit else 1, rel=1e-6)


@pytest.mark.parametrize("tall", [True, False])
def test_a_corridor_is_found_soon_and_seen_along_its_length(tall: bool) -> None:
    place = Window(0, 700, 7000, 256) if tall else Window(700, 0, 256, 9001)
    ramp = np.linspace(0.1, 0.9, max(place.height, place.width), dtype=np.float32)
    values = np.broadcast_to(ramp[:, None] if tall else ramp, (3, place.height, place.width))
    corridor = Island(values, np.ones(values.shape[1:], bool), place, height=7000, width=9001)
    assert scene_scale(corridor, CAMERA) == pytest.approx(scale_of(values), rel=0.15)
    assert corridor.reads.total() < 300


@pytest.mark.parametrize("sea", [True, False])
def test_one_pixel_in_a_first_window_does_not_decide(sea: bool) -> None:
    values, valid = np.zeros((3, 1000, 1000), np.float32), np.zeros((1000, 1000), bool)
    values[:, 400:, 400:], valid[400:, 400:] = 0.2, True
    values[:, 0, 0], valid[0, 0] = 9, True
    island = Island(values, valid, Window(0, 0, 1000, 1000), sea)
    assert scene_scale(island, CAMERA) == pytest.approx(0.2 / MEAN_AT, rel=1e-3)


def of_first_windows(scene: ArrayScene) -> float:
    """The scale of what is lit in the first windows."""
    parts = [scene.read(window) for window in scale_windows(scene.height, scene.width)]
    known = [CAMERA.decode(np.where(valid, values, 0)) for values, valid in parts]
    rgb = np.concatenate([part.reshape(3, -1) for part in known], axis=1)
    valid = np.concatenate([valid.ravel() for _, valid in parts])
    return scale_of(rgb, valid & (rgb.mean(axis=0, dtype=np.float64) > 0))


@given(st.integers(1, 1500), st.integers(1, 1500), st.sampled_from([1.0, 0.9, 0.1]))
def test_where_the_first_windows_hold_enough_they_decide(
    height: int, width: int, share: float
) -> None:
    random = np.random.default_rng(height + width)
    values = random.random((3, height, width), np.float32)
    values[:, random.random((height, width)) < 0.2] = 0
    some = ArrayScene(values, random.random((height, width)) < share)
    assert scene_scale(some, CAMERA) == of_first_windows(some)


def test_a_scene_that_is_black_but_for_a_lamp_has_the_lamps_scale() -> None:
    values = np.zeros((3, 200, 200), np.float32)
    values[:, 7, 7] = 0.1
    assert scene_scale(scene(values), CAMERA) == pytest.approx(0.1 / MEAN_AT)


@pytest.mark.parametrize("sea", [True, False])
def test_an_empty_scene_is_read_once_and_has_scale_1(sea: bool) -> None:
    nothing = Island(np.zeros((3, 1, 1), np.float32), np.full((1, 1), sea), Window(9, 9, 1, 1), sea)
    assert scene_scale(nothing, CAMERA) == 1
    assert nothing.reads.total() == 16 + 12 * 16


def test_memory_is_bounded_however_much_a_lattice_finds() -> None:
    values, valid = np.broadcast_to(np.float32(0.2), (3, 7000, 9001)), np.zeros((7000, 9001), bool)
    strewn = Island(values, valid, Window(0, 0, 7000, 9001), height=7000, width=9001)
    *_, last = lattices(7000, 9001)
    for cell in last:
        valid[cell.slices] = True
    for window in scale_windows(7000, 9001):
        valid[window.slices] = False
    tracemalloc.start()
    assert scene_scale(strewn, CAMERA) == pytest.approx(0.2 / MEAN_AT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 8 * MOST < 4 * valid.sum()


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_lattices_cover_the_scene_once_and_begin_with_few(height: int, width: int) -> None:
    levels = [list(lattice) for lattice in lattices(height, width)]
    seen = np.zeros((height, width), np.uint8)
    for cell in (cell for level in levels for cell in level):
        seen[cell.slices] += 1
    assert (seen == 1).all()
    assert len(levels[0]) <= 64
