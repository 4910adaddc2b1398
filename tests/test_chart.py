from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from flows.cli import app
from pipeline.camera import Camera, Encoding, load_camera, resampled
from pipeline.chart import COLS, ROWS, chart_reflectances, corners_of, read_chart
from pipeline.curve import encoded, from_srgb
from pipeline.errors import Refusal
from pipeline.fit import fit, fit_picture, write_camera
from pipeline.light import load_light
from pipeline.scene import RasterScene

NM = load_camera("srgb").wavelengths
CORNERS = "20,20,120,24,118,84,22,80"


@pytest.fixture(scope="module")
def reflectances() -> np.ndarray:
    pytest.importorskip("colour")
    return chart_reflectances(NM)


DTYPE = np.dtype(np.uint16)


def pixels(camera: Camera, reflectances: np.ndarray, white: np.ndarray) -> np.ndarray:
    seen = camera.render(reflectances.astype(np.float32))
    if camera.encoding == "linear":
        return seen * white[:, None]
    # A picture is exposed in light, not in pixel values.
    last = camera.end(np.dtype(np.uint16))
    light = np.maximum(seen, 0) * from_srgb(white.astype(np.float32) / last)[:, None]
    return last * encoded(light)


@pytest.mark.parametrize(
    ("name", "encoding"), [("srgb", "srgb"), ("nikon-d700", "linear"), ("sony-ilce-9", "linear")]
)
def test_a_camera_is_found_again(name: str, encoding: Encoding, reflectances: np.ndarray) -> None:
    white = np.array([230.0, 180.0, 210.0])
    truth = load_camera(name).reading(encoding, tuple(white.tolist()))
    found = fit(pixels(truth, reflectances, white), reflectances, NM, encoding, DTYPE)
    np.testing.assert_allclose(found.white, white, rtol=0.02)
    assert found.rms < 0.02
    # Materials that are in no chart: what the fitted camera says of them is what the true one does.
    nm = np.array(NM)
    waves = [0.4 + 0.3 * np.sin((nm - 400) / 300 * np.pi * k) for k in range(1, 5)]
    others = np.stack(waves, axis=1).astype(np.float32)
    known = truth.render(others) * (white / np.array(found.white))[:, None]
    np.testing.assert_allclose(found.camera.render(others), known, atol=0.03)


@pytest.mark.parametrize("light", ["E", "A"])
@pytest.mark.parametrize("name", ["srgb", "nikon-d700", "canon-eos-5d", "sony-ilce-9"])
def test_white_is_that_of_the_picture(name: str, light: str, reflectances: np.ndarray) -> None:
    encoding: Encoding = "srgb" if name == "srgb" else "linear"
    truth = resampled(load_camera(name, load_light(light)), NM).reading(encoding, 1e4)
    found = fit(pixels(truth, reflectances, np.full(3, 1e4)), reflectances, NM, encoding, DTYPE)
    np.testing.assert_allclose(found.white[:2], 1e4, rtol=0.01)
    np.testing.assert_allclose(found.white[2], 1e4, rtol=0.02)


@pytest.mark.parametrize("name", ["nikon-d700", "canon-eos-5d"])
def test_a_black_level_is_refused(name: str, reflectances: np.ndarray) -> None:
    truth = load_camera(name).reading("linear", 12_000)
    values = pixels(truth, reflectances, np.full(3, 12_000.0))
    fit(values + 20, reflectances, NM, "linear", DTYPE)
    with pytest.raises(
        Refusal, match=r"black level taken off; got (29|30)\d where white is 12\d\d\d"
    ):
        fit(values + 300, reflectances, NM, "linear", DTYPE)


@pytest.mark.parametrize("white", [100.0, 140.0, 190.0, 250.0])
def test_a_dark_photograph_tells_the_same(white: float, reflectances: np.ndarray) -> None:
    truth = load_camera("srgb").reading("srgb", white)
    found = fit(pixels(truth, reflectances, np.full(3, white)), reflectances, NM, "srgb", DTYPE)
    np.testing.assert_allclose(found.white, white, rtol=0.01)
    assert found.rms < 0.01


@pytest.mark.parametrize("last", [255, 1023, 4095, 16383])
def test_a_white_beyond_the_values_end_is_refused_where_it_would_move_that(
    last: int, reflectances: np.ndarray
) -> None:
    light = np.maximum(load_camera("srgb").render(reflectances.astype(np.float32)), 0)
    with pytest.raises(Refusal, match=f"uint16 values to {last} of white"):
        fit(last * encoded(1.05 * light), reflectances, NM, "srgb", DTYPE)
    # Below it a run makes of the values what the fit did.
    values = np.rint(last * encoded(0.9 * light))
    camera = fit(values, reflectances, NM, "srgb", DTYPE).camera
    seen = camera.decode(values.astype(DTYPE)[..., None])[..., 0]
    np.testing.assert_allclose(seen, light, atol=0.01)


