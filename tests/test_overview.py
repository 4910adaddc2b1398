"""Overviews: means of valid pixels, the same however the work is cut."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.cube import CubeSpec, SpectralCube
from pipeline.grid import Window
from pipeline.overview import factors, halved, owned


def plain(stored):
    """The same by a loop, in whole numbers of the masked array."""
    _, height, width = stored.shape
    out = np.full((len(stored), -(-height // 2), -(-width // 2)), 65535, np.uint16)
    for row, col in np.ndindex(*out.shape[1:]):
        four = stored[:, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2].reshape(len(stored), -1)
        known = four[:, four[0] != 65535].astype(int)
        if n := known.shape[1]:
            out[:, row, col] = (2 * known.sum(axis=1) + n) // (2 * n)
    return out


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.floats(0, 1))
def test_a_level_is_the_mean_of_valid_pixels(height, width, seed, share):
    random = np.random.default_rng(seed)
    stored = random.integers(0, 65535, (3, height, width), np.uint16)
    stored[:, random.random((height, width)) > share] = 65535
    assert (halved(stored) == plain(stored)).all()
    floats = np.where(stored == 65535, np.nan, stored / 1e4).astype(np.float32)
    coarse, expected = halved(floats), plain(stored)
    assert (np.isnan(coarse) == (expected == 65535)).all()
    known = expected < 65535
    assert np.abs(coarse[known] * 1e4 - expected[known]).max(initial=0) <= 0.51


@given(arrays(np.uint16, (2, 4, 6), elements=st.just(1234)))
def test_constant_in_constant_out(stored):
    assert (halved(stored) == 1234).all()


@given(st.integers(1, 20000), st.integers(1, 20000), st.sampled_from([8, 12, 250, 256, 33]))
def test_levels_end_with_one_chunk_and_owners_make_those_within_theirs(height, width, chunk):
    levels = factors(height, width, chunk)
    if chunk % 2:
        assert levels == []
        return
    assert levels == [2 ** (n + 1) for n in range(len(levels))]
    coarsest = levels[-1] if levels else 1
    assert max(-(-height // coarsest), -(-width // coarsest)) <= chunk
    assert all(chunk % factor == 0 for factor in owned(height, width, chunk))
    assert set(levels) - set(owned(height, width, chunk)) <= {f for f in levels if f >= 4}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("chunk", [6, 8])
def test_every_level_halves_the_one_before_to_the_last_edge(tmp_path, zarr_format, dtype, chunk):
    spec = CubeSpec(45, 37, (450.0, 550.0), chunk, dtype=dtype, zarr_format=zarr_format)
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), spec)
    random = np.random.default_rng(0)
    values = random.random((2, 45, 37), np.float32)
    cube.write(Window(0, 0, 45, 37), values, random.random((45, 37)) < 0.7)
    cube.seal()
    finer = xr.open_zarr(tmp_path / "a.zarr", mask_and_scale=False).reflectance.values
    with xr.open_zarr(tmp_path / "a_aux.zarr", mask_and_scale=False) as beside:
        assert (beside.valid.values == (finer[0] == finer[0]) * (finer[0] != 65535)).all()
        for factor in (2, 4, 8):
            level = beside[f"overview_{factor}"]
            assert (np.diff(level[f"y_{factor}"].values) == factor).all()
            finer = halved(finer)
            np.testing.assert_array_equal(level.values, finer)
