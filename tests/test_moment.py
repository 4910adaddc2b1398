"""When a picture was taken: what its tags say, and what is given."""

from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from flows.settings import SceneSettings
from pipeline.errors import Refusal
from pipeline.moment import given
from pipeline.scene import RasterScene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
ORIGINAL, OFFSET, CHANGED, IFD = 0x9003, 0x9011, 0x0132, 0x8769


def photograph(path, original=None, offset=None, changed=None):
    details = {ORIGINAL: original, OFFSET: offset}
    tags = {CHANGED: changed, IFD: {key: value for key, value in details.items() if value}}
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    if path.suffix == ".jpg":
        exif = Image.Exif()
        exif.update({CHANGED: changed} if changed else {})
        exif.get_ifd(IFD).update(tags[IFD])
        image.save(path, exif=exif)
    else:
        info = ImageFileDirectory_v2()
        for key, value in tags.items():
            if value:
                info[key] = value
        image.save(path, tiffinfo=info)
    return RasterScene.open(str(path))


@pytest.mark.parametrize("kind", ["jpg", "tif"])
@pytest.mark.parametrize(
    ("tags", "hour", "source"),
    [
        (("2026:07:01 10:30:00", "+02:00", "2026:08:01 00:00:00"), 8, "EXIF_DateTimeOriginal"),
        (("2026:07:01 10:30:00", "-03:30"), 14, "EXIF_DateTimeOriginal"),
        (("2026:07:01 10:30:00",), 10, "EXIF_DateTimeOriginal, no time zone: taken as UTC"),
        ((None, None, "2026:07:01 10:30:00"), 10, "DATE"),
    ],
)
def test_the_time_of_the_picture_comes_before_that_of_the_file(tmp_path, kind, tags, hour, source):
    found = photograph(tmp_path / f"a.{kind}", *tags).taken
    assert found.utc.date() == datetime(2026, 7, 1, tzinfo=UTC).date()
    assert found.utc.hour == hour
    assert source.upper() in found.source.upper()


@pytest.mark.parametrize("wrong", ["0000:00:00 00:00:00", "yesterday", ""])
def test_a_tag_that_is_no_time_says_nothing(tmp_path, wrong):
    assert photograph(tmp_path / "a.jpg", wrong or None).taken is None


def test_the_tiff_tag_is_taken(tmp_path):
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.update_tags(TIFFTAG_DATETIME="2026:07:01 10:30:00")
    found = RasterScene.open(str(tmp_path / "a.tif")).taken
    assert found.text == "2026-07-01T10:30:00Z"
    assert found.source == "TIFFTAG_DATETIME, no time zone: taken as UTC"


def test_what_is_given_is_iso_8601_and_ends_in_utc():
    assert given("2026-07-01T10:30:00+02:00").text == "2026-07-01T08:30:00Z"
    assert given("2026-07-01").text == "2026-07-01T00:00:00Z"
    assert given(given("2026-07-01T10:30").text).text == "2026-07-01T10:30:00Z"
    with pytest.raises(Refusal, match="ISO 8601"):
        given("last summer")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("2026-07-01T10:30:00", "2026-07-01T10:30:00"),
        ("2026-07-01", "2026-07-01T00:00:00"),
        ("2026-07-01T10:30:00+02:00", "2026-07-01T08:30:00Z"),
        ("2026-07-01T10:30:00Z", "2026-07-01T10:30:00Z"),
    ],
)
def test_what_is_kept_says_whether_a_zone_was_given(text, kept):
    settings = SceneSettings(datetime=text)
    assert settings.datetime == kept
    # Settings are made of settings, and read again.
    assert SceneSettings(**settings.model_dump()) == settings
    assert given(kept) == given(text)


def test_a_time_that_is_none_in_utc_is_no_time(tmp_path):
    assert photograph(tmp_path / "a.jpg", "0001:01:01 00:00:00", "+02:00").taken is None
    far = photograph(tmp_path / "b.jpg", "2026:07:01 10:30:00", "+99999999999999:00").taken
    assert far.source.endswith("taken as UTC")
    with pytest.raises(Refusal, match="ISO 8601"):
        given("0001-01-01T00:00:00+02:00")
