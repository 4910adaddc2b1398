import pickle
import zipfile
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from pipeline import mosaic
from pipeline.camera import load_camera
from pipeline.errors import Refusal
from pipeline.exposure import scale_of, scene_scale
from pipeline.grid import Window
from pipeline.mosaic import MosaicScene, matching, open_scene
from pipeline.scene import RasterScene
from tests.toys import Toy, objects, stream

TRANSFORM = Affine(0.3, 0, 350000.7, 0, -0.3, 4060000.1)
HEIGHT, WIDTH = 60, 70


def save(path, values, row=0, col=0, transform=TRANSFORM, **profile):
    profile = {"crs": 32632, "nodata": 0, "dtype": values.dtype, **profile}
    place = transform @ Affine.translation(col, row)
    size = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", transform=place, **size, **profile) as file:
        file.write(values)
    return str(path)


def whole(seed=0):
    random = np.random.default_rng(seed)
    values = random.integers(1, 200, (3, HEIGHT, WIDTH), np.uint8)
    values[:, random.random((HEIGHT, WIDTH)) < 0.1] = 0
    return values


def cut(folder, values, windows):
    return [
        save(folder / f"{number:03d}.tif", values[:, *w.slices], w.row, w.col)
        for number, w in enumerate(windows)
    ]


@pytest.fixture
def sheets(tmp_path):
    """One raster, and the same in six sheets of which some overlap."""
    values = whole()
    rows, cols = ((0, 25), (25, 35)), ((0, 20), (15, 30), (45, 25))
    windows = [Window(r, c, h, w) for r, h in rows for c, w in cols]
    (tmp_path / "sheets").mkdir()
    cut(tmp_path / "sheets", values, windows)
    return save(tmp_path / "whole.tif", values), str(tmp_path / "sheets" / "*.tif")


def test_sheets_are_the_raster_they_were_cut_from(sheets, tmp_path):
    one, many = map(open_scene, sheets)
    assert isinstance(many, MosaicScene)
    for name in ("height", "width", "dtype", "crs_wkt", "declared_white"):
        assert getattr(many, name) == getattr(one, name)
    assert many.transform.almost_equals(one.transform, 1e-6)
    for name, scene in {"a": one, "b": many}.items():
        stream(tmp_path / name, scene, Toy()).run(Window(0, 0, HEIGHT, WIDTH))
    assert objects(tmp_path / "a") == objects(tmp_path / "b")


