"""Rasters that are odd and right are read as they are; names are names and no more."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import RasterScene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
WHOLE = Window(0, 0, 20, 30)
NAMES = [
    "with space.tif", "ü☃\u202e.tif", "quote'\".tif", "..tif", "$(touch x);`touch y`.tif",
    "new\nline.tif", "%s{0}.tif", "a" * 251 + ".tif",
]  # fmt: skip


def save(path, values, **profile):
    count, height, width = values.shape
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", **size, **profile}) as file:
        file.write(values)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(tmp_path, name):
    scene = RasterScene.open(save(tmp_path / name, np.ones((3, 20, 30), np.uint8)))
    assert scene.header["name"] == name
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
