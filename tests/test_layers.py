"""Layers beside the cube, each against what it says."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.closure import Closure
from pipeline.grid import Window
from pipeline.layers import DARK, FLAGS, SIGMA_FLOOR, SIGMA_STEP, Seen, certificate, layers
from tests.toys import CAMERA, ArrayScene, Constant, Toy, scene, stream

WHOLE = np.ones((2, 3), bool)
EYE = Closure(np.eye(3, dtype=np.float32))


def of(rgb, stored=None, valid=WHOLE, filled=None, top=1.0, deviation=None):
    rgb = np.asarray(rgb, np.float32)
    stored = np.rint(np.clip(rgb, 0, 6.5534) * 1e4).astype(np.uint16) if stored is None else stored
    filled = np.zeros_like(valid) if filled is None else filled
    return layers(EYE.off(stored, rgb), Seen(rgb, valid, filled, top), EYE, deviation)


def test_each_flag_is_where_it_belongs():
    rgb = np.full((3, 2, 3), 0.5)
    rgb[1, 0, 0] = 1.0
    rgb[:, 0, 1] = DARK / 2
    rgb[2, 0, 2] = -0.1
    filled = np.zeros((2, 3), bool)
    filled[1, 0] = True
    valid = WHOLE.copy()
    valid[1, 2], rgb[:, 1, 2] = False, 2.0
    found = of(rgb, valid=valid, filled=filled)
    names = ("saturated", "near_black", "outside_gamut", "context_filled")
    assert found.quality.tolist() == [[FLAGS[n] for n in names[:3]], [FLAGS[names[3]], 0, 0]]
    assert found.closure[1, 2] == 65535
    told = certificate(found.census)
    assert told["pixels"] == 5
    assert all(told[name] == pytest.approx(1 / 5) for name in names)


def test_closure_is_the_farthest_band_of_what_is_stored():
    rgb = np.full((3, 2, 3), 0.5)
    stored = np.full((3, 2, 3), 5000, np.uint16)
    stored[1, 0, 0], stored[2, 0, 0] = 5003, 4990
    found = of(rgb, stored)
    assert found.closure.tolist() == [[100, 0, 0], [0, 0, 0]]
    told = certificate(found.census)
    # Within the gamut, so the difference counts: nothing but the cube is to blame.
    assert told["outside_gamut"] == 0
    assert told["closure_mean"] == pytest.approx(1e-3 / 6)
    assert 1e-3 <= told["closure_max"] <= 1e-3 * 2**0.25


def test_colours_outside_the_gamut_are_counted_apart():
    rgb = np.full((3, 2, 3), 0.5)
    rgb[0, 0, 0] = -0.3
    told = certificate(of(rgb).census)
    assert told["outside_gamut"] == pytest.approx(1 / 6)
    assert told["closure_max"] == 0


@given(st.lists(st.floats(1e-4, 1), min_size=6, max_size=6))
def test_a_deviation_is_kept_within_two_percent(sigma):
    given_ = np.tile(np.array(sigma, np.float32).reshape(1, 2, 3), (3, 1, 1))
    code = of(np.full((3, 2, 3), 0.5), deviation=given_).uncertainty
    decoded = SIGMA_FLOOR * np.exp(SIGMA_STEP * code.astype(float))
    assert np.abs(decoded / given_ - 1).max() < 0.02


def test_a_deviation_beyond_the_codes_is_their_end_and_the_layer_says_so(tmp_path):
    given_ = np.array([1e-6, 1e-4, 1, 1.02, 3, 40], np.float32).reshape(1, 2, 3)
    code = of(np.full((3, 2, 3), 0.5), deviation=np.tile(given_, (3, 1, 1))).uncertainty
    assert code[0].ravel().tolist() == [0, 0, 254, 254, 254, 254]
    run = stream(tmp_path / "a.zarr", scene(8, 8), Spread(), closure=EYE)
    run.run(Window(0, 0, 8, 8))
    run.cube.seal()
    said = xr.open_zarr(tmp_path / "a_aux.zarr").uncertainty.attrs["long_name"]
    assert said.endswith("of 0 that or less, of 254 that or more")


def test_encodings_end_where_they_end():
    eight, twelve = CAMERA.reading("srgb", 255.0), 4095.0
    assert (eight.top(np.dtype(np.uint8)) == 1).all()
    # Of a white that is told the picture still ends at 255.
    half = eight.reading("srgb", 188.0).top(np.dtype(np.uint8))
    assert half.max() == pytest.approx(2, abs=0.02)
    assert CAMERA.reading("linear", twelve).top(np.dtype(np.uint16)).max() == 1
    assert CAMERA.reading("linear", 10000).top(np.dtype(np.uint16)).max() == pytest.approx(6.5535)
    assert CAMERA.top(np.dtype(np.float32)).min() == np.inf
    for white in (1.0, 255.0, 65535.0):
        assert (eight.reading("srgb", white).top(np.dtype(np.float32)) == 1).all()
    assert (eight.reading("linear", 4095.0).top(np.dtype(np.float32)) == 1).all()


def test_whole_values_beyond_white_are_at_their_end_and_floats_are_not():
    rgb = np.array([1.0, 1.2, 0.5, 1.0, 1.2, 0.5], np.float32).reshape(1, 2, 3).repeat(3, axis=0)
    for floats, flagged in ((False, [1, 1, 0] * 2), (True, [1, 0, 0] * 2)):
        seen = Seen(rgb, WHOLE, np.zeros_like(WHOLE), np.ones((3, 1, 1), np.float32), floats)
        quality = layers(EYE.off(rgb, rgb), seen, EYE).quality
        assert (quality & FLAGS["saturated"]).ravel().tolist() == flagged


def test_where_nobody_knows_an_end_no_share_is_told():
    rgb = np.full((3, 2, 3), 2.0)
    chunk = of(rgb, top=np.float32(np.inf))
    assert not (chunk.quality & FLAGS["saturated"]).any()
    told = certificate(chunk.census + chunk.census)
    assert (told["pixels"], told["saturated"], told["near_black"]) == (12, None, 0)


class Spread(Toy):
    spread = True

    def __call__(self, rgb, noise):
        return super().__call__(rgb, noise).repeat(1, 2, 1, 1)


def test_xarray_opens_them_with_the_cube_s_coordinates(tmp_path):
    image = scene(30, 40, share_valid=0.9)
    run = stream(tmp_path / "a.zarr", image, Spread(), closure=EYE)
    run.run(Window(0, 0, 30, 40))
    run.cube.seal()
    cube, beside = (xr.open_zarr(tmp_path / f"a{kind}.zarr") for kind in ("", "_aux"))
    for name in ("y", "x", "wavelength"):
        assert (cube[name].values == beside[name].values).all()
    assert (beside.valid.values == image.valid).all()
    assert (beside.closure.values[image.valid] < 2e-4).all()
    assert np.isnan(beside.closure.values[~image.valid]).all()
    assert beside.uncertainty.dims == ("wavelength", "y", "x")
    assert np.isnan(beside.uncertainty.values[:, ~image.valid]).all()
    # Every tile of 16 has masked pixels.
    assert (beside.quality.values[image.valid] & FLAGS["context_filled"] > 0).all()


def test_a_stream_that_is_asked_closes_and_one_that_is_not_does_not(tmp_path):
    image = ArrayScene(np.full((3, 20, 20), 0.25, np.float32), np.ones((20, 20), bool))
    found = {}
    for asked in (EYE, None):
        run = stream(tmp_path / f"{bool(asked)}.zarr", image, Constant(0.5), closure=asked)
        run.run(Window(0, 0, 20, 20))
        found[asked] = certificate(run.cube.companion.census())["closure_max"]
    assert found[EYE] <= 1e-4
    assert found[None] >= 0.25
