import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

from flows.job import open_job
from flows.settings import ReconstructSettings
from pipeline.bands import say_other
from pipeline.camera import load_camera
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.scene import RasterScene, Scene
from tests.servers import serving
from tests.tiff import PHOTOMETRIC, SEPARATED, YCBCR, patched

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
@pytest.mark.parametrize("nodata", [None, 0])
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


RED_LACKS, NIR_LACKS, RGB_LACKS, CLEAR, MASKED = range(5)
"""Columns of `lacking`."""


def lacking(nodata: int, clear: int = 0) -> np.ndarray:
    """Red, green, blue, near infrared and alpha; each column lacks something else."""
    data = np.full((5, 4, 6), 90, np.uint8 if nodata in range(256) else np.float32)
    data[4] = 255 - clear
    data[0, :, RED_LACKS] = data[3, :, NIR_LACKS] = data[:3, :, RGB_LACKS] = nodata
    data[4, :, CLEAR] = clear
    return data


ALPHA = ColorInterp.alpha
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@pytest.mark.parametrize("nodata", [0, 255, -9999, 32767])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kinds", [RGB, (*RGB, ColorInterp.nir), (*RGB, ColorInterp.nir, ALPHA)])
def test_nodata_is_what_the_three_bands_say_and_no_other_band_counts(
    tmp_path: Path, kinds: Any, masked: bool, nodata: int
) -> None:
    data, mask = lacking(nodata)[: len(kinds)], np.full((4, 6), 255, np.uint8)
    mask[:, MASKED] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        about = {"photometric": "rgb", "nodata": nodata, "colorinterp": kinds}
        uri = save(tmp_path / "a.tif", data, mask if masked else None, **about)
    valid = RasterScene.open(uri).read(Window(0, 0, 4, 6))[1]
    # Black and white are colours: they are nodata in all three bands at once; others in any.
    lacks = {RGB_LACKS} if nodata in (0, 255) else {RGB_LACKS, RED_LACKS}
    lacks |= {MASKED} if masked else set()
    lacks |= {CLEAR} if ALPHA in kinds else set()
    assert {col for col in range(6) if not valid[:, col].any()} == lacks
    assert {col for col in range(6) if not valid[:, col].all()} == lacks


def test_a_colour_that_one_band_calls_nodata_is_nodata_in_all_three_at_once(
    tmp_path: Path,
) -> None:
    data = np.full((3, 4, 6), 90, np.uint8)
    data[0, :, 2], data[:, :, 4] = 0, 0
    uri = save(tmp_path / "a.tif", data)
    said = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>0</NoDataValue></PAMRasterBand>'
    Path(f"{uri}.aux.xml").write_text(said + "</PAMDataset>")
    valid = RasterScene.open(uri).read(Window(0, 0, 4, 6))[1]
    assert set(np.nonzero(~valid)[1]) == {4}


def test_a_colour_of_four_bands_is_nodata_where_the_three_have_it(tmp_path: Path) -> None:
    data = np.full((4, 4, 6), 90, np.uint8)
    data[:, :, 1] = np.array([5, 6, 7, 8])[:, None]
    data[:3, :, 2] = np.array([5, 6, 7])[:, None]
    data[2:, :, 3] = np.array([7, 8])[:, None]
    uri = save(tmp_path / "a.tif", data, photometric="rgb", alpha="unspecified")
    with rasterio.open(uri, "r+") as file:
        file.update_tags(NODATA_VALUES="5 6 7 8")
    valid = RasterScene.open(uri).read(Window(0, 0, 4, 6))[1]
    assert set(np.nonzero(~valid)[1]) == {1, 2}
    with rasterio.open(uri, "r+") as file:
        file.update_tags(NODATA_VALUES="5 6 seven 8")
    with pytest.raises(Refusal, match="a number for each band"):
        RasterScene.open(uri).read(Window(0, 0, 4, 6))


