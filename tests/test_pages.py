"""Which image of a file is read, and that it is stored upright.

Pages, previews and turned images are refused, overviews and masks are none.
"""

from itertools import product
from zipfile import ZipFile

import fsspec
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image, ImageOps, TiffImagePlugin

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.mosaic import MosaicScene
from pipeline.scene import RasterScene
from tests.servers import sent, serving
from tests.test_bad_input import save
from tests.tiff import ICCLAB, ITULAB, NEW_SUBFILE_TYPE, ORIENTATION, PHOTOMETRIC, patched

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PLACE = {"crs": 32632, "transform": rasterio.Affine.scale(2, -2)}


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
@pytest.mark.parametrize("place", [{}, PLACE])
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


@pytest.mark.parametrize("kind", [8, ICCLAB, ITULAB, 32803, 32844, 34892])
@pytest.mark.parametrize("place", [{}, PLACE])
def test_lab_that_gdal_keeps_quiet_about_is_refused(tmp_path, kind, place):
    path = tmp_path / "a.tif"
    save(path, pixels(), photometric="rgb", **place)
    patched(path, PHOTOMETRIC, kind)
    with serving("files", tmp_path) as server:
        for uri in (str(path), f"{server}/a.tif"):
            with pytest.raises(Refusal, match="red, green and blue"):
                RasterScene.open(uri)


def turned(path, orientation, more=()):
    """An image that says how it is to be turned, by EXIF or by a TIFF's tag."""
    image, exif = Image.fromarray(pixels().transpose(1, 2, 0)), Image.Exif()
    exif[ORIENTATION] = orientation
    tags = {ORIENTATION: orientation, **dict(more)}
    image.save(path, **{"tiffinfo": tags} if path.suffix == ".tif" else {"exif": exif})
    return path


SAID = [*product(("a.jpg", "a.png", "a.tif"), range(1, 9)), ("a.jpg", 0), ("a.png", 0)]
"""libtiff takes a TIFF's 0 for damage."""


@pytest.mark.parametrize(("name", "orientation"), SAID)
def test_an_image_that_is_to_be_turned_is_refused_until_it_is(tmp_path, name, orientation):
    path = turned(tmp_path / name, orientation)
    if orientation > 1:
        with pytest.raises(Refusal, match=f"{name} with {orientation}. Turn it, .*-auto-orient"):
            RasterScene.open(str(path))
        with Image.open(path) as image:
            ImageOps.exif_transpose(image).save(path, exif=Image.Exif())
    scene = RasterScene.open(str(path))
    with Image.open(path) as image:
        assert (
            (scene.width, scene.height) == image.size == ((40, 50) if orientation > 4 else (50, 40))
        )


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("where", ["memory", "server"])
def test_a_remote_image_that_is_to_be_turned_is_refused(tmp_path, where, name):
    path = turned(tmp_path / name, 6)
    fsspec.filesystem("memory").pipe_file(f"/{name}", path.read_bytes())
    with serving("files", tmp_path) as server:
        uri = {"memory": f"memory://{name}", "server": f"{server}/{name}"}[where]
        with pytest.raises(Refusal, match="an orientation of 1"):
            RasterScene.open(uri)


def test_a_place_does_not_turn_an_image(tmp_path):
    """Of a viewer's pixels and the place's, which are meant is not known."""
    place = {33550: (2.0, 2.0, 0.0), 33922: (0.0, 0.0, 0.0, 100.0, 200.0, 0.0)}
    assert RasterScene.open(str(turned(tmp_path / "a.tif", 1, place))).transform
    with pytest.raises(Refusal, match="an orientation of 1"):
        RasterScene.open(str(turned(tmp_path / "a.tif", 3, place)))
    with (
        serving("files", tmp_path) as server,
        pytest.raises(Refusal, match="an orientation of 1"),
    ):
        RasterScene.open(f"{server}/a.tif")


def test_remote_sheets_with_a_place_are_not_asked_for_their_first_bytes_again(tmp_path):
    for name, more in {"a.tif": PLACE, "b.tif": PLACE, "c.tif": {}}.items():
        save(tmp_path / name, pixels(), **more)
    asked = []
    with serving("files", tmp_path) as server:
        ways = [(RasterScene.open, f"{server}/{name}.tif") for name in "ac"]
        for open_, given in [*ways, (MosaicScene.open, [f"{server}/{name}.tif" for name in "ab"])]:
            sent(server)
            open_(given)
            asked.append(len(sent(server)[1]))
    one, without_place, two = asked
    assert two < 2 * one
    assert one == without_place


def test_a_jpeg_that_gdal_alone_reaches_is_refused_where_it_is_turned(tmp_path):
    for orientation in (1, 6):
        path = turned(tmp_path / f"{orientation}.jpg", orientation)
        with ZipFile(tmp_path / f"{orientation}.zip", "w") as pack:
            pack.write(path, "a.jpg")
    RasterScene.open(f"/vsizip/{tmp_path}/1.zip/a.jpg")
    with pytest.raises(Refusal, match="stored as it is seen"):
        RasterScene.open(f"/vsizip/{tmp_path}/6.zip/a.jpg")


def test_of_a_png_that_gdal_alone_reaches_the_colours_are_asked(tmp_path):
    path = turned(tmp_path / "a.png", 1)
    with ZipFile(tmp_path / "a.zip", "w") as pack:
        pack.write(path, "a.png")
    assert RasterScene.open(str(path)).colours is None
    assert RasterScene.open(f"/vsizip/{tmp_path}/a.zip/a.png").colours == "other"


def test_what_the_channels_of_a_jpeg_2000_are_is_known_or_refused(tmp_path):
    path = tmp_path / "a.jp2"
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=4,
        height=40,
        width=50,
        dtype="uint8",
        photometric="RGB",
        alpha="YES",
    ) as file:
        file.write(np.concatenate([pixels(), np.eye(40, 50, dtype=np.uint8)[None] * 255]))
    rasterio.shutil.copy(tmp_path / "a.tif", path, driver="JP2OpenJPEG", QUALITY=100)
    assert RasterScene.open(str(path)).read(Window(0, 0, 40, 50))[1].sum() == 40
    whole = data = bytearray(path.read_bytes())
    other, first = bytearray(whole), whole.index(b"cdef") + 6
    other[first + 5], other[first + 17] = 3, 1
    path.write_bytes(other)
    assert RasterScene.open(str(path)).bands == (3, 2, 1)
    # Of grey GDAL names no band.
    other[other.index(b"colr") + 10] = 17
    path.write_bytes(other)
    with pytest.raises(Refusal, match=r"stored in that order.*\[3, 2, 1\]"):
        RasterScene.open(str(path))
    fourth = data.index(b"cdef") + 4 + 2 + 3 * 6
    assert data[fourth : fourth + 6] == bytes([0, 3, 0, 1, 0, 0])
    data[fourth + 3] = 2
    path.write_bytes(data)
    with pytest.raises(Refusal, match="alpha of JPEG 2000 is apart"):
        RasterScene.open(str(path))


@pytest.mark.parametrize("fill", [1, 5, 900])
def test_an_orientation_is_found_after_bytes_that_fill(tmp_path, fill):
    """ISO/IEC 10918-1, B.1.1.2: any number of 0xFF may stand before a marker."""
    path = turned(tmp_path / "a.jpg", 6)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + fill * b"\xff" + whole[2:])
    with pytest.raises(Refusal, match=r"with 6\. Turn it"):
        RasterScene.open(str(path))
