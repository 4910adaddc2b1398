"""Rasters that are odd and right are read as they are; names are names and no more."""

import logging
import os
import resource
import struct
import zlib
from contextlib import suppress

import fsspec
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from pipeline import reach
from pipeline.cube import SpectralCube
from pipeline.doctor import examine
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.guard import refuse_too_many
from pipeline.mosaic import open_scene
from pipeline.scene import RasterScene
from tests.names import NAMES
from tests.tiff import patched

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


def test_twelve_bands(tmp_path):
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


@pytest.mark.parametrize("at", [(0, 0), (39, 299)])
def test_undeclared_nodata_is_refused_wherever_it_is(tmp_path, command, weights, at):
    values = np.full((3, 40, 300), 3000, np.float32)
    values[:, *at] = -9999
    source, small = save(tmp_path / "a.tif", values), ("--tile", 32, "--overlap", 8, "--chunk", 32)
    more = ("--checkpoint", weights, "--white", 10000, "--region", 32)
    code, _, said = command("reconstruct", source, tmp_path / "a.zarr", *small, *more)
    assert (code, said.count("-a_nodata -9999")) == (2, 1), said
    with rasterio.open(source, "r+") as file:
        file.nodata = -9999
    assert command("reconstruct", source, tmp_path / "b.zarr", *small, *more)[0] == 0