def test_alpha_counts_with_nodata_and_with_a_mask(tmp_path: Path) -> None:
    data = lacking(7)[[0, 1, 2, 4]]
    for name, about in {"nodata": {"nodata": 255}, "mask": {}}.items():
        mask = np.full((4, 6), 255, np.uint8) if name == "mask" else None
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            uri = save(tmp_path / f"{name}.tif", data, mask, colorinterp=(*RGB, ALPHA), **about)
        valid = RasterScene.open(uri).read(Window(0, 0, 4, 6))[1]
        assert set(np.nonzero(~valid)[1]) == {CLEAR}


def test_what_says_it_is_near_infrared_is_no_alpha(tmp_path: Path) -> None:
    """Of four 8-bit bands GDAL calls the last alpha where nobody said."""
    uri = save(tmp_path / "a.tif", lacking(0, 200)[[0, 1, 2, 3]], colorinterp=(*RGB, ALPHA))
    with rasterio.open(uri, "r+") as dataset:
        dataset.descriptions = ("Red", "Green", "Blue", "NIR")
    assert RasterScene.open(uri).read(Window(0, 0, 4, 6))[1].all()
    assert RasterScene.open(uri, (4, 1, 2)).read(Window(0, 0, 4, 6))[1].all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("key", [(120, 3, 77), (0, 0, 0), None])
def test_one_colour_is_nodata_where_all_three_bands_match_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, large: bool, key: Any
) -> None:
    """PNG's tRNS; None is white, which in 16 bits no rule of values knows."""
    key = key or (np.iinfo(dtype).max,) * 3
    data = values(dtype) + 1
    data[0, :9], data[1, 5:20], data[:, 30:, 7] = key[0], key[1], np.array(key)[:, None]
    path = Path(save(tmp_path / "a.png", data, driver="PNG"))
    body, whole = b"tRNS" + struct.pack(">3H", *key), path.read_bytes()
    chunk = struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(whole[:33] + chunk + whole[33:])
    monkeypatch.setattr("pipeline.scene.LARGE", 0 if large else 1e9)
    scene = RasterScene.open(str(path))
    valid = scene.read(Window(0, 0, HEIGHT, WIDTH))[1]
    np.testing.assert_array_equal(~valid, (data == np.array(key)[:, None, None]).all(axis=0))
    assert 0 < (~valid).sum() < 20
    assert_reads_as_rasterio(scene, str(path))


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


@pytest.mark.parametrize("size", [(2 * HEIGHT, 2 * WIDTH), (HEIGHT, WIDTH - 1)])
@pytest.mark.parametrize("far", [False, True])
def test_a_mask_of_another_size_is_refused(tmp_path: Path, size: Any, far: bool) -> None:
    mask = np.ones((1, *size), np.uint8)
    save(tmp_path / "a.tif.msk", mask)
    with rasterio.open(tmp_path / "a.tif.msk", "r+") as file:
        file.update_tags(INTERNAL_MASK_FLAGS_1=2)
    uri = save(tmp_path / "a.tif", values("uint8"))
    with serving("files", tmp_path) as address, pytest.raises(Refusal, match="as many rows"):
        RasterScene.open(f"{address}/a.tif" if far else uri)


def test_a_mask_that_gdal_passes_over_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.tif.msk", np.ones((1, HEIGHT, WIDTH), np.uint8))
    uri = save(tmp_path / "a.tif", values("uint8"))
    with pytest.raises(Refusal, match=r"says that it is one.*a\.tif\.msk"):
        RasterScene.open(uri)


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


