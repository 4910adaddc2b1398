"""What pixel values are taken for, by what the file says of itself; and what is refused."""

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageCms

from flows.job import camera_of
from flows.settings import ReconstructSettings
from pipeline.camera import load_camera
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import RasterScene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
BANDS = load_camera("srgb").wavelengths
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Red and green change places, as they do in part between Adobe RGB or Display P3 and sRGB.
OTHER = SRGB.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")


def seen(uri, **given):
    settings = ReconstructSettings(source=str(uri), destination="-", **given)
    return camera_of(settings, RasterScene.open(str(uri)), BANDS)


def photograph(path, profile):
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, icc_profile=profile)
    return path


def raster(path, dtype, scale=1.0):
    values = np.full((3, 20, 30), 100, dtype)
    with rasterio.open(path, "w", driver="GTiff", count=3, height=20, width=30, dtype=dtype,
                       photometric="RGB") as file:  # fmt: skip
        file.write(values)
        if scale != 1:
            file.scales = [scale] * 3
    return path


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("profile", [None, SRGB])
def test_a_photograph_without_profile_or_with_srgbs_is_srgb(tmp_path, ending, profile):
    path = photograph(tmp_path / f"a.{ending}", profile)
    assert RasterScene.open(str(path)).colours == ("srgb" if profile else None)
    assert seen(path).encoding == "srgb"


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("profile", [OTHER, b"no profile", SRGB[:200]])
def test_a_photograph_in_other_colours_is_refused_unless_it_is_said_what_it_is(
    tmp_path, ending, profile
):
    path = photograph(tmp_path / f"a.{ending}", profile)
    with rasterio.open(path) as file:
        if not file.tags(ns="COLOR_PROFILE"):
            pytest.skip("the writer leaves what is no profile out")
    with pytest.raises(Refusal, match="profile is another"):
        seen(path)
    assert seen(path, encoding="linear").encoding == "linear"


def test_values_with_a_declared_scale_are_reflectance(tmp_path):
    path = raster(tmp_path / "a.tif", "uint8", scale=1 / 200)
    camera = seen(path)
    assert (camera.encoding, camera.white) == ("linear", pytest.approx(200))
    grey = camera.decode(RasterScene.open(str(path)).read(Window(0, 0, 20, 30))[0])
    np.testing.assert_allclose(grey, 0.5, rtol=1e-5)
    assert seen(path, encoding="srgb").encoding == "srgb"


def test_a_finished_photograph_is_not_taken_for_raw_values(tmp_path):
    path = raster(tmp_path / "a.tif", "uint8")
    with pytest.raises(Refusal, match="raw values"):
        seen(path, camera="nikon-d700")
    with pytest.raises(Refusal, match="in the library"):
        seen(path, camera="kodak")
    for encoding in ("srgb", "linear"):
        assert seen(path, camera="nikon-d700", encoding=encoding).encoding == encoding
    deep = raster(tmp_path / "b.tif", "uint16")
    assert seen(deep, camera="nikon-d700", white=4095).encoding == "linear"
