"""What pixel values are taken for, by what the file says of itself; and what is refused."""

import struct
import zlib
from base64 import b64encode

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageCms

from flows.bound import camera_of
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
    with pytest.raises(Refusal, match="a finished photograph is in sRGB"):
        seen(path)
    assert seen(path, encoding="linear").encoding == "linear"


def test_values_with_a_declared_scale_are_reflectance(tmp_path):
    path = raster(tmp_path / "a.tif", "uint8", scale=1 / 200)
    camera = seen(path)
    assert (camera.encoding, camera.white) == ("linear", pytest.approx(200))
    grey = camera.decode(RasterScene.open(str(path)).read(Window(0, 0, 20, 30))[0])
    np.testing.assert_allclose(grey, 0.5, rtol=1e-5)
    assert seen(path, encoding="srgb").encoding == "srgb"


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(("profile", "taken"), [(SRGB, "srgb"), (OTHER, "refused")])
def test_a_profile_counts_for_any_type(tmp_path, dtype, profile, taken):
    said = {"SOURCE_ICC_PROFILE": b64encode(profile).decode()}
    path = written(tmp_path / "a.tif", "GTiff", dtype, **said)
    assert coloured(path, white=1000)[1] == taken


def test_reflectance_that_also_says_it_is_in_srgb_is_refused_unless_it_is_said_which(tmp_path):
    path = raster(tmp_path / "a.tif", "uint16", scale=1e-4)
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="COLOR_PROFILE", SOURCE_ICC_PROFILE=b64encode(SRGB).decode())
    with pytest.raises(Refusal, match="reflectance or in sRGB"):
        seen(path)
    for encoding in ("linear", "srgb"):
        assert seen(path, encoding=encoding).encoding == encoding


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


def coloured(path, **given):
    """Colours of a raster, and the encoding that its values are taken for."""
    colours = RasterScene.open(str(path)).colours
    if colours != "other":
        return colours, seen(path, **given).encoding
    with pytest.raises(Refusal, match="a finished photograph is in sRGB"):
        seen(path, **given)
    return colours, "refused"


def values(dtype):
    return np.random.default_rng(0).integers(0, 256, (3, 20, 30)).astype(dtype)


def written(path, driver, dtype="uint8", **said):
    size = {"count": 3, "height": 20, "width": 30, "dtype": dtype}
    with rasterio.open(path, "w", driver=driver, **size, **said) as file:
        file.write(values(dtype))
    return path


def png(path, *chunks, dtype="uint8"):
    """A PNG with chunks before its pixels."""
    data = written(path, "PNG", dtype).read_bytes()
    more = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    path.write_bytes(data[:33] + b"".join(more) + data[33:])
    return path


def gamma(value):
    return b"gAMA", struct.pack(">I", round(1e5 * value))


def primaries(*xy):
    return b"cHRM", struct.pack(">8I", *(round(1e5 * value) for value in xy))