@pytest.mark.parametrize("compress", ["none", "jpeg"])
def test_colours_that_gdal_makes_rgb_of_are_rgb(tmp_path: Path, compress: str) -> None:
    path = tmp_path / "a.tif"
    uri = save(path, values("uint8") // 9 + 90, compress="jpeg", photometric="ycbcr")
    if compress == "none":
        uri = save(path, values("uint8"))
        patched(path, PHOTOMETRIC, YCBCR)
    scene = RasterScene.open(uri)
    assert scene.bands == (1, 2, 3)
    assert_reads_as_rasterio(scene, uri)


@pytest.mark.parametrize(
    ("kinds", "names", "bands"),
    [
        ("nir,red,green", "", None),
        ("blue,green,red", "", (3, 2, 1)),
        ("green,blue,undefined", "", None),
        ("undefined,green,undefined", "", (1, 2, 3)),
        ("red,red,blue", "", None),
        ("gray,undefined,undefined", "", (1, 2, 3)),
        ("gray,gray,gray,alpha", "", (1, 2, 3)),
        ("red,green,blue", "NIR,Red,Green", None),
        ("gray,undefined,undefined", "B08,B04,B03", None),
        ("gray,undefined,undefined", "B02,B03,B04", None),
        ("gray,undefined,undefined", "B04,B03,B02", (1, 2, 3)),
        ("gray,undefined,undefined", "blue,green,red", None),
        ("gray,undefined,undefined", "vis-red,vis-green,vis-blue", (1, 2, 3)),
        ("gray,undefined,undefined", "red edge,green,blue", None),
        ("gray,undefined,undefined", "B1,B2,Band 3", (1, 2, 3)),
        ("gray,undefined,undefined", "B1,B2,B3", (1, 2, 3)),
        ("gray,undefined,undefined", "SR_B4,SR_B3,SR_B2", (1, 2, 3)),
        ("gray,undefined,undefined", "B2,B3,B4", None),
        ("gray,undefined,undefined", "B8,B4,B3", None),
        ("gray,undefined,undefined", "r,g,b", (1, 2, 3)),
        ("gray,undefined,undefined", "b,g,r", None),
        ("gray,undefined,undefined", "N,R,G", None),
        ("undefined,undefined,undefined", "near infra-red", None),
        ("blue,green,red", "Blue,Green,Red", (3, 2, 1)),
        ("coastal,blue,green,yellow,red,nir", "", (5, 3, 2)),
    ],
)
def test_what_a_band_says_it_is_it_is(tmp_path: Path, kinds: str, names: str, bands: Any) -> None:
    tags = [ColorInterp[name] for name in kinds.split(",")]
    data = values("uint16", len(tags))
    uri = save(tmp_path / "a.tif", data, photometric="minisblack", colorinterp=tags)
    with rasterio.open(uri, "r+") as dataset:
        for band, name in enumerate(names.split(","), 1):
            dataset.set_band_description(band, name)
    if bands is None:
        with pytest.raises(Refusal, match=r"--bands"):
            RasterScene.open(uri)
    else:
        assert RasterScene.open(uri).bands == bands
    assert RasterScene.open(uri, (3, 1, 2)).bands == (3, 1, 2)


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_fewer_bits_than_a_type_are_refused_or_declare_their_white(
    tmp_path: Path, bits: int
) -> None:
    most = 2**bits - 1
    data = values("uint8") % (most + 1)
    with pytest.raises(Refusal, match=f"8 bits .* with {bits}.*-scale 0 {most} 0 255"):
        RasterScene.open(save(tmp_path / "a.tif", data, nbits=bits))
    uri = save(tmp_path / "b.tif", data, nbits=bits, scaling=([1 / most] * 3, [0] * 3))
    if bits > 1:  # a scale of 1 is none
        assert RasterScene.open(uri).declared_white == pytest.approx(most)


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
    # In their own type what is unscaled would be rounded to 0 and 1.
    with pytest.raises(Refusal, match=r"one scale and no offset.*-unscale -ot Float32"):
        RasterScene.open(uri)


@pytest.mark.parametrize("scale", [-1e-4, 0.0, np.inf])
def test_a_scale_is_above_0(tmp_path: Path, scale: float) -> None:
    uri = save(tmp_path / "a.tif", values("uint16"), scaling=([scale] * 3, [0] * 3))
    with pytest.raises(Refusal, match=r"above 0; .*-scale 1"):
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


def _inks(path: Path) -> None:
    save(path, values("uint8"))
    patched(path, PHOTOMETRIC, SEPARATED)


def _from_white(path: Path) -> None:
    save(path, values("uint16"), photometric="miniswhite")


def _palette(path: Path) -> None:
    save(path, values("uint8", 1))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {i: (i, i, i, 255) for i in range(256)})