@given(st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_first_valid_sheet_counts(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("sheets")
    windows = [
        Window(
            data.draw(st.integers(0, 30)),
            data.draw(st.integers(0, 30)),
            data.draw(st.integers(1, 20)),
            data.draw(st.integers(1, 20)),
        )
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    values = [whole(seed)[:, *w.slices] for seed, w in enumerate(windows)]
    paths = [
        save(folder / f"{n}.tif", value, w.row, w.col)
        for n, (value, w) in enumerate(zip(values, windows, strict=True))
    ]
    top, left = min(w.row for w in windows), min(w.col for w in windows)
    scene = MosaicScene.open(paths)
    expected = np.zeros((3, scene.height, scene.width), np.uint8)
    for value, w in reversed(list(zip(values, windows, strict=True))):
        at = w.shifted(-top, -left).slices
        expected[:, *at] = np.where(value.any(axis=0), value, expected[:, *at])
    got, valid = scene.read(Window(0, 0, scene.height, scene.width))
    np.testing.assert_array_equal(valid, expected.any(axis=0))
    np.testing.assert_array_equal(np.where(valid, got, 0), expected)


def test_threads_keep_few_sheets_open_and_pickles_none(sheets, monkeypatch):
    monkeypatch.setattr(mosaic, "OPEN", 2)
    one, many = map(open_scene, sheets)
    windows = [Window(r, c, 20, 30) for r in range(0, 40, 5) for c in range(0, 40, 5)]
    with ThreadPoolExecutor(3) as pool:
        for window, (got, valid) in zip(windows, pool.map(many.read, windows), strict=True):
            expected, known = one.read(window)
            np.testing.assert_array_equal(valid, known)
            np.testing.assert_array_equal(got[:, valid], expected[:, known])
        opened = sum(not d.closed for s in many.sheets for d in s._pixels._opened)
        assert opened <= 3 * 2
    copy = pickle.loads(pickle.dumps(many))
    assert copy == many
    np.testing.assert_equal(copy.read(windows[0]), many.read(windows[0]))


def test_its_header_names_every_sheet(sheets):
    header = open_scene(sheets[1]).header
    assert len(header["sheets"]) == 6
    assert header == open_scene(sheets[1]).header


def other(**kind):
    return lambda folder: save(folder / "1.tif", whole(), 0, WIDTH, **kind)


UNFIT = {
    "crs": (other(crs=32633), "crs_wkt"),
    "pixel size": (other(transform=TRANSFORM @ Affine.scale(1.01)), "pixel size"),
    "grid": (other(transform=TRANSFORM @ Affine.translation(0.4, 0)), "one grid"),
    "type": (lambda folder: save(folder / "1.tif", whole().astype("uint16"), 0, 9), "dtype"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_sheets_that_do_not_fit_are_refused(tmp_path, case):
    make, said = UNFIT[case]
    first = save(tmp_path / "0.tif", whole())
    with pytest.raises(Refusal, match=said):
        MosaicScene.open([first, make(tmp_path)])


def test_8_bit_sheets_of_which_one_says_srgb_are_alike(tmp_path):
    first, other = save(tmp_path / "0.tif", whole()), save(tmp_path / "1.tif", whole(), 0, WIDTH)
    with rasterio.open(other, "r+") as file:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        file.update_tags(ns="COLOR_PROFILE", SOURCE_ICC_PROFILE=b64encode(profile).decode())
    assert [RasterScene.open(uri).colours for uri in (first, other)] == [None, "srgb"]
    assert MosaicScene.open([first, other]).width == 2 * WIDTH


def test_a_pattern_that_matches_nothing_is_refused_and_a_file_of_that_name_is_a_file(tmp_path):
    with pytest.raises(Refusal, match="matches a file"):
        open_scene(str(tmp_path / "*.tif"))
    assert isinstance(open_scene(save(tmp_path / "a*.tif", whole())), RasterScene)


def test_sheets_with_gaps_have_a_scale_of_their_own(tmp_path):
    # Between the first windows of their union.
    values = np.random.default_rng(0).integers(1, 100, (3, 90, 90), np.uint8)
    places = {"a": (0, 400), "b": (1500, 0), "c": (1500, 2400), "d": (3000, 400)}
    for times in (1, 2):
        for name, (row, col) in places.items():
            save(tmp_path / f"{name}{times}.tif", times * values, row, col)
    camera = load_camera("srgb").reading("linear", 255.0)
    dim, bright = (scene_scale(open_scene(str(tmp_path / f"*{n}.tif")), camera) for n in (1, 2))
    assert dim == pytest.approx(scale_of(camera.decode(values)))
    assert bright == pytest.approx(2 * dim)


@pytest.mark.parametrize("kind", ["here", "from afar", "kept"])
def test_members_of_an_archive_are_sheets(sheets, tmp_path, kind):
    path, pattern = sheets
    archive = tmp_path / "z.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in matching(pattern):
            file.write(name, f"sheets/{name.rpartition('/')[2]}")
    fsspec.filesystem("memory").put(str(archive), "/archives/z.zip")
    fsspec.filesystem("memory").put(pattern.rpartition("/")[0], "/archives/", recursive=True)
    of = {
        "here": f"zip://sheets/*.tif::{archive}",
        "from afar": "zip://sheets/*.tif::memory://archives/z.zip",
        "kept": "simplecache::memory://archives/sheets/*.tif",
    }
    before, _, after = of[kind].partition("*")
    names = matching(of[kind])
    assert len(names) == 6
    assert all(name.startswith(before[:12]) and name.endswith(after) for name in names)
    scene, wanted = open_scene(of[kind]), RasterScene.open(path)
    window = Window(0, 0, HEIGHT, WIDTH)
    for got, known in zip(scene.read(window), wanted.read(window), strict=True):
        np.testing.assert_array_equal(got, known)


@pytest.mark.parametrize("sign", ["[1]", "?", "[!1]", "[", "]"])
def test_only_a_star_stands_for_others(tmp_path, sign):
    for folder in (f"a{sign}", "a1", "a2", "a"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.tif").touch()
    files = fsspec.filesystem("memory")
    files.put(str(tmp_path), "/signs", recursive=True)
    assert matching(f"{tmp_path}/a{sign}/*.tif") == [f"{tmp_path}/a{sign}/x.tif"]
    assert matching(f"memory://signs/a{sign}/*.tif") == [f"memory:///signs/a{sign}/x.tif"]
    assert len(matching(f"{tmp_path}/a*/*.tif")) == 4
    files.rm("/signs", recursive=True)


@pytest.mark.parametrize(("bits", "end"), [((12, 12), 4095), ((12, 14), None)])
def test_values_end_where_all_sheets_say_they_do(tmp_path, bits, end):
    values = np.full((3, 8, 8), 100, np.uint16)
    for number, few in enumerate(bits):
        save(tmp_path / f"{number}.tif", values, col=8 * number, NBITS=few)
    assert open_scene(f"{tmp_path}/*.tif").declared_end == end
