import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import RasterScene, Scene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
HEIGHT, WIDTH = 40, 50
WINDOW = Window(3, 5, 30, 44)


def values(dtype: str, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (count, HEIGHT, WIDTH)).astype(dtype)


def save(path: Path, data: np.ndarray, mask: np.ndarray | None = None, **profile: Any) -> str:
    kinds = profile.pop("colorinterp", None)
    scales, offsets = profile.pop("scaling", (None, None))
    profile = {"driver": "GTiff", "dtype": data.dtype, **profile}
    count, height, width = data.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as dataset:
        if kinds:
            dataset.colorinterp = kinds
        if scales:
            dataset.scales, dataset.offsets = scales, offsets
        dataset.write(data)
        if mask is not None:
            dataset.write_mask(mask)
    return str(path)


def assert_reads_as_rasterio(scene: RasterScene, uri: str) -> None:
    with rasterio.open(uri) as dataset:
        expected, mask = dataset.read(scene.bands), dataset.dataset_mask() != 0
    got, valid = scene.read(Window(0, 0, scene.height, scene.width))
    np.testing.assert_equal((got, valid), (expected, mask & np.isfinite(expected).all(axis=0)))
    assert got.dtype == scene.dtype == expected.dtype
    part = Window(scene.height // 3, scene.width // 4, scene.height // 2, scene.width // 2)
    cut, cut_valid = scene.read(part)
    np.testing.assert_array_equal(cut, got[:, *part.slices])
    np.testing.assert_array_equal(cut_valid, valid[part.slices])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("nodata", [None, 7])
def test_a_geotiff_reads_as_rasterio_reads_it(tmp_path: Path, dtype: str, nodata: Any) -> None:
    uri = save(tmp_path / "a.tif", values(dtype), nodata=nodata)
    assert_reads_as_rasterio(RasterScene.open(uri), uri)


def test_not_a_number_is_invalid(tmp_path: Path) -> None:
    data = values("float32")
    data[1, 4, 6], data[2, 0, 0] = np.nan, np.inf
    uri = save(tmp_path / "a.tif", data)
    assert_reads_as_rasterio(RasterScene.open(uri), uri)
    invalid = ~RasterScene.open(uri).read(Window(0, 0, HEIGHT, WIDTH))[1]
    assert set(zip(*np.nonzero(invalid), strict=True)) == {(4, 6), (0, 0)}


@pytest.mark.parametrize("driver", ["GTiff", "PNG"])
def test_alpha_is_the_mask(tmp_path: Path, driver: str) -> None:
    data = values("uint8", 4)
    data[3] = np.where(data[3] > 50, data[3], 0)
    kinds = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    uri = save(tmp_path / "a", data, driver=driver, colorinterp=kinds)
    scene = RasterScene.open(uri)
    assert_reads_as_rasterio(scene, uri)
    np.testing.assert_array_equal(scene.read(WINDOW)[1], data[3][WINDOW.slices] != 0)


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_band_is_read_inside_or_beside_the_file(tmp_path: Path, internal: bool) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        uri = save(tmp_path / "a.tif", values("uint8"), mask)
    assert (tmp_path / "a.tif.msk").exists() != internal
    scene = RasterScene.open(uri)
    assert_reads_as_rasterio(scene, uri)
    np.testing.assert_array_equal(scene.read(WINDOW)[1], mask[WINDOW.slices] != 0)


def test_a_world_file_is_read(tmp_path: Path) -> None:
    uri = save(tmp_path / "a.png", values("uint8"), driver="PNG")
    (tmp_path / "a.pgw").write_text("2 0 0 -2 101 199".replace(" ", "\n"))
    assert RasterScene.open(uri).transform == Affine(2, 0, 100, 0, -2, 200)


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "JP2OpenJPEG"])
def test_other_formats_read_as_rasterio_reads_them(tmp_path: Path, driver: str) -> None:
    with rasterio.Env() as env:
        if driver not in env.drivers():
            pytest.skip(f"this GDAL has no {driver}")
    uri = save(tmp_path / "a", values("uint8"), driver=driver)
    scene = RasterScene.open(uri)
    assert_reads_as_rasterio(scene, uri)
    assert (scene.driver, scene.transform, scene.crs_wkt) == (driver, None, None)


def test_place_is_kept_even_rotated(tmp_path: Path) -> None:
    transform = Affine(0.3, 0.1, 500000.1, 0.1, -0.3, 4000000.7)
    uri = save(tmp_path / "a.tif", values("uint8"), crs="EPSG:32612", transform=transform)
    scene = RasterScene.open(uri)
    assert (scene.transform, scene.crs_wkt) == (transform, CRS.from_epsg(32612).to_wkt())


def test_bands_follow_their_colours(tmp_path: Path) -> None:
    kinds = [ColorInterp.blue, ColorInterp.undefined, ColorInterp.red, ColorInterp.green]
    uri = save(tmp_path / "a.tif", values("uint8", 4), photometric="minisblack", colorinterp=kinds)
    assert RasterScene.open(uri).bands == (3, 4, 1)
    assert RasterScene.open(uri, (2, 1, 4)).bands == (2, 1, 4)
    grey = save(tmp_path / "b.tif", values("uint16"), photometric="minisblack")
    assert RasterScene.open(grey).bands == (1, 2, 3)


