"""A cube at any scale, its layers, and what they look like."""

from itertools import count

import numpy as np
import pytest
import zarr

from pipeline.camera import SRGB, load_camera
from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.curve import to_srgb
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.group import consolidate
from pipeline.layer import Layer
from pipeline.picture import FLAG_COLOURS, Palette, png, ramp, seen_by
from pipeline.view import CubeView
from tests.beside import add_layers

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
_SERIAL = count()


def stored(height=40, width=52, share=0.9, chunk=16, **spec):
    random = np.random.default_rng(3)
    values = random.random((31, height, width), np.float32)
    cube = SpectralCube.create(
        f"memory://picture-{next(_SERIAL)}.zarr",
        CubeSpec(height, width, WAVELENGTHS, chunk, settings={"model": "toy"}, **spec),
    )
    cube.write(Window(0, 0, height, width), values, random.random((height, width)) < share)
    return cube


@pytest.mark.parametrize("spec", [{}, {"dtype": "float32"}, {"zarr_format": 3}])
def test_what_is_read_is_what_is_stored(spec):
    cube = stored(**spec)
    view = CubeView.open(cube.uri)
    values, valid = cube.read(view.whole)
    np.testing.assert_array_equal(view.levels[1].read(view.whole), values)
    for row, col in ((0, 0), (39, 51), (17, 16)):
        np.testing.assert_array_equal(view.pixel(row, col)["spectrum"], values[:, row, col])
    window = Window(5, 7, 30, 40)
    mean, deviation, number = view.region(window)
    known = values[:, 5:35, 7:47][:, valid[5:35, 7:47]].astype(np.float64)
    assert number == known.shape[1]
    np.testing.assert_allclose(mean, known.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(deviation, known.std(axis=1), atol=1e-9)


def test_layers_that_are_not_there_are_not_shown():
    cube = stored()
    beside = zarr.open_group(Companion.uri(cube.uri), mode="r+", use_consolidated=False)
    for name in [name for name in beside if name not in ("seam", "census")]:
        del beside[name]
    consolidate(beside)
    view = CubeView.open(cube.uri)
    assert view.aux == {}
    assert list(view.levels) == [1]
    found = view.pixel(0, 0)
    assert found["uncertainty"] is found["closure"] is found["quality"] is None


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_layers_are_read_in_their_units(zarr_format):
    cube = stored(zarr_format=zarr_format)
    known = add_layers(cube.uri)
    view = CubeView.open(cube.uri)
    assert list(view.levels) == [1, 2, 4]
    valid = known["valid"]
    for name in ("uncertainty", "closure", "quality"):
        got = view.aux[name].read(view.whole)
        wanted = np.broadcast_to(known[name], got.shape)
        np.testing.assert_allclose(got[:, valid], wanted[:, valid], rtol=1e-5)
    assert np.isnan(view.aux["uncertainty"].read(view.whole)[:, ~valid]).all()
    assert np.isnan(view.aux["closure"].read(view.whole)[:, ~valid]).all()


@pytest.mark.parametrize("layer", ["overview_2", "closure"])
def test_a_layer_of_another_size_is_refused(layer):
    cube = stored()
    beside = zarr.open_group(Companion.uri(cube.uri), mode="r+", use_consolidated=False)
    del beside[layer]
    beside.create_array(layer, shape=(31, 31), chunks=(16, 16), dtype="uint8")
    consolidate(beside)
    with pytest.raises(Refusal, match="covers its"):
        CubeView.open(cube.uri)


@pytest.mark.parametrize(
    "window", [Window(0, 0, 40, 52), Window(3, 5, 17, 30), Window(39, 51, 1, 1)]
)
@pytest.mark.parametrize("shape", [(40, 52), (7, 5), (1, 1), (90, 70)])
def test_a_picture_holds_the_nearest_pixels_of_the_level(window, shape):
    cube = stored()
    add_layers(cube.uri)
    view = CubeView.open(cube.uri)
    step = min(window.height / shape[0], window.width / shape[1])
    factor = max((f for f in (1, 2, 4) if f <= step), default=1)
    level = view.levels[factor].read(Window(0, 0, *view.levels[factor].shape))
    rows, cols = (
        np.floor(start + (np.arange(n) + 0.5) * size / n).astype(int) // factor
        for start, size, n in zip(
            (window.row, window.col), (window.height, window.width), shape, strict=True
        )
    )
    got = view.picture(window, shape, lambda values: values)
    np.testing.assert_array_equal(got, level[:, rows][:, :, cols])


def test_a_picture_reads_no_more_chunks_than_it_may(monkeypatch):
    cube = stored()
    view = CubeView.open(cube.uri)
    monkeypatch.setattr("pipeline.view.MOST_CHUNKS", 4)
    assert view.cost(view.whole, (10, 10)) == 12
    side = view.widest
    assert view.cost(Window(3, 3, side, side), (10, 10)) <= 4
    cube = stored(20, 200)
    assert list(CubeView.open(cube.uri).levels) == [1, 2, 4]
    cube.seal()
    long = CubeView.open(cube.uri)
    assert list(long.levels) == [1, 2, 4, 8, 16]
    # Of the first levels, which have as many chunks as the cube, none would fit.
    assert long.cost(long.whole, (20, 200)) == long.cost(long.whole, (3, 25)) == 2
    with pytest.raises(Refusal, match="smaller"):
        view.region(view.whole)


def test_a_layer_seen_from_afar_is_read_from_its_overviews(monkeypatch):
    cube = stored(160, 208, spread=True)
    cube.seal()
    beside = zarr.open_group(Companion.uri(cube.uri), mode="r+", use_consolidated=False)
    for name in ("closure", "quality", "uncertainty"):
        for factor, number in ((2, 1), (4, 2), (8, 4)):
            beside[f"{name}_overview_{factor}"][...] = number
    view = CubeView.open(cube.uri)
    palette = Palette(view)
    monkeypatch.setattr("pipeline.view.MOST_CHUNKS", 30)
    for name in palette.layers:
        # 130 chunks of the layer itself, 35 of the next, 12 of the one that is read.
        assert view.cost(view.whole, (160, 208), name) == 12
        values = view.picture(view.whole, (160, 208), lambda values: values, name)
        assert values.shape == (1, 160, 208)
        unit = {"quality": 1, "closure": 1e-5, "uncertainty": 2e-5}[name]
        np.testing.assert_allclose(values, 2 * unit, rtol=1e-5)
        assert view.cost(Window(0, 0, 16, 16), (16, 16), name) == 1
        assert view.picture(Window(0, 0, 16, 16), (2, 2), lambda values: values, name).max() > 0


def test_colours_are_those_of_the_eye_and_of_three_wavelengths():
    cube = stored(share=0.8)
    view = CubeView.open(cube.uri)
    values, valid = cube.read(view.whole)
    palette = Palette(view)
    rgba = palette.colours(view.whole, (40, 52))
    np.testing.assert_array_equal(rgba[..., 3] == 255, valid)
    seen = to_srgb(load_camera(SRGB).render(np.nan_to_num(values)))
    wanted = np.rint(255 * seen).transpose(1, 2, 0)
    assert np.abs(rgba[..., :3][valid] - wanted[valid]).max() <= 1
    assert not rgba[~valid].any()
    rgba = palette.colours(view.whole, (40, 52), (701, 668, 551))
    chosen = [30, 27, 15]
    wanted = to_srgb(np.nan_to_num(values[chosen]) / palette.full[chosen][:, None, None])
    assert np.abs(rgba[..., :3].transpose(2, 0, 1) - 255 * wanted)[:, valid].max() <= 1


def test_flags_have_their_colours_and_maps_their_scale():
    cube = stored()
    known = add_layers(cube.uri)
    view = CubeView.open(cube.uri)
    palette = Palette(view)
    rgba = palette.layer("quality", view.whole, (40, 52))
    filled = known["quality"] == 8
    assert filled.any()
    wanted = [int(FLAG_COLOURS[3][i : i + 2], 16) for i in (1, 3, 5)] + [255]
    assert (rgba[filled & known["valid"]] == wanted).all()
    # Of what is nodata nothing is known: it does not look as if it had no flag.
    assert not rgba[~known["valid"]].any()
    assert (rgba[known["valid"]][:, 3] == 255).all()
    row, col = np.argwhere(~known["valid"])[0]
    assert np.isnan(view.pixel(row, col)["quality"]).all()
    rgba = palette.layer("closure", view.whole, (40, 52))
    high = known["closure"] >= palette.scales["closure"].high
    assert (rgba[high & known["valid"]] == ramp()[0, -1]).all()
    assert not rgba[~known["valid"]].any()
    assert palette.layer("uncertainty", view.whole, (9, 9)).shape == (9, 9, 4)
    assert png(rgba).startswith(b"\x89PNG")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_cube_is_too_small_or_too_empty(share):
    cube = stored(1, 1, share)
    add_layers(cube.uri)
    view = CubeView.open(cube.uri)
    palette = Palette(view)
    assert palette.colours(view.whole, (5, 5), (700, 600, 500)).shape == (5, 5, 4)
    for name in ("uncertainty", "closure", "quality"):
        assert palette.layer(name, view.whole, (5, 5)).shape == (5, 5, 4)
    assert view.region(view.whole)[2] == share
    assert seen_by(view)(np.full((31, 1, 1), np.nan, np.float32)).shape == (4, 1, 1)


def test_a_picture_reads_a_chunk_at_a_time_and_each_once(monkeypatch):
    cube, read = stored(), []
    add_layers(cube.uri)
    view, plain = CubeView.open(cube.uri), Layer.read

    def noting(layer, window):
        read.append(window)
        return plain(layer, window)

    monkeypatch.setattr(Layer, "read", noting)
    view.picture(view.whole, (40, 52), seen_by(view))
    assert len(read) == 12
    assert all(window.row // 16 == (window.row_stop - 1) // 16 for window in read)
    assert all(window.col // 16 == (window.col_stop - 1) // 16 for window in read)
    read.clear()
    view.picture(view.whole, (10, 13), seen_by(view))
    assert len(read) == 1