def test_a_chart_in_the_wrong_encoding_or_order_is_refused(reflectances: np.ndarray) -> None:
    white = np.full(3, 255.0)
    values = pixels(load_camera("srgb").reading("srgb", 255), reflectances, white)
    with pytest.raises(Refusal, match="explain"):
        fit(values, reflectances, NM, "linear", DTYPE)
    with pytest.raises(Refusal, match=r"explain|grey"):
        fit(values[:, ::-1], reflectances, NM, "srgb", DTYPE)


def picture(tmp_path: Path, reflectances: np.ndarray) -> Path:
    """A finished photograph of a chart."""
    values = pixels(load_camera("srgb").reading("srgb", 255), reflectances, np.full(3, 255.0))
    return shot(tmp_path, values, np.uint8)


def shot(
    tmp_path: Path, values: np.ndarray, dtype: type, noise: float = 0, end: float = np.inf
) -> Path:
    """A chart seen at a slant, on grey, with noise, clipped at the end of the sensor."""
    image = np.full((3, 100, 140), 90.0)
    x0, y0, x1, y1, x2, y2, x3, y3 = map(float, CORNERS.split(","))
    for row in range(ROWS):
        for col in range(COLS):
            v, u = row / (ROWS - 1), col / (COLS - 1)
            x = (1 - v) * ((1 - u) * x0 + u * x1) + v * ((1 - u) * x3 + u * x2)
            y = (1 - v) * ((1 - u) * y0 + u * y1) + v * ((1 - u) * y3 + u * y2)
            spot = slice(int(y) - 7, int(y) + 8), slice(int(x) - 7, int(x) + 8)
            image[:, *spot] = values[:, row * COLS + col][:, None, None]
    image += noise * np.random.default_rng(0).standard_normal(image.shape)
    path = tmp_path / "shot.tif"
    with rasterio.open(path, "w", driver="GTiff", width=140, height=100, count=3, dtype=dtype,
                       photometric="RGB") as file:  # fmt: skip
        file.write(np.rint(image).clip(0, end).astype(dtype))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_patches_are_read_where_they_are(tmp_path: Path, reflectances: np.ndarray) -> None:
    path = picture(tmp_path, reflectances)
    numbers = [float(n) for n in CORNERS.split(",")]
    corners = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    got = read_chart(RasterScene.open(str(path)), corners)  # type: ignore[arg-type]
    values = pixels(load_camera("srgb").reading("srgb", 255), reflectances, np.full(3, 255.0))
    np.testing.assert_allclose(got, np.rint(values), atol=1e-6)
    found = fit_picture(str(path), CORNERS, "srgb")
    out = tmp_path / "mine.csv"
    write_camera(found.camera, out, "mine\nand no other")
    read = load_camera(str(out))
    np.testing.assert_allclose(read.sensitivities, found.camera.sensitivities, atol=1e-6)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("corners", ["1,2", "0,0,200,0,200,90,0,90", "a,b,c,d,e,f,g,h"])