@pytest.mark.parametrize(
    ("scaling", "white"),
    [
        ((None, None), None),
        (([1e-4] * 3, [0] * 3), 1e4),
    ],
)
def test_declared_white_is_one_shared_scale(tmp_path: Path, scaling: Any, white: Any) -> None:
    uri = save(tmp_path / "a.tif", values("uint16"), scaling=scaling)
    assert RasterScene.open(uri).declared_white == (white and pytest.approx(white))


@pytest.mark.parametrize(
    "scaling", [([1e-4] * 3, [-0.1] * 3), ([1e-4, 1e-4, 2e-4], [0] * 3)], ids=["offset", "unequal"]
)
def test_scaling_that_one_white_cannot_say_is_refused(tmp_path: Path, scaling: Any) -> None:
    uri = save(tmp_path / "a.tif", values("uint16"), scaling=scaling)
    with pytest.raises(Refusal, match="one scale and no offset"):
        RasterScene.open(uri)


@pytest.mark.parametrize("is_uri", [False, True])
def test_a_scene_is_opened_by_path_or_file_uri(tmp_path: Path, is_uri: bool) -> None:
    path = tmp_path / "some image?.tif"
    save(path, values("uint8"))
    scene = RasterScene.open(path.as_uri() if is_uri else str(path))
    assert scene.read(WINDOW)[0].shape == (3, 30, 44)
    assert scene.header["name"] == "some image?.tif"


def test_other_uris_go_to_gdal(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", values("uint8"))
    scene: Scene = RasterScene.open(f"/vsisubfile/0,{tmp_path / 'a.tif'}")
    np.testing.assert_array_equal(scene.read(Window(0, 0, HEIGHT, WIDTH))[0], values("uint8"))


def test_threads_and_pickles_read_the_same(tmp_path: Path) -> None:
    uri = save(tmp_path / "a.tif", values("uint16"), nodata=7)
    scene = RasterScene.open(uri)
    expected = scene.read(WINDOW)
    copy = pickle.loads(pickle.dumps(scene))
    assert copy == scene
    with ThreadPoolExecutor(4) as pool:
        reads = list(pool.map(lambda number: (scene, copy)[number % 2].read(WINDOW), range(32)))
    for got in reads:
        np.testing.assert_equal(got, expected)


def test_a_closed_scene_opens_again(tmp_path: Path) -> None:
    scene = RasterScene.open(save(tmp_path / "a.tif", values("uint8")))
    scene.read(WINDOW)
    scene.close()
    np.testing.assert_array_equal(scene.read(WINDOW)[0], values("uint8")[:, *WINDOW.slices])


def test_the_header_is_provenance(tmp_path: Path) -> None:
    uri = save(tmp_path / "a.tif", values("uint8"))
    header = RasterScene.open(uri).header
    assert header == RasterScene.open(uri).header
    assert header["bytes"] == (tmp_path / "a.tif").stat().st_size
    other = RasterScene.open(save(tmp_path / "b.tif", values("uint8")))
    assert other.header["digest"] != header["digest"]


def test_opening_warns_of_nothing_and_leaves_the_filters(tmp_path: Path) -> None:
    uri = save(tmp_path / "a.png", values("uint8"), driver="PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RasterScene.open(uri).read(WINDOW)
        with pytest.raises(NotGeoreferencedWarning):
            rasterio.open(uri)


def _palette(path: Path) -> None:
    save(path, values("uint8", 1))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {i: (i, i, i, 255) for i in range(256)})


REFUSED = {
    "missing": (lambda path: None, "existing file"),
    "empty": (lambda path: path.write_bytes(b""), "existing file"),
    "folder": (lambda path: path.mkdir(), "existing file"),
    "text": (lambda path: path.write_text("no image"), "image"),
    "bitmap": (lambda path: save(path, values("uint8"), driver="BMP"), "image"),
    "grey": (lambda path: save(path, values("uint8", 1)), "3 bands"),
    "grey and alpha": (lambda path: save(path, values("uint8", 2)), "3 bands"),
    "palette": (_palette, "-expand rgb"),
    "bands": (lambda path: save(path, values("uint8", 5), photometric="minisblack"), "--bands"),
    "cmyk": (lambda path: save(path, values("uint8", 4), photometric="cmyk"), "Convert"),
    "cmyk jpeg": (lambda path: save(path, values("uint8", 4), driver="JPEG"), "Convert"),
    "complex": (lambda path: save(path, values("complex64")), "-ot Float32"),
    "int16": (lambda path: save(path, values("int16")), "-ot Float32"),
    "float64": (lambda path: save(path, values("float64")), "-ot Float32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_rgb_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, said = REFUSED[case]
    make(tmp_path / "a")
    with pytest.raises(Refusal, match=said) as refusal:
        RasterScene.open(str(tmp_path / "a"))
    assert "\n" not in str(refusal.value)


def test_bands_outside_the_image_are_refused(tmp_path: Path) -> None:
    uri = save(tmp_path / "a.tif", values("uint8"))
    with pytest.raises(Refusal, match="1 to 3"):
        RasterScene.open(uri, (1, 2, 4))


def test_real_images_open_and_their_masks_are_rasterios(data_root: Path) -> None:
    for path in sorted((data_root / "rgb").iterdir()):
        assert_reads_as_rasterio(RasterScene.open(str(path)), str(path))