HUE = [ColorInterp.hue, ColorInterp.saturation, ColorInterp.lightness]
LUMA = [ColorInterp.Y, ColorInterp.Cb, ColorInterp.Cr]
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
    "three inks": (_inks, "Convert"),
    "0 is white": (_from_white, "brighter"),
    "hue": (lambda path: save(path, values("uint16"), colorinterp=HUE), "Convert"),
    "luma": (lambda path: save(path, values("uint16"), colorinterp=LUMA), "Convert"),
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


@pytest.mark.parametrize("given", ["points", "rpcs", "crs", "nothing"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_place_by_control_points_or_rpcs_alone_is_known_not_to_be_used(
    tmp_path: Path, given: str
) -> None:
    points = [
        GroundControlPoint(*at, x=500 + at[1], y=900 - at[0]) for at in ((0, 0), (0, 9), (9, 0))
    ]
    numbers = [1.0] * 20
    rpcs = RPC(1, 1, 1, 1, numbers, numbers, 1, 1, 1, 1, numbers, numbers, 1, 1)
    uri = save(tmp_path / "a.tif", values("uint8"))
    with rasterio.open(uri, "r+") as dataset:
        if given == "points":
            dataset.gcps = points, CRS.from_epsg(32618)
        if given == "rpcs":
            dataset.rpcs = rpcs
        if given == "crs":
            dataset.crs = CRS.from_epsg(32618)
    scene = RasterScene.open(uri)
    assert (scene.transform, scene.crs_wkt) == (None, None)
    assert scene.unplaced == (given != "nothing")
    job = open_job(ReconstructSettings(source=uri, destination="-", engine="torch"))
    assert ("control points" in job.assumptions) == scene.unplaced
    with rasterio.open(uri, "r+") as dataset:
        dataset.transform = Affine(1, 0, 500, 0, -1, 900)
    placed = RasterScene.open(uri)
    assert placed.transform is not None
    assert not placed.unplaced


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (("650 nm", "550 nm", "450 nm"), True),
        (("Band 1 (0.66 um)", "Band 2 (0.56 um)", "Band 3 (0.48 um)"), True),
        (("450 nm", "550 nm", "650 nm"), False),
        (("842 nm", "665 nm", "560 nm"), False),
        (("Band 1 (842.0 Nanometers)", "Band 2 (665.0 Nanometers)", "Band 3"), False),
        (("Band 4", "Band 3", "Band 2"), True),
        (("Band 8", "Band 4", "Band 3"), False),
        (("Band 2", "Band 3", "Band 4"), False),
        (("Band 1", "Band 2", "Band 3"), True),
        (("NearInfrared", "red", "green"), False),
        (("red", "green", "DSM"), False),
        (("L*", "a*", "b*"), False),
        (("X", "Y", "Z"), False),
        (("VV", "VH", "VV/VH"), False),
        (("Pan", "Pan", "Pan"), False),
        (("R", "G", "B"), True),
    ],
)
@pytest.mark.parametrize("kinds", [None, RGB])
def test_bands_are_what_they_say(tmp_path: Path, names: Any, known: bool, kinds: Any) -> None:
    uri = save(tmp_path / "a.tif", values("uint8"), colorinterp=kinds)
    with rasterio.open(uri, "r+") as dataset:
        dataset.descriptions = names
    if known:
        assert RasterScene.open(uri).bands == (1, 2, 3)
        return
    with pytest.raises(Refusal, match="--bands"):
        RasterScene.open(uri)
    assert RasterScene.open(uri, (3, 2, 1)).bands == (3, 2, 1)


@pytest.mark.parametrize("how", ["IMAGERY", "own"])
@pytest.mark.parametrize("known", [True, False])
def test_a_wavelength_in_tags_is_looked_at(tmp_path: Path, how: str, known: bool) -> None:
    uri = save(tmp_path / "a.tif", values("uint8"), colorinterp=RGB)
    with rasterio.open(uri, "r+") as dataset:
        for band, nm in enumerate((660, 560, 480) if known else (480, 560, 660), 1):
            if how == "IMAGERY":
                dataset.update_tags(band, ns=how, CENTRAL_WAVELENGTH_UM=f"{nm / 1000}")
            else:
                dataset.update_tags(band, wavelength=f"{nm}", wavelength_units="Nanometers")
    if known:
        RasterScene.open(uri)
        return
    with pytest.raises(Refusal, match="red, green and blue"):
        RasterScene.open(uri)