LIKE_SRGB = primaries(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_RGB = primaries(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PAL = primaries(0.3127, 0.329, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06)


def profiled(profile, cut=None):
    return b"iCCP", b"a\0\0" + zlib.compress(profile)[:cut]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([gamma(0.45455), LIKE_SRGB], "srgb"),
        ([gamma(0.45455)], "srgb"),
        ([(b"sRGB", b"\0")], "srgb"),
        ([(b"sRGB", b"\0"), gamma(1)], "srgb"),
        ([(b"cICP", bytes([1, 13, 0, 1]))], "srgb"),
        ([LIKE_SRGB], None),
        ([gamma(1)], "other"),
        ([gamma(0)], "other"),
        ([gamma(0.55556)], "other"),
        ([ADOBE_RGB], "other"),
        ([PAL], "other"),
        ([(b"cHRM", b"short")], "other"),
        ([gamma(0.45455), ADOBE_RGB], "other"),
        ([(b"cICP", bytes([9, 16, 0, 1])), (b"sRGB", b"\0")], "other"),
        ([(b"cICP", b"")], "other"),
        ([profiled(OTHER)], "other"),
        ([profiled(b"no profile")], "other"),
        ([profiled(SRGB, cut=100)], "other"),
        ([(b"sRGB", b"\0"), profiled(OTHER)], "other"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_pngs_chunks_say_what_its_colours_are(tmp_path, chunks, expected, dtype):
    path = png(tmp_path / "a.png", *chunks, dtype=dtype)
    silent = "srgb" if dtype == "uint8" else "linear"
    taken = {"srgb": "srgb", "other": "refused", None: silent}[expected]
    assert coloured(path, white=255) == (expected, taken)
    assert seen(path, white=255, encoding="linear").encoding == "linear"


def box(method, body):
    return struct.pack(">I4s3B", 11 + len(body), b"colr", method, 0, 0) + body


def enumerated(number):
    return box(1, struct.pack(">I", number))


def jp2(path, said, dtype="uint8"):
    """A JPEG 2000 file whose header says this of its colours."""
    data = written(path, "JP2OpenJPEG", dtype).read_bytes()
    at, header = data.index(b"colr") - 4, data.index(b"jp2h") - 4
    size = int.from_bytes(data[header : header + 4]) + len(said) - 15
    start = data[:header] + struct.pack(">I", size) + data[header + 4 : at]
    path.write_bytes(start + said + data[at + 15 :])
    return path


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (enumerated(16), None),
        (enumerated(17), None),
        (b"", None),
        (box(2, SRGB), "srgb"),
        (box(3, SRGB), "srgb"),
        (enumerated(18), "other"),
        (enumerated(14), "other"),
        (box(2, OTHER), "other"),
        (box(2, b"no profile"), "other"),
        (box(4, bytes(16)), "other"),
        (box(1, b""), "other"),
        (enumerated(16) + enumerated(18), None),
        (enumerated(18) + enumerated(16), "other"),
    ],
)
def test_a_jpeg_2000s_box_says_what_its_colours_are(tmp_path, said, expected):
    path = jp2(tmp_path / "a.jp2", said)
    assert coloured(path) == (expected, "refused" if expected == "other" else "srgb")


def test_srgb_that_a_format_asks_for_is_no_word_on_more_than_8_bits(tmp_path):
    path = jp2(tmp_path / "a.jp2", enumerated(16), "uint16")
    assert coloured(path, white=4095) == ("other", "refused")
    assert seen(path, white=4095, encoding="linear").encoding == "linear"
    with rasterio.open(path, "r+") as file:
        file.scales = [1e-4] * 3
    assert coloured(path) == (None, "linear")
    grey = jp2(tmp_path / "b.jp2", enumerated(17), "uint16")
    assert coloured(grey, white=4095) == (None, "linear")


def test_scale_goes_before_srgb_that_is_said_lightly(tmp_path):
    path = jp2(tmp_path / "a.jp2", enumerated(16))
    with rasterio.open(path, "r+") as file:
        file.scales = [1 / 200] * 3
    assert coloured(path) == (None, "linear")


def exif(number, interoperability=None):
    found = Image.Exif()
    inner = found.get_ifd(0x8769)
    inner[0xA001] = number
    if interoperability:
        inner[0xA005] = {1: interoperability}
    found[0x8769] = inner
    return found


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (exif(1, "R98"), None),
        (exif(65535, "R03"), "other"),
        (exif(65535), "other"),
        (exif(2), "other"),
    ],
)
def test_exif_says_what_colours_are_where_nothing_else_does(tmp_path, ending, said, expected):
    path, image = tmp_path / f"a.{ending}", Image.fromarray(values("uint8").transpose(1, 2, 0))
    image.save(path, exif=said)
    assert coloured(path) == (expected, "refused" if expected else "srgb")
    image.save(path, exif=said, icc_profile=SRGB)
    assert coloured(path) == ("srgb", "srgb")


def test_exif_of_linear_values_may_be_that_of_the_photograph(tmp_path):
    path = written(tmp_path / "a.tif", "GTiff", "uint16")
    assert coloured(path, white=4095) == (None, "linear")
    # As exiftool does, which copies the tags of a camera's JPEG.
    data, inner = bytearray(path.read_bytes()), struct.pack("<H2HI2HI", 1, 0xA001, 3, 1, 1, 0, 0)
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = data[at + 2 : at + 2 + 12 * count]
    place = len(data)
    pointer = struct.pack("<2H2I", 0x8769, 4, 1, place)
    data += inner + struct.pack("<H", count + 1) + entries + pointer + bytes(4)
    data[4:8] = struct.pack("<I", place + len(inner))
    path.write_bytes(data)
    assert coloured(path, white=4095) == ("other", "refused")


LINEAR = ", ".join(str(round(65535 * value / 255)) for value in range(256))


@pytest.mark.parametrize(
    ("green", "white", "curve", "expected"),
    [
        ("0.3, 0.6, 1", "0.3127, 0.329, 1", None, "srgb"),
        ("0.21, 0.71, 1", "0.3127, 0.329, 1", None, "other"),
        ("0.3, 0.6, 1", "0.3457, 0.3585, 1", None, "other"),
        ("0.3, 0.6, 1", "0.3127, 0.329, 1", LINEAR, "other"),
    ],
)
def test_a_tiffs_colorimetry_says_what_its_colours_are(tmp_path, green, white, curve, expected):
    path, said = tmp_path / "a.tif", {"SOURCE_PRIMARIES_RED": "0.64, 0.33, 1"}
    said |= {"SOURCE_PRIMARIES_GREEN": green, "SOURCE_PRIMARIES_BLUE": "0.15, 0.06, 1"}
    said |= {"SOURCE_WHITEPOINT": white}
    if curve:
        said |= {f"TIFFTAG_TRANSFERFUNCTION_{band}": curve for band in ("RED", "GREEN", "BLUE")}
    written(path, "GTiff", **said)
    assert coloured(path) == (expected, "refused" if expected == "other" else "srgb")


def test_a_profile_of_which_a_part_is_missing_is_none_of_srgb(tmp_path):
    path = photograph(tmp_path / "a.jpg", SRGB + bytes(70_000))
    assert coloured(path) == ("srgb", "srgb")
    data = path.read_bytes()
    second = data.rindex(b"ICC_PROFILE\0") - 4
    path.write_bytes(
        data[:second] + data[second + 2 + int.from_bytes(data[second + 2 : second + 4]) :]
    )
    assert coloured(path) == ("other", "refused")
