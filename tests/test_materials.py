from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Refusal
from pipeline.materials import measured_reflectances, metameric, repaint

NM = (400.0, 500.0, 600.0, 700.0)
RED = np.array([0.1, 0.1, 0.2, 0.8], np.float32)
BLUE = np.array([0.8, 0.4, 0.1, 0.1], np.float32)
GREEN = np.array([[0.1, 0.9, 0.3, 0.1]], np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shaded(*materials: np.ndarray) -> np.ndarray:
    """(4, 10, 10 x materials): each material in a shade of its own at every pixel."""
    shade = generator(3).uniform(0.5, 1, (1, 10, 10)).astype(np.float32)
    return np.concatenate([m[:, None, None] * shade for m in materials], axis=2)


def hues(cube: np.ndarray) -> np.ndarray:
    return cube / cube.mean(axis=0)


def written(path: Path, **tables: object) -> Path:
    np.savez(path, **{"wavelength_nm": np.array(NM), "info": np.array("{}"), **tables})
    return path


def test_pixels_take_the_hue_of_the_new_material() -> None:
    painted = repaint(shaded(RED, BLUE), GREEN, generator())
    expected = np.broadcast_to(hues(GREEN[0])[:, None, None], painted.shape)
    np.testing.assert_allclose(hues(painted), expected, atol=0.15)


def test_brightness_stays() -> None:
    cube = shaded(RED, BLUE)
    painted = repaint(cube, GREEN, generator())
    np.testing.assert_allclose(painted.mean(axis=0), cube.mean(axis=0), rtol=1e-4)


def test_pixels_of_one_material_become_one_material_and_others_another() -> None:
    many = generator(7).uniform(0.05, 1, (50, 4)).astype(np.float32)
    within, between = 0.0, 0.0
    for seed in range(10):
        left, right = np.split(hues(repaint(shaded(RED, BLUE), many, generator(seed))), 2, axis=2)
        within += left.var(axis=(1, 2)).sum() + right.var(axis=(1, 2)).sum()
        between += np.square(left.mean(axis=(1, 2)) - right.mean(axis=(1, 2))).sum()
    assert between > 20 * within


def test_noise_that_no_material_explains_stays() -> None:
    noise = generator(1).normal(0, 0.005, (4, 10, 20)).astype(np.float32)
    noise -= noise.mean(axis=0)
    clean, noisy = (repaint(shaded(RED, BLUE) + n, GREEN, generator()) for n in (0 * noise, noise))
    left = noisy - clean
    assert 0.7 < (left * noise).sum() / (noise * noise).sum() < 1.3


def test_materials_that_are_there_already_change_nothing() -> None:
    cube = shaded(RED)
    np.testing.assert_allclose(repaint(cube, RED[None], generator()), cube, atol=5e-3)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_flat_or_black_crop_is_repainted_without_fault(value: float) -> None:
    painted = repaint(np.full((4, 8, 8), value, np.float32), GREEN, generator())
    assert (painted.shape, painted.dtype) == ((4, 8, 8), np.float32)
    assert np.isfinite(painted).all()
    assert painted.min() >= 0


def test_it_is_a_function_of_the_generator() -> None:
    many = generator(7).uniform(0.05, 1, (50, 4)).astype(np.float32)
    one, same, other = (repaint(shaded(RED, BLUE), many, generator(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=0.01)


EYES = np.array([[0, 0, 0.3, 0.7], [0, 0.4, 0.6, 0], [0.5, 0.5, 0, 0]], np.float32)


def hues_seen(spectra: np.ndarray) -> np.ndarray:
    """Spectra (bands, ...) over what the camera's bands see of them in the mean."""
    return spectra / np.tensordot(EYES.mean(axis=0), spectra, axes=1)


@given(st.integers(0, 99))
def test_a_camera_does_not_see_that_a_crop_became_metamers(seed: int) -> None:
    many = generator(seed).uniform(0.05, 1, (50, 4)).astype(np.float32)
    cube = shaded(many[0], many[1], many[2])
    moved = metameric(cube, EYES, many, generator(seed))
    seen, now = (np.tensordot(EYES, x, axes=1) for x in (cube, moved))
    np.testing.assert_allclose(now, seen, atol=1e-6)
    # What began within the range of the materials, as these, stays there.
    low, high = (of(hues_seen(many.T), axis=1)[:, None, None] for of in (np.min, np.max))
    assert (hues_seen(moved) >= low - 1e-5).all()
    assert (hues_seen(moved) <= high + 1e-5).all()
    assert (moved <= np.maximum(many.max(axis=0)[:, None, None], cube) + 1e-5).all()


def test_metamers_are_other_spectra() -> None:
    many = generator(7).uniform(0.05, 1, (50, 4)).astype(np.float32)
    cube = shaded(many[0], many[1])
    moves = [np.abs(metameric(cube, EYES, many, generator(i)) - cube).mean() for i in range(20)]
    assert np.median(moves) > 0.005


def test_a_pixel_beyond_the_measured_and_a_black_one_stay() -> None:
    many = generator(7).uniform(0.4, 0.6, (50, 4)).astype(np.float32)
    cube = np.stack([np.zeros(4), RED], axis=1).astype(np.float32)[:, :, None]
    np.testing.assert_allclose(metameric(cube, EYES, many, generator()), cube, atol=1e-7)


def test_measured_spectra_are_read_and_simulated_and_black_ones_left_out(tmp_path: Path) -> None:
    black = np.zeros((1, 4), np.float32)
    path = written(
        tmp_path / "a.npz", paints=np.stack([RED, BLUE]), leaves_SIMULATED=GREEN, soot=black
    )
    np.testing.assert_array_equal(measured_reflectances(path, NM), np.stack([RED, BLUE]))


def test_reflectances_at_other_wavelengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="400 to 700 nm"):
        measured_reflectances(written(tmp_path / "a.npz", paints=GREEN), (400.0, 700.0))
    with pytest.raises(Refusal, match=r"from 0 to 1\.2"):  # lights, say
        measured_reflectances(written(tmp_path / "a.npz", paints=2 + GREEN), NM)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("no")
    for name in ("a.npz", "missing.npz"):
        with pytest.raises(Refusal, match="npz"):
            measured_reflectances(tmp_path / name, NM)