@pytest.mark.parametrize(("unit", "white"), [("%", None), ("W/(m2 sr um)", None), ("1", 100)])
def test_a_scale_makes_white_where_its_unit_is_none(
    tmp_path: Path, unit: str, white: float | None
) -> None:
    uri = save(tmp_path / "a.tif", values("uint16"), scaling=([0.01] * 3, [0.0] * 3))
    with rasterio.open(uri, "r+") as dataset:
        dataset.units = [unit] * 3
    if white:
        assert RasterScene.open(uri).declared_white == pytest.approx(white)
        return
    with pytest.raises(Refusal, match="--white"):
        RasterScene.open(uri)


def test_bands_are_three(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="three different bands"):
        RasterScene.open(save(tmp_path / "a.tif", values("uint8")), (3, 2, 2))


def test_alpha_that_is_no_number_is_not_opaque(tmp_path: Path) -> None:
    data = values("float32", 4) + 1
    data[3, 5, 6], data[3, 7, 8] = np.nan, 0
    uri = save(tmp_path / "a.tif", data, colorinterp=(*RGB, ALPHA))
    valid = RasterScene.open(uri).read(Window(0, 0, HEIGHT, WIDTH))[1]
    assert set(zip(*np.nonzero(~valid), strict=True)) == {(5, 6), (7, 8)}


@pytest.mark.parametrize(
    ("dtype", "full", "about"),
    [
        ("uint8", 255, {}),
        ("uint8", 255, {"BIGTIFF": "YES", "tiled": True}),
        ("uint16", 65535, {}),
        ("uint16", 4095, {"NBITS": 12}),
        ("float32", 1, {}),
    ],
)
@pytest.mark.parametrize("alpha", ["PREMULTIPLIED", "NON-PREMULTIPLIED"])
def test_where_alpha_is_in_the_colours_only_opaque_pixels_are_known(
    tmp_path: Path, dtype: str, full: int, about: dict[str, Any], alpha: str
) -> None:
    data = values(dtype, 4) / (200 if dtype == "float32" else 1)
    data[3] = full
    data[3, :2, :2] = [[0, full / 3], [full / 1.01, full]]
    place = {"crs": 32632, "transform": rasterio.Affine.scale(2, -2)}
    given = {"photometric": "rgb", "alpha": alpha, **about, **place}
    uri = save(tmp_path / "a.tif", data.astype(dtype), **given)
    lost = {(0, 0), (0, 1), (1, 0)} if alpha == "PREMULTIPLIED" else {(0, 0)}
    with serving("files", tmp_path) as server:
        for where in (uri, f"{server}/a.tif"):
            scene = RasterScene.open(where)
            valid = pickle.loads(pickle.dumps(scene)).read(Window(0, 0, HEIGHT, WIDTH))[1]
            assert set(zip(*np.nonzero(~valid), strict=True)) == lost
            assert scene.multiplied == (alpha == "PREMULTIPLIED") == ("alpha" in scene.header)


def test_a_run_says_that_alpha_is_in_the_colours(tmp_path: Path, weights: str) -> None:
    about = {"photometric": "rgb", "alpha": "PREMULTIPLIED", "crs": 32632}
    about["transform"] = rasterio.Affine.scale(2, -2)
    uri = save(tmp_path / "a.tif", values("uint8", 4), **about)
    for source in (uri, f"{tmp_path}/a*.tif"):
        settings = ReconstructSettings(
            source=source, destination=f"{tmp_path}/a.zarr", checkpoint=weights
        )
        assert "alpha is in their colours" in open_job(settings).assumptions


