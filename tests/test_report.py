from itertools import count
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from skimage.io import imread

from pipeline import report
from pipeline.camera import SRGB, load_camera
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.curve import to_srgb
from pipeline.grid import Window
from pipeline.layout import NOTE
from pipeline.overview import halved
from pipeline.picture import true_picture
from pipeline.report import distinct_pixels, quicklook, write_quicklook, write_spectra
from pipeline.view import CubeView

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
CAMERA = load_camera(SRGB)
NM = np.array(WAVELENGTHS)
_SERIAL = count()


def view_of(values: np.ndarray, valid: np.ndarray | None = None, chunk: int = 16) -> CubeView:
    _, height, width = values.shape
    spec = CubeSpec(height, width, WAVELENGTHS, chunk, "float32", settings={"model": "toy"})
    cube = SpectralCube.create(f"memory://report-{next(_SERIAL)}.zarr", spec)
    mask = np.ones((height, width), bool) if valid is None else valid
    cube.write(Window(0, 0, height, width), values, mask)
    return CubeView.open(cube.uri)


def picture(values: np.ndarray, valid: np.ndarray | None = None, longest: int = 2048) -> np.ndarray:
    return true_picture(view_of(values, valid), longest)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((31, height, width), np.float32)


def humps(height: int, width: int) -> np.ndarray:
    """A grey scene with six pixels of six spectra, (0, 4 * k)."""
    values = np.full((31, height, width), 0.5, np.float32)
    for k in range(6):
        values[:, 0, 4 * k] = np.exp(-(((NM - 425 - 50 * k) / 25) ** 2))
    return values


def test_a_part_says_where_it_begins() -> None:
    spec = CubeSpec(24, 24, WAVELENGTHS, 16, "float32", settings={"window": [37, 41, 24, 24]})
    cube = SpectralCube.create(f"memory://report-{next(_SERIAL)}.zarr", spec)
    cube.write(Window(0, 0, 24, 24), humps(24, 24), np.ones((24, 24), bool))
    view = CubeView.open(cube.uri)
    figure = report.spectra_figure(view, quicklook(view), distinct_pixels(view))
    told = "Rows and columns are the cube's, which begins at row 37, column 41 of the scene."
    assert figure.get_supxlabel() == view.begins == told
    assert view_of(noise(4, 4)).begins == ""


def test_a_quicklook_is_the_cube_through_the_camera() -> None:
    values = noise(40, 50)
    image = picture(values)
    expected = np.rint(255 * to_srgb(CAMERA.render(values))).transpose(1, 2, 0)
    assert (image.shape, image.dtype) == ((40, 50, 4), np.uint8)
    assert np.abs(image[..., :3] - expected).max() <= 1  # a last bit, where it rounds
    assert (image[..., 3] == 255).all()


def test_a_quicklook_is_not_stretched() -> None:
    for value, pixel in ((1, 255), (4, 255), (0.0, 0), (0.2, 124)):
        image = picture(np.full((31, 3, 3), value, np.float32))
        np.testing.assert_array_equal(image[..., :3], pixel)


def test_nodata_is_transparent_black() -> None:
    valid = np.random.default_rng(1).random((40, 50)) < 0.5
    image = picture(noise(40, 50), valid)
    np.testing.assert_array_equal(image[..., 3], np.where(valid, 255, 0))
    assert not image[~valid].any()


