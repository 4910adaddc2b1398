"""Rasters that are odd and right are read as they are; names are names and no more."""

import os
from contextlib import suppress

import numpy as np
import pytest
import rasterio
from affine import Affine

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.mosaic import open_scene
from pipeline.scene import RasterScene
from tests.names import NAMES

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
WHOLE = Window(0, 0, 20, 30)


def save(path, values, **profile):
    count, height, width = values.shape
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", **size, **profile}) as file:
        file.write(values)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(tmp_path, name):
    path = tmp_path / f"{name}.tif"
    scene = RasterScene.open(save(path, np.ones((3, 20, 30), np.uint8)))
    assert scene.header["name"] == path.name
    assert scene.read(WHOLE)[1].all()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "place",
    [
        Affine(0.5, 0, 0, 0, 0.5, 0),
        Affine(0.4, 0.3, 7, 0.3, -0.4, 9),
        Affine(0.5, 0.2, 0, 0, -0.5, 0),
        Affine(0.02, 0, 179.8, 0, -0.02, 0.2),
    ],
    ids=["south-up", "rotated", "sheared", "antimeridian"],
)
def test_an_odd_place_is_kept(tmp_path, place):
    values = np.arange(1800, dtype=np.uint16).reshape(3, 20, 30)
    scene = RasterScene.open(save(tmp_path / "a.tif", values, transform=place, crs=4326))
    assert scene.transform == place
    assert (scene.read(WHOLE)[0] == values).all()


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan, np.inf, 1e38])
def test_odd_values_are_read_and_what_is_not_finite_is_invalid(tmp_path, value):
    values = np.full((3, 20, 30), value, np.float32)
    read, valid = RasterScene.open(save(tmp_path / "a.tif", values)).read(WHOLE)
    np.testing.assert_array_equal(read, values)
    assert valid.all() == np.isfinite(value) == valid.any()


def test_all_nodata_is_all_invalid(tmp_path):
    uri = save(tmp_path / "a.tif", np.full((3, 20, 30), 7, np.uint8), nodata=7)
    assert not RasterScene.open(uri).read(WHOLE)[1].any()


def test_one_bit_and_twelve_bands(tmp_path):
    ones = np.ones((3, 20, 30), np.uint8)
    bits = RasterScene.open(save(tmp_path / "a.tif", ones, nbits=1))
    assert (bits.read(WHOLE)[0] == 1).all()
    twelve = save(tmp_path / "b.tif", np.ones((12, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(Refusal, match="--bands"):
        RasterScene.open(twelve)
    assert RasterScene.open(twelve, (4, 3, 2)).bands == (4, 3, 2)


@pytest.mark.parametrize("name", ["a" * 300 + ".tif", os.fsdecode(b"\xff.tif")])
def test_what_can_be_no_name_is_refused(tmp_path, name):
    with suppress(OSError):
        save(tmp_path / "a.tif", np.ones((3, 20, 30), np.uint8))
        os.link(tmp_path / "a.tif", tmp_path / name)
    with pytest.raises(Refusal, match="input"):
        open_scene(str(tmp_path / name))


def test_a_destination_of_such_a_name_is_refused_before_any_work(tmp_path, command):
    source = save(tmp_path / "a.tif", np.ones((3, 20, 30), np.uint8))
    for name in ("b" * 250, os.fsdecode(b"\xff")):
        code, _, said = command("reconstruct", source, tmp_path / f"{name}.zarr")
        assert code == 2, said
        assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
