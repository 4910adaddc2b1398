import hashlib
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid import Window
from pipeline.noise import _quantiles, noise

BIG = Window(4096, 70_000, 192, 160)
CHANNELS = 6
SIGMAS = 5  # of the statistic's own deviation; the draws are fixed, so a test never flickers


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean product; of independent unit normals it has deviation 1 / sqrt(n)."""
    return float((a.astype(float) * b).mean() * sqrt(a.size))


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return noise(BIG, CHANNELS, seed=3)


@given(st.integers(0, 150), st.integers(0, 120), st.integers(1, 42), st.integers(1, 40))
def test_a_window_is_cut_from_the_field(row: int, col: int, height: int, width: int) -> None:
    part = Window(row, col, height, width)
    whole = noise(BIG, 3, seed=5, sample=2)
    cut = noise(part.shifted(BIG.row, BIG.col), 3, seed=5, sample=2)
    np.testing.assert_array_equal(cut, whole[:, *part.slices])


@given(st.integers(1, 31))
def test_more_channels_leave_the_first_as_they_are(channels: int) -> None:
    window = Window(0, 0, 4, 5)
    whole = noise(window, 31, seed=1)
    np.testing.assert_array_equal(noise(window, channels, seed=1), whole[:channels])


def test_the_bits_are_the_same_on_every_machine() -> None:
    made = noise(Window(2**31 - 2, 2**31 - 3, 5, 7), 5, seed=2**63 - 1, sample=4)
    digest = hashlib.sha256(made.astype("<f4").tobytes()).hexdigest()
    table = hashlib.sha256(_quantiles().astype("<f4").tobytes()).hexdigest()
    assert (digest[:16], table[:16]) == ("0da3827babd97ad9", "8babbcaf96568f10")


def test_moments_are_those_of_a_normal(field: np.ndarray) -> None:
    # Deviations of the estimates over n draws: moments of order k have sqrt(m_2k - m_k^2).
    moments = ((1, 0, 1), (2, 1, sqrt(2)), (3, 0, sqrt(15)), (4, 3, sqrt(96)))
    for power, moment, deviation in moments:
        estimate = (field.astype(float) ** power).mean()
        assert abs(estimate - moment) < SIGMAS * deviation / sqrt(field.size)


def test_each_wavelength_is_normal(field: np.ndarray) -> None:
    plane = np.sort(field, axis=None)[:: field.size // 1000]
    rank = np.searchsorted(_quantiles(), plane) / 2**16
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is exceeded once in a thousand.
    assert np.abs(rank - np.linspace(0, 1, len(rank))).max() < 1.95 / sqrt(field.size) + 1 / 1000


@pytest.mark.parametrize("lag", [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (8, 0), (0, 64)])
def test_neighbours_are_uncorrelated(field: np.ndarray, lag: tuple[int, int]) -> None:
    shifted = np.roll(field, lag, axis=(1, 2))
    assert abs(correlation(field, shifted)) < SIGMAS
    assert abs(correlation(field**2 - 1, shifted**2 - 1)) < SIGMAS * 2  # variance of z^2 is 2


def test_wavelengths_seeds_and_samples_are_uncorrelated(field: np.ndarray) -> None:
    for a in range(CHANNELS):
        for b in range(a):
            assert abs(correlation(field[a], field[b])) < SIGMAS
    for other in (noise(BIG, CHANNELS, seed=4), noise(BIG, CHANNELS, seed=3, sample=1)):
        assert abs(correlation(field, other)) < SIGMAS


def test_rows_and_columns_are_not_interchangeable() -> None:
    square = noise(Window(0, 0, 128, 128), 2, seed=0)
    assert abs(correlation(square, square.transpose(0, 2, 1))) < SIGMAS * sqrt(2)


def test_the_spectrum_is_flat(field: np.ndarray) -> None:
    power = (np.abs(np.fft.fft2(field)) ** 2 / field[0].size).mean(axis=0)
    # A power averaged over 6 wavelengths is chi-square of 12 degrees (over 12): above 5.2, once
    # in 2e-10 of 30,720 frequencies.
    assert power.max() < 5.2
    assert abs(power.mean() - 1) < SIGMAS * sqrt(2 / field.size)


def test_the_table_has_mean_zero_and_unit_variance() -> None:
    table = _quantiles().astype(float)
    assert table.mean() == 0
    assert table.var() == pytest.approx(1, abs=1e-7)
    assert (np.diff(table) >= 0).all()
