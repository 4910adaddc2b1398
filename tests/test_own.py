from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Refusal
from pipeline.own import own, reflectance_of

NM = (400.0, 500.0, 600.0)


def saved(folder: Path, **changes: object) -> Path:
    # Two spectrometers that overlap: wavelengths do not ascend.
    nm = np.array([380.0, 420, 470, 510, 560, 540, 600, 620, 940])
    cube = np.broadcast_to(nm, (4, 5, 9)) * np.arange(1.0, 5)[:, None, None]
    cube[..., -1] = np.nan  # where the air lets nothing through, and nobody asks
    np.savez(folder / "field.npz", **{"cube": cube, "wavelength_nm": nm, **changes})
    return folder


def test_spectra_are_read_between_bands_and_scaled_alike(tmp_path: Path) -> None:
    reference = own(saved(tmp_path), NM).read("field")
    assert (reference.cube.shape, reference.cube.dtype) == ((3, 4, 5), np.float32)
    expected = np.array(NM)[:, None, None] * np.broadcast_to(np.arange(1, 5)[:, None], (4, 5))
    np.testing.assert_allclose(reference.cube, expected / np.percentile(expected, 99), rtol=1e-6)
    assert reference.valid.all()


@pytest.mark.parametrize(
    "changes",
    [
        {"cube": np.ones((4, 5))},
        {"cube": np.full((4, 5, 9), np.nan)},
        {"cube": np.zeros((4, 5, 9))},
        {"wavelength_nm": np.arange(4)},
        {"wavelength_nm": np.array([410.0, 420, 470, 510, 560, 540, 600, 620, 940])},
        {"wavelength_nm": np.array([380.0, 420, 450, np.nan, 550, 600, 650, 700, 940])},
        {"cube": np.ones((0, 5, 9))},
        {"cube": np.ones((4, 5, 0)), "wavelength_nm": np.ones(0)},
        {"cube": np.ones((4, 5, 9)) * 1j},
        {"wavelength_nm": np.array([380.0, 420, 470, 510, 560, 560, 600, 620, 940])},
    ],
)
def test_what_is_no_cube_is_refused(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(Refusal):
        own(saved(tmp_path, **changes), NM).read("field")


def test_a_gap_is_not_bridged_and_nodata_is_no_darkness(tmp_path: Path) -> None:
    gap = {"wavelength_nm": np.array([380.0, 420, 430, 435, 560, 540, 600, 620, 940])}
    with pytest.raises(Refusal, match="105 nm in field"):
        own(saved(tmp_path, **gap), NM).read("field")
    values = np.full((4, 5, 9), 200.0) + np.arange(9)
    values[2, 3] = -9999
    with pytest.raises(Refusal, match="no nodata"):
        own(saved(tmp_path, cube=values), NM).read("field")
    for flat in (0, 65535, 1e20):  # nodata, or all that an instrument counts
        values[2, 3] = flat
        with pytest.raises(Refusal, match="1 pixels of field"):
            own(saved(tmp_path, cube=values), NM).read("field")
    values[2, 3] = -50 - np.arange(9)  # noise, where it is dark
    assert own(saved(tmp_path, cube=values), NM).read("field").cube[:, 2, 3].max() == 0


def test_what_is_beyond_all_brightness_is_refused(tmp_path: Path) -> None:
    values = np.full((20, 20, 9), 200.0) + np.arange(9)
    values[2, 3, 6] = 900 * 208
    assert own(saved(tmp_path, cube=values), NM).read("field").cube.max() > 800
    values[2, 3, 6] = 1100 * 208  # of one band alone, as an instrument's end may be
    with pytest.raises(Refusal, match="1000 times brighter"):
        own(saved(tmp_path, cube=values), NM).read("field")


def test_broken_and_empty_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="none in"):
        own(tmp_path, NM)
    (tmp_path / "a.npz").write_bytes(b"PK no")
    with pytest.raises(Refusal, match=r"a\.npz"):
        own(tmp_path, NM).read("a")
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.ones((4, 5, 9)))
    with pytest.raises(Refusal, match=r"a\.npz"):
        own(tmp_path, NM).read("a")


def test_radiance_becomes_what_surfaces_reflect() -> None:
    random = np.random.default_rng(0)
    # A soil, brighter to the red, of 100 brightnesses from the darkest that there are, in sunlight
    # and behind the air's own light, which is blue.
    soil = np.linspace(0.3, 1.0, 31)[:, None, None] * np.linspace(0.02, 1, 100).reshape(10, 10)
    sun, haze = 1 + random.random(31), np.linspace(0.4, 0.05, 31)
    radiance = soil * (sun / sun.mean())[:, None, None] + haze[:, None, None]
    found = reflectance_of((radiance / np.percentile(radiance, 99)).astype(np.float32), sun)
    assert np.percentile(found, 99) == pytest.approx(1, abs=1e-5)
    wrong = radiance / radiance.mean() * soil.mean() - soil
    assert np.abs(found * np.percentile(soil, 99) - soil).max() < 0.04 < np.abs(wrong).max() / 5


def test_the_darkest_surfaces_of_a_radiance_are_never_below_black() -> None:
    cube = np.random.default_rng(1).random((31, 20, 20)).astype(np.float32)
    assert reflectance_of(cube, np.ones(31)).min() >= 0
    np.testing.assert_allclose(reflectance_of(0 * cube + 0.01, np.ones(31)), 1)