@pytest.mark.parametrize("tag", ["-3.402823e+38", "-3.4028235e+38", "-3.4028234663852886e+38"])
def test_nodata_of_floats_is_what_a_rounded_tag_means(tmp_path: Path, tag: str) -> None:
    data = values("float32") / 200
    data[:, 3, 4] = np.finfo(np.float32).min
    uri = save(tmp_path / "a.tif", data, nodata=float(tag))
    valid = RasterScene.open(uri).read(Window(0, 0, HEIGHT, WIDTH))[1]
    assert set(zip(*np.nonzero(~valid), strict=True)) == {(3, 4)}


def test_nodata_that_is_not_declared_is_told_with_all_its_digits(tmp_path: Path) -> None:
    data = values("float32") / 200
    data[:, 3, 4] = odd = np.finfo(np.float32).min
    scene = RasterScene.open(save(tmp_path / "a.tif", data))
    with pytest.raises(Refusal, match="a_nodata") as error:
        load_camera("srgb").decode(scene.read(Window(0, 0, HEIGHT, WIDTH))[0])
    declared = str(error.value).partition("a_nodata ")[2].partition(",")[0]
    assert np.float32(declared) == odd


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (("665", "560", "490"), True),
        (("490", "560", "665"), False),
        (("0.665", "0.56", "0.49"), True),
        (("0.49", "0.56", "0.665"), False),
        (("Band 490", "Band 560", "Band 665"), False),
        (("1", "2", "3"), True),
        (("Band 3", "Band 2", "Band 1"), True),
        (("Y", "Cb", "Cr"), False),
        (("PC1", "PC2", "PC3"), False),
        (("Rot", "Grün", "Blau"), True),
        (("Blau", "Grün", "Rot"), False),
        (("azul", "verde", "rojo"), False),
        (("bleu", "vert", "rouge"), False),
    ],
)
def test_bands_that_say_what_they_are_in_other_ways(names: Any, known: bool) -> None:
    assert say_other(names, [None] * 3) != known


def test_a_curve_ends_where_the_file_says(tmp_path: Path, weights: str) -> None:
    data = values("uint16") * 5
    about = {"crs": 32632, "transform": rasterio.Affine.scale(2, -2)}
    told = {"encoding": "srgb", "destination": "-", "checkpoint": weights}
    given = save(tmp_path / "a.tif", data, NBITS=12, **about)
    job = open_job(ReconstructSettings(source=given, white=800, **told))
    assert job.camera.end(job.scene.dtype) == 4095
    given = save(tmp_path / "b.tif", data, scaling=([1e-4] * 3, [0] * 3), **about)
    job = open_job(ReconstructSettings(source=given, **told))
    assert job.camera.end(job.scene.dtype) == pytest.approx(1e4)
    linear = save(tmp_path / "d.tif", data, NBITS=12, **about)
    job = open_job(ReconstructSettings(source=linear, white=800, **told | {"encoding": "linear"}))
    assert job.camera.top(job.scene.dtype).ravel() == pytest.approx([4095 / 800] * 3)
    given = save(tmp_path / "c.tif", data, **about)
    with pytest.raises(Refusal, match=r"end where its curve does: at 255.*got 995"):
        open_job(ReconstructSettings(source=given, white=200, **told))


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_what_a_header_says_beside_pixels_is_no_damage(tmp_path: Path, name: str) -> None:
    """GDAL begins again where it reads backwards, and warns of the header again."""
    path, data = tmp_path / name, np.random.default_rng(0).integers(0, 255, (1600, 256, 3))
    if name == "a.png":
        Image.fromarray(data.astype(np.uint8)).save(path)
        whole, body = path.read_bytes(), b"tIME" + bytes((7, 234, 13, 40, 1, 1, 1))
        chunk = struct.pack(">I", 7) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(whole[:33] + chunk + whole[33:])
    else:
        Image.fromarray(data.astype(np.uint8)).save(path, tiffinfo={282: 72.0})
        whole = path.read_bytes()
        at = whole.index(struct.pack("<HHI", 282, 5, 1))
        path.write_bytes(whole[: at + 8] + struct.pack("<I", 10**9) + whole[at + 12 :])
    scene = RasterScene.open(str(path))
    for row in (1500, 10, 900):
        got = scene.read(Window(row, 0, 50, 256))[0]
        np.testing.assert_array_equal(got, data[row : row + 50].transpose(2, 0, 1))