@pytest.mark.parametrize("ending", ["tif", "png", "jp2"])
def test_a_header_of_2_to_the_31_squared_takes_nothing(tmp_path, ending):
    path, side = tmp_path / f"a.{ending}", 2**31 - (ending != "tif")
    driver = {"tif": "GTiff", "png": "PNG", "jp2": "JP2OpenJPEG"}[ending]
    save(path, np.ones((3, 64, 64), np.uint8), driver=driver)
    if ending == "tif":
        for tag in (256, 257):
            patched(path, tag, side)
    elif ending == "png":
        path.write_bytes(png_header(path.read_bytes(), side))
    else:
        data = path.read_bytes()
        sides = struct.pack(">II", 64, 64)
        assert sides in data
        path.write_bytes(data.replace(sides, struct.pack(">II", side, side)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refusal):
        opened_and_counted(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def opened_and_counted(uri):
    scene = RasterScene.open(uri)
    refuse_too_many(scene.height, scene.width, 1e11)


def png_header(data, side):
    head = b"IHDR" + struct.pack(">II", side, side) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


@pytest.mark.parametrize(
    "what", ["beyond the end", "larger", "smaller", "shorter than it says", "JPEG that ends early"]
)
@pytest.mark.parametrize("where", ["a file", "memory"])
def test_tiles_that_contradict_the_header_are_refused(tmp_path, monkeypatch, what, where):
    monkeypatch.setattr(reach.time, "sleep", lambda seconds: None)
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 200, (3, 64, 64), np.uint8)
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"}
    kind = "deflate" if what == "shorter than it says" else "jpeg"
    save(path, values, compress=kind, **layout)
    if what == "beyond the end":
        patched(path, 324, 10_000_000)
    elif what == "shorter than it says":
        patched(path, 325, 10)
    elif what == "JPEG that ends early":
        patched(path, 325, 1000)
    else:
        for tag in (256, 257, 322, 323):
            patched(path, tag, 32 if what == "larger" else 128)
    uri, error = str(path), pytest.raises(Refusal, match="is whole")
    if where == "memory":
        uri, error = "memory://a.tif", pytest.raises(OSError, match=r"memory://a\.tif at")
        fsspec.filesystem("memory").pipe_file("/a.tif", path.read_bytes())
    scene = RasterScene.open(uri)
    for _ in range(2):  # GDAL remembers a block, and says of it what was lacking but once
        with error:
            scene.read(Window(0, 0, 32, 32))


@pytest.mark.parametrize("large", [0, 10**9])
def test_a_jpeg_that_ends_early_is_refused(tmp_path, monkeypatch, caplog, large):
    monkeypatch.setattr("pipeline.scene.LARGE", large)
    caplog.set_level(logging.ERROR, logger="rasterio")
    path = tmp_path / "a.jpg"
    save(path, np.random.default_rng(0).integers(0, 200, (3, 256, 256), np.uint8), driver="JPEG")
    whole = path.read_bytes()
    half = len(whole) // 2
    for broken in (whole[:half], whole[:half] + b"\xff\xd0" + whole[half:]):
        path.write_bytes(broken)
        scene = RasterScene.open(str(path))
        for _ in range(2):
            with pytest.raises(Refusal, match="is whole"):
                scene.read(Window(0, 0, 256, 256))


FORMS = {
    "jpg": {"driver": "JPEG"},
    "jp2": {"driver": "JP2OpenJPEG"},
    "png": {"driver": "PNG"},
    "png and alpha": {"driver": "PNG", "bands": 4},
    **{kind: {"compress": kind} for kind in ("none", "deflate", "lzw", "zstd", "lerc", "packbits")},
    "jpeg": {"compress": "jpeg", "tiled": True, "blockxsize": 64, "blockysize": 64},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_is_refused_or_read_as_it_was(tmp_path, form):
    path, profile = tmp_path / "a", dict(FORMS[form])
    values = np.random.default_rng(0).integers(1, 200, (profile.pop("bands", 3), 16, 16), np.uint8)
    save(path, values.repeat(8, axis=1).repeat(8, axis=2), **profile)
    whole, data = path.read_bytes(), Window(0, 0, 128, 128)
    before = RasterScene.open(str(path)).read(data)[0]
    for size in (len(whole) - 1, *range(len(whole) * 9 // 10, 0, -len(whole) // 9)):
        path.write_bytes(whole[:size])
        with suppress(Refusal):
            np.testing.assert_array_equal(RasterScene.open(str(path)).read(data)[0], before)


@pytest.mark.parametrize("text", ["", "GEOGCS[", 'LOCAL_CS["x"]', "EPSG:999999", "\x00\xff" * 50])
def test_a_crs_that_is_missing_or_broken_is_none_or_refused(tmp_path, text):
    path = tmp_path / "a.png"
    save(path, np.ones((3, 20, 30), np.uint8), driver="PNG")
    place = "<GeoTransform>8,.001,0,50,0,-.001</GeoTransform>"
    notes = f"<PAMDataset><SRS>{text}</SRS>{place}</PAMDataset>"
    (tmp_path / "a.png.aux.xml").write_text(notes)
    with suppress(Refusal):
        scene = RasterScene.open(str(path))
        assert scene.crs_wkt is None or "LOCAL" in scene.crs_wkt or "ENGCRS" in scene.crs_wkt
        assert scene.read(WHOLE)[1].all()


@pytest.mark.parametrize(
    "place",
    [
        (5, 0, 0, 5, 0, 0),
        (5, 1, 0, 5, 0, 0),
        (5, 1, 1, 5, 1, 1),
        (5, "nan", 0, 5, 0, -1),
        ("inf", 1, 0, 5, 0, -1),
    ],
    ids=["no size", "no height", "one line", "not a number", "infinite"],
)
def test_a_place_without_pixels_is_refused_before_any_work(tmp_path, place):
    path = save(tmp_path / "a.png", np.ones((3, 20, 30), np.uint8), driver="PNG")
    notes = f"<PAMDataset><GeoTransform>{','.join(map(str, place))}</GeoTransform></PAMDataset>"
    (tmp_path / "a.png.aux.xml").write_text(notes)
    with pytest.raises(Refusal, match="a place has finite numbers"):
        RasterScene.open(str(path))


@pytest.mark.parametrize("what", ["band", "unit", "CRS"])
def test_names_that_are_not_in_utf8_are_refused(tmp_path, what):
    path, own = tmp_path / "a.tif", CRS.from_string("+proj=tmerc +lon_0=11 +datum=WGS84").to_wkt()
    crs = own.replace("unknown", "M\xfcnchen", 1) if what == "CRS" else None
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=20, width=30, dtype="uint8", crs=crs
    ) as file:
        file.scales = [0.004] * 3
        if what == "band":
            file.set_band_description(1, "M\xfcnchen")
        if what == "unit":
            file.units = ["M\xfcnchen"] * 3
    data = path.read_bytes()
    assert "M\xfcnchen".encode() in data
    path.write_bytes(data.replace("M\xfcnchen".encode(), "M\xfcnchen ".encode("latin-1")))
    with pytest.raises(Refusal, match="in UTF-8"):
        RasterScene.open(str(path))


ODD = {
    "all nodata": (np.full((3, 40, 33), 7, np.uint8), {"nodata": 7}),
    "constant": (np.full((3, 40, 33), 90, np.uint8), {}),
    "black": (np.zeros((3, 40, 33), np.uint8), {}),
    "negative, NaN and infinite": (
        np.where(np.eye(40, 33, dtype=bool), [[[np.nan]], [[np.inf]], [[-9.0]]], -0.1).astype(
            np.float32
        ),
        {},
    ),
    "south-up over the antimeridian": (
        np.arange(3960, dtype=np.uint16).reshape(3, 40, 33),
        {"transform": Affine(0.02, 0, 179.8, 0, 0.02, 0.2), "crs": 4326},
    ),
}


@pytest.mark.parametrize(("height", "width"), [(1, 40), (40, 1), (1, 1), (2, 40)])
def test_a_scene_of_one_row_or_column_lies_where_it_is(tmp_path, command, weights, height, width):
    place, values = Affine(0.5, 0, 350000, 0, -0.5, 4060000), np.ones((3, height, width), np.uint8)
    source, cube = save(tmp_path / "a.tif", values, transform=place, crs=32632), tmp_path / "a.zarr"
    small = ("--tile", 32, "--overlap", 8, "--chunk", 16)
    code, _, said = command("reconstruct", source, cube, "--checkpoint", weights, *small)
    assert code == 0, said
    rows, cols = np.arange(height) + 0.5, np.arange(width) + 0.5
    with xr.open_zarr(cube) as opened:
        np.testing.assert_array_equal(opened.y, 4060000 - 0.5 * rows)
        np.testing.assert_array_equal(opened.x, 350000 + 0.5 * cols)
    for name in ("a.vrt", "a.quicklook.tif", "a.zarr"):
        with rasterio.open(tmp_path / name) as file:
            assert file.shape == (height, width)
            # Of a single row or column GDAL does not find the place in a store: then it has none.
            found = name != "a.zarr" or min(height, width) > 1
            assert (file.crs is not None, file.transform == place) == (found, found)
    if (tmp_path / "a_aux.zarr" / "overview_2").exists():
        with rasterio.open(f'ZARR:"{tmp_path}/a_aux.zarr":/overview_2') as file:
            assert (min(file.shape), file.crs) == (1, None)
    said = {finding.reader: finding.reason for finding in examine(str(cube))}
    lacks = ", but for the place, which the VRT has" if min(height, width) == 1 else ""
    assert said["GDAL, the store"] == f"as it is stored{lacks}"
    assert said["GDAL, the VRT"] == "as it is stored"


@pytest.mark.parametrize("name", ODD)
def test_an_odd_scene_becomes_a_cube_that_verifies(tmp_path, command, weights, name):
    values, profile = ODD[name]
    source, cube = save(tmp_path / "a.tif", values, **profile), tmp_path / "a.zarr"
    small = ("--tile", 32, "--overlap", 8, "--chunk", 32, "--white", 255)
    code, _, said = command("reconstruct", source, cube, "--checkpoint", weights, *small)
    assert code == 0, said
    assert ("no pixel of it valid" in said) == (name == "all nodata")
    valid = RasterScene.open(source).read(Window(0, 0, 40, 33))[1]
    assert (SpectralCube.open(str(cube)).read(Window(0, 0, 40, 33))[1] == valid).all()
    assert command("verify", cube, "--no-input")[0] == 0


def test_a_jpeg_whose_header_warns_is_refused(tmp_path):
    """GDAL passes on one warning of libjpeg: of an end that is missing nobody would hear."""
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    at = whole.index(b"\xff\xdb")
    path.write_bytes(whole[:at] + b"\0\0" + whole[at:])
    with pytest.raises(Refusal, match="header is in order"):
        RasterScene.open(str(path))


def test_tags_that_decide_the_pixels_are_not_passed_over(tmp_path):
    """libtiff goes on without a Predictor it cannot read: to differences that are not undone."""
    path = tmp_path / "a.tif"
    data = np.random.default_rng(0).integers(0, 255, (3, 300, 200), np.uint8)
    about = {"compress": "deflate", "predictor": 2, "height": 300, "width": 200, "count": 3}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", photometric="rgb", **about
    ) as file:
        file.write(data)
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HHI", 317, 3, 1))
    path.write_bytes(whole[: at + 4] + struct.pack("<I", 2) + whole[at + 8 :])
    window = Window(0, 0, 300, 200)
    with pytest.raises(Refusal):
        RasterScene.open(str(path)).read(window)
