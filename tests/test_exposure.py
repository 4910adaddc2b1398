from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera import SRGB, load_camera
from pipeline.exposure import BRIGHT_AT, MEAN_AT, scale_of, scene_scale
from tests.toys import ArrayScene

RGB = np.random.default_rng(0).random((3, 40, 50), np.float32)
CAMERA = load_camera(SRGB)


def scene(values: np.ndarray) -> ArrayScene:
    return ArrayScene(values, np.ones(values.shape[1:], bool))


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
    assert scene_scale(scene(RGB), CAMERA) == pytest.approx(scale_of(RGB), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (1100, 300)])
def test_a_scene_of_any_shape_has_a_scale(shape: tuple[int, int]) -> None:
    flat = scene(np.full((3, *shape), 128, np.uint8))
    assert scene_scale(flat, CAMERA.reading("linear", 255)) == pytest.approx(128 / 255 / MEAN_AT)