@pytest.mark.parametrize(
    ("longest", "factor"), [(64, 1), (63, 1), (32, 2), (31, 2), (16, 4), (8, 4)]
)
def test_a_large_cube_is_drawn_from_an_overview(longest: int, factor: int) -> None:
    values = noise(48, 64)
    valid = np.random.default_rng(1).random((48, 64)) < 0.8
    level = np.where(valid, values, np.float32(np.nan))
    for _ in range(factor // 2):
        level = halved(level)
    rows, cols = (
        ((np.arange(round(longest * n / 64)) + 0.5) * n / round(longest * n / 64) // factor)
        for n in (48, 64)
    )
    part = level[:, rows.astype(int)[:, None], cols.astype(int)]
    found = picture(values, valid, longest)
    np.testing.assert_array_equal(found, picture(np.nan_to_num(part), ~np.isnan(part[0])))


def test_a_large_picture_reads_as_many_chunks_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = picture(noise(48, 64), longest=32)
    monkeypatch.setattr("pipeline.view.MOST_CHUNKS", 1)
    np.testing.assert_array_equal(picture(noise(48, 64), longest=32), plain)


def test_a_written_quicklook_is_the_same_and_says_what_it_is(tmp_path: Path) -> None:
    valid = np.ones((20, 30), bool)
    valid[:4] = False
    view = view_of(noise(20, 30), valid)
    write_quicklook(view, quicklook(view), tmp_path / "a.png")
    np.testing.assert_array_equal(imread(tmp_path / "a.png"), true_picture(view, 30))
    assert NOTE.encode() in (tmp_path / "a.png").read_bytes()
    assert b'{"model": "toy"}' in (tmp_path / "a.png").read_bytes()


def test_spectra_are_those_of_the_distinct_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, drawn = humps(24, 32), []
    plain = Axes.plot

    def watched(self: Axes, nm: object, spectrum: np.ndarray, **style: str) -> object:
        drawn.append((nm, spectrum, style["label"], style["color"]))
        return plain(self, nm, spectrum, **style)

    monkeypatch.setattr(Axes, "plot", watched)
    view = view_of(values)
    write_spectra(view, quicklook(view), tmp_path / "a.png")
    assert len(drawn) == len({color for *_, color in drawn}) == 6
    for nm, spectrum, label, _ in drawn:
        row, col = (int(word.strip(",")) for word in label.split()[2::2])
        assert nm == WAVELENGTHS
        np.testing.assert_array_equal(spectrum, values[:, row, col])
    humped = [label for *_, label, _ in drawn if "row 0, column" in label]
    assert len(humped) >= 5  # the first is the grey, the most typical


def test_dark_and_invalid_pixels_are_not_chosen() -> None:
    values, valid = humps(24, 32), np.ones((24, 32), bool)
    values[:, 0, 0] *= 0.01
    valid[0, 4] = False
    places = {(pixel.row, pixel.col) for pixel in distinct_pixels(view_of(values, valid))}
    assert {(0, 8), (0, 12), (0, 16), (0, 20)} < places
    assert not {(0, 0), (0, 4)} & places


def test_chosen_pixels_are_in_the_cubes_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_CANDIDATES", 8)
    values = noise(40, 50)
    pixels = distinct_pixels(view_of(values))
    assert len(pixels) == 6
    for pixel in pixels:
        assert pixel.row in range(2, 40, 5)
        assert pixel.col in (np.arange(8) * 2 + 1) * 50 // 16
        np.testing.assert_array_equal(pixel.spectrum, values[:, pixel.row, pixel.col])


def test_a_uniform_cube_has_one_distinct_spectrum() -> None:
    assert len(distinct_pixels(view_of(np.full((31, 9, 9), 0.3, np.float32)))) == 1


def test_the_figure_is_the_same_each_time(tmp_path: Path) -> None:
    view = view_of(noise(20, 30))
    for name in ("a.png", "b.png"):
        write_spectra(view, quicklook(view), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert NOTE.encode() in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (17, 16)])
@pytest.mark.parametrize("content", ["noise", "black", "nodata"])
def test_no_cube_is_too_small_or_too_empty(
    tmp_path: Path, shape: tuple[int, int], content: str
) -> None:
    values = noise(*shape) * (content != "black")
    view = view_of(values, np.full(shape, content != "nodata"))
    write_quicklook(view, quicklook(view), tmp_path / "a.png")
    write_spectra(view, quicklook(view), tmp_path / "b.png")
    assert imread(tmp_path / "a.png").shape == (*shape, 4)
    assert imread(tmp_path / "b.png").shape == (750, 1800, 4)
