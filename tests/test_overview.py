"""Overviews: means of valid pixels, the same however the work is cut."""

import warnings
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
import zarr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pipeline.overview
from pipeline.closure import Closure
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.grid import Window, regions
from pipeline.overview import Gathering, build, factors, halved, owned
from pipeline.view import CubeView
from tests.toys import Toy, objects, scene, stream


def plain(stored):
    """The same by a loop, in whole numbers of the masked array."""
    _, height, width = stored.shape
    out = np.full((len(stored), -(-height // 2), -(-width // 2)), 65535, np.uint16)
    for row, col in np.ndindex(*out.shape[1:]):
        four = stored[:, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2].reshape(len(stored), -1)
        known = four[:, four[0] != 65535].astype(int)
        if n := known.shape[1]:
            out[:, row, col] = np.rint(known.sum(axis=1) / n)
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


def test_coarse_levels_are_no_brighter_than_the_cube():
    stored = np.random.default_rng(1).integers(0, 9000, (1, 1024, 1024), np.uint16)
    mean = stored.mean()
    for _ in range(4):
        stored = halved(stored)
    assert abs(stored.mean() - mean) < 0.05  # half up: 0.5


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


def into(level, at, values):
    level[tuple(np.s_[8 * i : 8 * i + 8] for i in (0, *at))] = values


@patch("pipeline.overview.write_chunk", into)
@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_what_is_gathered_in_windows_and_built_is_the_cascade(height, width, data):
    random = np.random.default_rng(height)
    stored = random.integers(0, 65535, (1, height, width), np.uint16)
    stored[:, random.random((height, width)) < 0.3] = 65535
    levels, made = {1: stored}, {}
    for factor in factors(height, width, 8):
        levels[factor] = halved(levels[factor // 2])
        made[factor] = levels[factor] if factor < 8 else np.full_like(levels[factor], 9)
    tall, wide = (8 * data.draw(st.integers(1, 26)) for _ in "ab")
    coarser = {factor: level for factor, level in made.items() if factor >= 8}
    for window in regions(height, width, 8, tall, wide):
        gathering = Gathering(coarser, 8, window)
        chunks = regions(window.height, window.width, 8, 8)
        for chunk in data.draw(st.randoms()).sample(chunks, len(chunks)):
            row, col = (window.row + chunk.row) // 8, (window.col + chunk.col) // 8
            if 8 in coarser:
                gathering.add(8, row, col, levels[8][:, row : row + 1, col : col + 1])
        assert tall < height or wide < width or not gathering._parts
    missing = [
        (factor, (row, col))
        for factor, level in coarser.items()
        for row, col in np.ndindex(*(-(-side // 8) for side in level.shape[1:]))
        if (level[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8] == 9).all()
    ]
    assert tall < height or wide < width or not missing
    build(made, 8, missing)
    for factor, level in made.items():
        np.testing.assert_array_equal(level, levels[factor])


def test_sealing_reads_no_level_again_that_was_made(tmp_path, monkeypatch):
    image, built = scene(70, 40), []
    run = stream(tmp_path / "a.zarr", image, Sure(), closure=Closure(np.eye(3, dtype=np.float32)))
    run.run(Window(0, 0, 70, 40))
    beside = tmp_path / "a_aux.zarr"
    monkeypatch.setattr(
        pipeline.overview, "build", lambda _, __, missing, ___: built.extend(missing)
    )
    run.cube.seal()
    assert built == []
    gathered = objects(beside)
    run.cube.companion.forget()
    monkeypatch.undo()
    assert len(gathered) - len(objects(beside)) == 3 + 3 * (15 + 6 + 2 + 1)
    run.cube.seal()
    assert objects(beside) == gathered


class Sure(Toy):
    spread = True

    def __call__(self, rgb, noise):
        return super().__call__(rgb, noise).repeat(1, 2, 1, 1)


def test_levels_of_layers_are_means_and_samples_of_them(tmp_path):
    image = scene(30, 41, share_valid=0.9)
    run = stream(tmp_path / "a.zarr", image, Sure())
    run.run(Window(0, 0, 30, 41))
    run.cube.seal()
    with xr.open_zarr(tmp_path / "a_aux.zarr") as beside:
        assert np.isfinite(beside.uncertainty.mean("wavelength")).any()
        finest = {
            "closure": beside.closure.values,
            "uncertainty": beside.uncertainty.values,
        }
        about = beside.uncertainty.attrs
        floor, step = about["log_floor"], about["log_step"]
        finest["uncertainty"] = (floor * np.exp(step * finest["uncertainty"])).mean(axis=0)
        for name, values in finest.items():
            for factor in (2, 4, 8):
                level = beside[f"{name}_overview_{factor}"]
                assert level.dims == (f"y_{factor}", f"x_{factor}")
                padded = np.pad(values, [(0, n % 2) for n in values.shape], constant_values=np.nan)
                four = np.stack([padded[i::2, j::2] for i in (0, 1) for j in (0, 1)])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # no valid pixel
                    values = np.nanmean(four, axis=0)  # noqa: PLW2901
                np.testing.assert_allclose(level.values, values, rtol=0, atol=5e-5)
        for factor in (2, 4, 8):
            level = beside[f"quality_overview_{factor}"].values
            assert (level == beside.quality.values[::factor, ::factor]).all()


def test_a_companion_without_levels_of_layers_is_still_read_and_written(tmp_path):
    cube = SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(20, 20, (450.0, 550.0), 8))
    beside = zarr.open_group(tmp_path / "a_aux.zarr", mode="r+", use_consolidated=False)
    for name in [name for name in beside if "_overview_" in name]:
        del beside[name]
    cube.write(Window(0, 0, 20, 20), np.full((2, 20, 20), 0.5, np.float32), np.ones((20, 20), bool))
    cube.seal()
    assert list(CubeView.open(cube.uri).beside["closure"]) == [1]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_levels_are_a_geozarr_pyramid(tmp_path, zarr_format):
    place = Affine(0.5, 0, 528000, 0, -0.5, 4978000)
    spec = CubeSpec(45, 37, (450.0,), 8, zarr_format=zarr_format, transform=place)
    SpectralCube.create(str(tmp_path / "a.zarr"), spec)
    group = zarr.open_group(tmp_path / "a_aux.zarr", mode="r")
    names = [about["name"] for about in group.attrs["zarr_conventions"]]
    assert names == ["spatial", "multiscales"]
    layout = group.attrs["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == ["overview_2", "overview_4", "overview_8"]
    assert "derived_from" not in layout[0]
    for finer, level in pairwise(layout):
        assert level["derived_from"] == finer["asset"]
        here, there = (group[one["asset"]] for one in (level, finer))
        scale = level["transform"]["scale"]
        assert here.shape == tuple(-(-n // int(s)) for n, s in zip(there.shape, scale, strict=True))
        assert level["spatial:shape"] == list(here.shape[1:])
        assert level["spatial:transform"] == here.attrs["spatial:transform"]
    assert layout[1]["spatial:transform"][:3] == [2.0, 0.0, 528000.0]
