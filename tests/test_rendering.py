from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.camera import library, load_camera, resampled, source
from pipeline.rendering import developed, exposure_of, photograph, render

BASLER = load_camera("basler-a2a5320-23uc")


def cube(side: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth, so that JPEG keeps it."""
    random = np.random.default_rng(seed)
    spectra = random.random((31, 2), np.float32)
    ramp = np.linspace(0.1, 0.9, side, dtype=np.float32)
    return np.einsum(
        "wk,kyx->wyx", spectra, np.stack([ramp[:, None] * ramp, 1 - ramp * ramp[:, None]])
    )


def restated(cube: np.ndarray, seed: int) -> np.ndarray:
    """The challenge's camera from its published table, step by step, (h, w, 3)."""
    table = np.loadtxt("configs/cameras/basler-a2a5320-23uc.csv", delimiter=",", skiprows=2)
    rgb = np.matmul(cube.transpose(1, 2, 0), table[:, 1:]).clip(0, None)
    rgb = np.random.default_rng(seed).poisson(rgb.transpose(2, 0, 1) * 750) / 750
    rgb = rgb.transpose(1, 2, 0)
    rgb *= 0.18 / rgb.mean() * 255
    file = BytesIO()
    Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=65)
    return np.asarray(Image.open(file))


def test_the_photograph_is_the_challenges() -> None:
    truth = cube()
    image, white = photograph(BASLER.render(truth), BASLER, np.random.default_rng(3))
    # The library's rows are float32 shares of the table's: a count of electrons may differ.
    assert np.mean(image != restated(truth, 3).transpose(2, 0, 1)) < 0.01
    assert image.mean() / 255 == pytest.approx(0.18, abs=0.005)
    assert white.shape == (3, 1, 1)


def test_the_table_holds_the_challenges_gains() -> None:
    # Quantum efficiencies are below 1; red and blue are multiplied by 2.29 and 1.62.
    table = BASLER.sensitivities * np.array(BASLER.response)[:, None]
    assert table[0].max() / 2.2933984 == pytest.approx(0.4573, abs=1e-3)
    assert table[2].max() / 1.62308182 == pytest.approx(0.5228, abs=1e-3)
    # Of the library it is the one that is no response to power, and says so.
    assert [name for name in library() if "quantum efficiency" in source(name)] == [BASLER.name]


def test_a_seed_is_a_photograph() -> None:
    truth = cube()
    one, same, other = (render(truth, BASLER, "ntire2022", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_clean_is_the_sensitivities_times_the_cube() -> None:
    truth = cube() - np.float32(0.7)
    clean = render(truth, BASLER)
    np.testing.assert_array_equal(clean, np.maximum(BASLER.render(truth), 0))
    assert clean.min() == 0


@pytest.mark.parametrize("name", ["basler-a2a5320-23uc", "nikon-d700", "srgb"])
def test_noise_leaves_the_level(name: str) -> None:
    flat = np.full((3, 64, 64), 0.4, np.float32)
    image, white = photograph(flat, load_camera(name), np.random.default_rng(0))
    # Truncation takes half a count; JPEG's colours are whole numbers too.
    error = developed(image, white).mean(axis=(1, 2)) - 0.4
    assert (np.abs(error) < 2 / white.ravel()).all()


def test_shot_noise_is_of_750_electrons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.rendering._through_jpeg", lambda image: image)
    flat = np.full((3, 200, 200), 0.5, np.float32)
    exposure = 20.0
    image, white = photograph(flat, BASLER, np.random.default_rng(0), exposure)
    spread = developed(image, white).std(axis=(1, 2))
    electrons = 0.5 * np.array(BASLER.response) * 750
    # Shot noise, and a whole number's even error.
    expected = np.hypot(0.5 / np.sqrt(electrons), 1 / np.sqrt(12) / white.ravel())
    np.testing.assert_allclose(spread, expected, rtol=0.05)


def test_black_is_exposed_by_one() -> None:
    assert exposure_of(np.zeros((3, 2, 2))) == 1
    assert not render(np.zeros((31, 8, 8), np.float32), BASLER, "ntire2022").any()


def test_a_resampled_camera_keeps_its_units() -> None:
    few = resampled(BASLER, tuple(float(w) for w in range(420, 701, 10)))
    table = BASLER.sensitivities * np.array(BASLER.response)[:, None]
    np.testing.assert_allclose(few.response, table[:, 2:].sum(axis=1), rtol=1e-5)
