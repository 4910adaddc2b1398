"""Which image of a TIFF is read: pages and previews are refused, overviews and masks are none."""

import io
import struct

import fsspec
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image, TiffImagePlugin

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.pages import first_tags
from pipeline.scene import RasterScene
from tests.servers import sent, serving
from tests.test_bad_input import save
from tests.tiff import ICCLAB, NEW_SUBFILE_TYPE, PHOTOMETRIC, patched

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def pixels(side=40):
    return np.random.default_rng(0).integers(1, 200, (3, side, side + 10), np.uint8)


def preview(path, pages=()):
    """A TIFF that begins as a camera's raw file does."""
    images = [Image.fromarray(pixels().transpose(1, 2, 0)) for _ in (0, *pages)]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[NEW_SUBFILE_TYPE] = 1
    images[0].save(path, "TIFF", tiffinfo=tags, save_all=True, append_images=images[1:])
    return path


@pytest.mark.parametrize("count", [2, 3])
def test_pages_are_refused_and_one_can_be_saved_alone(tmp_path, count):
    for page in range(count):
        save(tmp_path / "a.tif", pixels() + page, APPEND_SUBDATASET="YES" if page else "NO")
    with pytest.raises(Refusal, match=f"with {count}. .*gdal_translate GTIFF_DIR:1:") as refusal:
        RasterScene.open(str(tmp_path / "a.tif"))
    page = str(refusal.value).split()[-2]
    rasterio.shutil.copy(page, tmp_path / "page.tif", driver="GTiff")
    scene = RasterScene.open(str(tmp_path / "page.tif"))
    np.testing.assert_array_equal(scene.read(Window(0, 0, 40, 50))[0], pixels())


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize("place", [{}, {"crs": 32632, "transform": rasterio.Affine.scale(2, -2)}])
def test_overviews_and_masks_are_no_pages(tmp_path, driver, place):
    draft = save(tmp_path / "draft.tif", pixels(600), tiled=True, **place)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(draft, "r+") as file:
        file.write_mask(np.eye(600, 610) == 0)
        file.build_overviews([2, 4])
    rasterio.shutil.copy(draft, tmp_path / "a.tif", driver=driver, COPY_SRC_OVERVIEWS="YES")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1)
    values, valid = RasterScene.open(str(tmp_path / "a.tif")).read(Window(0, 0, 600, 610))
    np.testing.assert_array_equal(values, pixels(600))
    np.testing.assert_array_equal(valid, np.eye(600, 610) == 0)


@pytest.mark.parametrize("pages", [(), (1, 2)])
@pytest.mark.parametrize("where", ["a file", "memory", "server"])
def test_a_preview_is_not_the_picture(tmp_path, where, pages):
    path = preview(tmp_path / "a.tif", pages)
    with serving("files", tmp_path) as server:
        uri = {"a file": str(path), "memory": "memory://a.tif", "server": f"{server}/a.tif"}[where]
        fsspec.filesystem("memory").pipe_file("/a.tif", path.read_bytes())
        with pytest.raises(Refusal, match="not a preview"):
            RasterScene.open(uri)


def test_lab_that_gdal_keeps_quiet_about_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    save(path, pixels())
    patched(path, PHOTOMETRIC, ICCLAB)
    with pytest.raises(Refusal, match="in Lab"):
        RasterScene.open(str(path))


def test_a_remote_raster_with_a_place_is_not_asked_for_its_first_bytes_again(tmp_path):
    place = {"crs": 32632, "transform": rasterio.Affine.scale(2, -2)}
    for name, more in {"a.tif": place, "b.tif": {}}.items():
        save(tmp_path / name, pixels(), **more)
    asked = {}
    with serving("files", tmp_path) as server:
        for name in ("a.tif", "b.tif"):
            sent(server)
            RasterScene.open(f"{server}/{name}")
            asked[name] = len(sent(server)[1])
    assert asked["a.tif"] < asked["b.tif"] <= asked["a.tif"] + 3


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_the_first_tags_are_read_of_every_kind_of_tiff(order, big):
    mark = {"<": b"II", ">": b"MM"}[order]
    entries = [(254, 4, 1), (256, 3, 700), (262, 3, 9), (270, 2, 0)]
    form, field = ("HHQ", "Q") if big else ("HHI", "I")
    head = mark + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 16))
    )
    body = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, kind, value in entries:
        number = struct.pack(order + {3: "H", 4: "I", 2: "B"}[kind], value)
        body += struct.pack(order + form, tag, kind, 1) + number.ljust(
            struct.calcsize(field), b"\0"
        )
    file = io.BytesIO(head.ljust(16, b"\0") + body)
    assert first_tags(file) == {254: 1, 256: 700, 262: 9}
    for size in range(len(file.getvalue())):
        first_tags(io.BytesIO(file.getvalue()[:size]))


@pytest.mark.parametrize("data", [b"", b"II", b"\x89PNG\r\n\x1a\n" + b"\0" * 20])
def test_what_is_no_tiff_has_no_tags(data):
    assert first_tags(io.BytesIO(data)) == {}