def test_corners_that_are_none_are_refused(
    tmp_path: Path, corners: str, reflectances: np.ndarray
) -> None:
    with pytest.raises(Refusal, match=r"corners|patch"):
        fit_picture(str(picture(tmp_path, reflectances)), corners, "srgb")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_stray_pixel_at_the_end_clips_no_patch(tmp_path: Path, reflectances: np.ndarray) -> None:
    path = picture(tmp_path, reflectances)
    before = fit_picture(str(path), CORNERS, "srgb")
    col, row = (int(float(n)) for n in CORNERS.split(",")[6:])
    with rasterio.open(path, "r+") as file:
        values = file.read()
        values[:, row, col] = 255
        file.write(values)
    after = fit_picture(str(path), CORNERS, "srgb")
    assert after.white == pytest.approx(before.white, rel=0.01)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("dtype", "noise", "end", "over"),
    [
        (np.uint8, 0, 255, 1.3),
        (np.uint16, 0, 4095, 1.3),
        # A sensor that is full below its bits: white alone in noise, or white and the next grey.
        (np.uint16, 5, 3900, 1.3),
        (np.uint16, 0, 3900, 1.9),
    ],
)
def test_a_chart_with_clipped_greys_is_refused(
    tmp_path: Path, reflectances: np.ndarray, dtype: type, noise: float, end: int, over: float
) -> None:
    encoding: Encoding = "srgb" if dtype is np.uint8 else "linear"
    lens = load_camera("srgb" if dtype is np.uint8 else "nikon-d700").reading(encoding, 1)
    values = pixels(lens, reflectances, np.full(3, end * over))
    with pytest.raises(Refusal, match=r"grey .*clipped; got red and green and blue.*Expose less"):
        fit_picture(str(shot(tmp_path, values, dtype, noise, end)), CORNERS, encoding)
    lit = shot(tmp_path, values / values.max() * 0.95 * end, dtype, noise, end)
    assert fit_picture(str(lit), CORNERS, encoding).rms < 0.02


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_clipped_colours_are_left_out(tmp_path: Path, reflectances: np.ndarray) -> None:
    values = pixels(load_camera("srgb").reading("srgb", 255), reflectances, np.full(3, 255.0))
    values[0, 11], values[2, 12] = 255, 255
    source = str(shot(tmp_path, values, np.uint8))
    got = read_chart(RasterScene.open(source), corners_of(CORNERS))
    assert np.argwhere(np.isnan(got)).tolist() == [[0, 11], [2, 12]]
    found = fit_picture(source, CORNERS, "srgb")
    plain = fit_picture(str(picture(tmp_path, reflectances)), CORNERS, "srgb")
    assert found.white == plain.white
    np.testing.assert_allclose(found.camera.sensitivities, plain.camera.sensitivities, atol=2e-3)
    assert found.rms == pytest.approx(plain.rms, abs=1e-3)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_light_of_a_fitted_camera_counts_once(tmp_path: Path, reflectances: np.ndarray) -> None:
    out, lamp = tmp_path / "mine.csv", tmp_path / "lamp.csv"
    words = ["camera", "fit", str(picture(tmp_path, reflectances)), str(out), "--corners", CORNERS]
    assert CliRunner().invoke(app, words).exit_code == 0
    lamp.write_text("wavelength_nm,power\n390,1\n550,2\n710,9\n")
    load_camera(str(out))
    with pytest.raises(
        Refusal, match=r"includes that picture's light.*mine\.csv in lamp\.csv.*--illuminant"
    ):
        load_camera(str(out), load_light(str(lamp)))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_fit_replaces_no_file_unasked(tmp_path: Path, reflectances: np.ndarray) -> None:
    source, out, plot = (
        picture(tmp_path, reflectances),
        tmp_path / "mine.csv",
        tmp_path / "mine.png",
    )
    given = ["camera", "fit", str(source), str(out), "--corners", CORNERS]
    assert CliRunner().invoke(app, [*given, "--plot", str(plot)]).exit_code == 0
    before = {path: path.read_bytes() for path in (source, out, plot)}
    for words in (
        given,
        [*given[:3], str(source), *given[4:]],
        [*given[:3], str(tmp_path / "new.csv"), *given[4:], "--plot", str(source)],
        ["camera", "show", "srgb", "--plot", str(source)],
    ):
        answer = CliRunner().invoke(app, words)
        assert isinstance(answer.exception, Refusal)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    out.write_text("old")
    assert CliRunner().invoke(app, [*given, "--overwrite"]).exit_code == 0
    assert out.read_bytes() == before[out]


def test_a_fitted_camera_is_a_csv(tmp_path: Path) -> None:
    words = ["camera", "fit", "shot.tif", str(tmp_path / "mine.txt"), "--corners", CORNERS]
    with pytest.raises(Refusal, match=r"CSV, as --camera takes it; got .*mine\.txt"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_the_chart_of_a_real_picture_is_explained(data_root: Path) -> None:
    pytest.importorskip("colour")
    source = str(data_root / "rgb" / "FruitMCC_6500.tif")
    corners = "253,103,661,103,655,358,250,358"
    # Glare: its black patch is a third brighter than black paint is.
    assert fit_picture(source, corners, "srgb").rms < 0.025


@pytest.mark.parametrize(
    "text", ["1,2,3", "a,b,c,d,e,f,g,h", "nan,1,2,3,4,5,6,7", "1,2,3,4,5,6,7,inf"]
)
def test_corners_are_eight_finite_numbers(text):
    with pytest.raises(Refusal, match="eight numbers"):
        corners_of(text)


@pytest.mark.parametrize(("plot", "said"), [("a.foo", "PNG or SVG"), ("none/a.png", "folder")])
def test_a_plot_is_looked_at_before_any_work(tmp_path: Path, plot: str, said: str) -> None:
    out = tmp_path / "mine.csv"
    words = ["camera", "fit", "shot.tif", str(out), "--corners", CORNERS]
    with pytest.raises(Refusal, match=said):
        CliRunner().invoke(app, [*words, "--plot", str(tmp_path / plot)], catch_exceptions=False)
    assert not out.exists()


@pytest.mark.parametrize("white", [900.0, 2000.0, 3800.0])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_fit_ends_the_curve_where_a_run_does(tmp_path, reflectances, white):
    """The file says 12 bits: by the values alone a dark picture would end at 1023."""
    seen = pixels(load_camera("srgb").reading("srgb", 4095), reflectances, np.full(3, white))
    with rasterio.open(shot(tmp_path, seen, np.uint16)) as file:
        values = file.read()
    out = tmp_path / "twelve.tif"
    profile = {"driver": "GTiff", "dtype": "uint16", "nbits": 12, "count": 3}
    profile |= {"height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(out, "w", **profile) as file:
        file.write(values)
    np.testing.assert_allclose(fit_picture(str(out), CORNERS, "srgb").white, white, rtol=0.01)


@pytest.mark.parametrize("wavelengths", [(0.4, 0.5, 0.7), (400.0, 1000.0), (300.0, 500.0)])
def test_the_charts_reflectances_are_known_where_they_were_measured(wavelengths):
    with pytest.raises(Refusal, match="measured at 380 to 730 nm"):
        chart_reflectances(wavelengths)
    assert chart_reflectances((400.0, 700.0)).shape == (2, 24)
