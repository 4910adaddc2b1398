import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.color import xyz2rgb
from typer.testing import CliRunner

from flows.cli import app
from pipeline.camera import (
    LIBRARY,
    SRGB,
    Camera,
    library,
    load_camera,
    resampled,
)
from pipeline.curve import encoded, to_srgb
from pipeline.errors import Refusal
from pipeline.fit import write_camera
from pipeline.light import Light
from pipeline.table import averaged

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
TABLE = "wavelength_nm,red,green,blue\n400,0,0,1\n500,0,1,1\n600,2,1,0\n"
NM = np.array(WAVELENGTHS)
# Lindbloom's Bradford adaptation of XYZ from equal-energy white to D65.
D65_FROM_E = [
    [0.9531874, -0.0265906, 0.0238731],
    [-0.0382467, 1.0288406, 0.0094060],
    [0.0026068, -0.0030332, 1.0892565],
]


def camera(encoding: str = "linear", white: float = 1) -> Camera:
    return load_camera(SRGB).reading(encoding, white)  # type: ignore[arg-type]


def decoded(value: float) -> float:
    """IEC 61966-2-1, as the standard writes it."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", library())
def test_every_library_camera_sees_white(name: str) -> None:
    loaded = load_camera(name)
    assert (loaded.name, loaded.wavelengths) == (name, WAVELENGTHS)
    assert loaded.sensitivities.shape == (3, 31)
    assert loaded.sensitivities.dtype == np.float32
    assert np.isfinite(loaded.sensitivities).all()
    np.testing.assert_allclose(loaded.sensitivities.sum(axis=1), 1, atol=1e-6)
    white = loaded.render(np.ones((31, 2, 5), np.float32))
    assert (white.shape, white.dtype) == ((3, 2, 5), np.float32)
    np.testing.assert_allclose(white, 1, atol=1e-6)


def test_the_library_has_srgb_and_the_ntire_camera() -> None:
    assert {SRGB, "basler-a2a5320-23uc"} <= set(library())


def test_rendering_is_a_weighted_sum() -> None:
    cube = np.random.default_rng(0).random((31, 4, 6), np.float32)
    seen = load_camera("nikon-d700")
    expected = np.einsum("cw,wyx->cyx", seen.sensitivities.astype(np.float64), cube)
    np.testing.assert_allclose(seen.render(cube), expected, rtol=1e-5)
    np.testing.assert_array_equal(seen.render(cube[:, ::2, ::-1]), seen.render(cube)[:, ::2, ::-1])


@given(st.floats(0, 1, width=32))
def test_decoding_undoes_to_srgb(value: float) -> None:
    linear = np.full((3, 1, 1), value, np.float32)
    np.testing.assert_allclose(camera("srgb").decode(to_srgb(linear)), linear, atol=2e-6)


@pytest.mark.parametrize("white", [255.0, 200.0])
def test_the_table_of_uint8_equals_the_formula(white: float) -> None:
    values = np.tile(np.arange(256, dtype=np.uint8), (3, 1, 1))
    got = camera("srgb", white).decode(values)
    np.testing.assert_array_equal(got, camera("srgb", white).decode(values.astype(np.float32)))
    light = [decoded(v / 255) / decoded(white / 255) for v in range(256)]
    np.testing.assert_allclose(got[0, 0], light, rtol=1e-5)
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "last"),
    [("uint8", 255), ("uint16", 65535), ("uint16", 4095), ("float32", 1), ("float32", 255)],
)
@pytest.mark.parametrize("exposure", [0.125, 0.5, 1, 1.5])
def test_white_is_a_share_of_light_not_of_pixel_values(
    dtype: str, last: int, exposure: float
) -> None:
    """A picture that was exposed otherwise is as bright, once its white is told."""
    light = np.linspace(0.001, 0.6, 50, dtype=np.float32)
    values = last * to_srgb(exposure * light)
    white = last * float(encoded(np.float32(exposure)))
    if exposure > 1 and dtype == "uint16":
        return  # which bits it has is not known then
    whole = np.rint(values) if dtype != "float32" else values
    got = camera("srgb", white).decode(np.tile(whole.astype(dtype), (3, 1, 1)))
    step = 1 / last / exposure if dtype != "float32" else 1e-5
    np.testing.assert_allclose(got[0, 0], light, rtol=1e-3, atol=2 * step)


def test_8_bits_end_at_255_whatever_white_is() -> None:
    values = np.arange(256, dtype=np.uint8)[None, None].repeat(3, axis=0)
    one, other = (camera("srgb", white).decode(values) for white in (511, 510.99))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_of_8_bits_too_what_is_too_bright_is_refused() -> None:
    values = np.full((3, 1, 2), 200, np.uint8)
    with pytest.raises(Refusal, match=r"1000 times white; got 200"):
        camera("srgb", 1).decode(values)
    assert (camera("srgb", 1).decode(values // 20) < 1000).all()


def test_every_uint8_value_comes_back() -> None:
    values = np.tile(np.arange(256, dtype=np.uint8), (3, 1, 1))
    again = np.rint(255 * to_srgb(camera("srgb", 255).decode(values)))
    np.testing.assert_array_equal(again, values)


def test_to_srgb_clips() -> None:
    beyond = np.array([-1, 0, 1, 7], np.float32)
    np.testing.assert_allclose(to_srgb(beyond), [0, 0, 1, 1], atol=1e-7)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 10000), ("float32", 0.5)])
def test_linear_values_are_divided_by_white(dtype: str, white: float) -> None:
    values = np.array([0, white, white // 2], dtype).reshape(3, 1, 1)
    got = camera("linear", white).decode(values)
    np.testing.assert_allclose(got.ravel(), values.ravel() / white, rtol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("encoding", ["linear", "srgb"])
@pytest.mark.parametrize("name", [SRGB, "nikon-d700"])
def test_nodata_that_is_not_declared_is_no_light(name: str, encoding: str) -> None:
    values = np.full((3, 4, 5), 3000, np.float32)
    lens = load_camera(name).reading(encoding, 10_000)  # type: ignore[arg-type]
    lens.decode(values)
    values[1, 2, 3] = -9999
    with pytest.raises(Refusal, match=r"got -9999, where white is 10000\. .*-a_nodata -9999"):
        lens.decode(values)
    values[1, 2, 3] = 1e20
    with pytest.raises(Refusal, match=r"got 1e\+20"):
        lens.decode(values)


@given(st.lists(st.floats(0, 1), min_size=31, max_size=31), st.sampled_from(library()))
def test_whatever_reflects_is_light_with_a_little_noise(spectrum: list[float], name: str) -> None:
    lens = load_camera(name)
    rgb = lens.render(np.array(spectrum, np.float32)).reshape(3, 1, 1)
    np.testing.assert_array_equal(lens.decode(rgb - np.float32(0.2)), rgb - np.float32(0.2))


@pytest.mark.parametrize("white", [0, -1, float("nan"), float("inf")])
def test_a_white_that_is_no_pixel_value_is_refused(white: float) -> None:
    with pytest.raises(Refusal, match="white"):
        camera("srgb", white)


@pytest.mark.parametrize(
    "reflectance",
    [np.full(31, 0.2), 0.3 + 0.2 * np.sin(NM / 40), 0.6 * np.exp(-(((NM - 550) / 60) ** 2)) + 0.1],
)
def test_srgb_agrees_with_colorimetry(reflectance: np.ndarray) -> None:
    observer = load_camera(str(LIBRARY / "cie1931.csv"))
    xyz = np.array(D65_FROM_E) @ observer.render(reflectance.astype(np.float32))
    got = to_srgb(load_camera(SRGB).render(reflectance.astype(np.float32)))
    np.testing.assert_allclose(got, xyz2rgb(xyz), atol=2e-3)


@pytest.mark.parametrize(
    ("low", "high", "brightest"), [(600, 700, 0), (500, 590, 1), (400, 490, 2)]
)
def test_srgb_has_the_colours_of_the_spectrum(low: int, high: int, brightest: int) -> None:
    reflectance = ((low <= NM) & (high >= NM)).astype(np.float32)
    assert load_camera(SRGB).render(reflectance).argmax() == brightest


def test_a_csv_is_a_camera(tmp_path: Path) -> None:
    loaded = load_camera(written(tmp_path, "# a comment\n" + TABLE))
    assert (loaded.name, loaded.wavelengths) == ("mine.csv", (400, 500, 600))
    np.testing.assert_allclose(loaded.sensitivities, [[0, 0, 1], [0, 0.5, 0.5], [0.5, 0.5, 0]])


def test_a_csv_from_a_spreadsheet_is_a_camera(tmp_path: Path) -> None:
    loaded = load_camera(written(tmp_path, "\N{BOM}" + TABLE.replace("\n", ",\r\n")))
    assert loaded.wavelengths == (400, 500, 600)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "3 or more rows"),
        ("nm,r,g,b\n400,0,0,1\n", "wavelength_nm"),
        (TABLE.replace("500,0", "500,x"), "table of numbers"),
        (TABLE.replace("500,0,1,1", "500,0"), "table of numbers"),
        (TABLE.replace("green", "red"), "names of their own"),
        (TABLE.replace("500,0", "500,nan"), "finite"),
        (TABLE.replace("600", "500"), "rising"),
        (TABLE.replace("2,1,0", "0,1,0"), "see light"),
        # A difference: its 1e-4 of white would be made 1, and all else ten thousand.
        (TABLE.replace("400,0,0,1", "400,-1.9999,0,1"), "see light.* red with 0.00%"),
        # Decimal commas: 0.5, 1.5 and 2.5 would be 0, 5 and 1.
        (TABLE.replace("500,0,1,1", "500,0,5,1,5,2,5"), "decimal point"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(Refusal, match=rule):
        load_camera(written(tmp_path, text))


def test_a_camera_may_see_less_than_nothing_somewhere(tmp_path: Path) -> None:
    loaded = load_camera(written(tmp_path, TABLE.replace("400,0,0,1", "400,-1,0,1")))
    np.testing.assert_allclose(loaded.sensitivities[0], [-1, 0, 2])


def test_a_camera_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=f"{SRGB}.* or give a CSV"):
        load_camera("no-such-camera")
    with pytest.raises(Refusal, match="readable"):
        load_camera(str(tmp_path / "absent.csv"))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(Refusal, match="readable"):
        load_camera(str(tmp_path / "binary.csv"))


def test_resampling_is_linear_and_keeps_white(tmp_path: Path) -> None:
    known = load_camera(written(tmp_path, TABLE)).reading("srgb", 255)
    finer = resampled(known, (400.0, 450.0, 500.0, 550.0, 600.0))
    np.testing.assert_allclose(finer.sensitivities[0], [0, 0, 0, 1 / 3, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(finer.sensitivities.sum(axis=1), 1, atol=1e-6)
    assert (finer.encoding, finer.white, finer.name) == ("srgb", 255, "mine.csv")
    assert resampled(known, known.wavelengths) is known


@pytest.mark.parametrize("wavelengths", [(390.0, 500.0), (500.0, 610.0)])
def test_a_camera_is_not_extrapolated(tmp_path: Path, wavelengths: tuple[float, ...]) -> None:
    with pytest.raises(Refusal, match="span"):
        resampled(load_camera(written(tmp_path, TABLE)), wavelengths)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(77, 143), max_size=40), st.booleans(), st.integers(0, 2**32))
def test_rows_that_stand_closer_weigh_no_more(
    tmp_path: Path, fives: set[int], lit: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Two are as close as those of the even table.
    at = 5.0 * np.array(sorted({76, 77, *fives, 144}))
    rows, even = random.random((3, len(at))) + 0.1, np.arange(380.0, 721, 5)
    # A lamp: lines on some light.
    lamp = Light("lamp", even, 1 + 50 * (random.random(len(even)) > 0.9)) if lit else None
    seen = []
    for nm, values in ((at, rows), (even, [np.interp(even, at, row) for row in rows])):
        cells = np.column_stack([nm, *values]).tolist()
        lines = "\n".join(",".join(map(str, row)) for row in cells)
        table = written(tmp_path, f"wavelength_nm,red,green,blue\n{lines}\n")
        seen.append(averages(load_camera(table, lamp)))
    np.testing.assert_allclose(*seen, atol=1e-6)


def averages(camera: Camera) -> np.ndarray:
    """As `resampled`, of what responds beyond the wavelengths too."""
    table = camera.sensitivities * np.array(camera.response)[:, None]
    rows = averaged(np.array(camera.wavelengths), table, NM)
    return rows / rows.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("beyond", "fits"), [(0.03, True), (0.08, False)])
def test_what_a_camera_sees_beyond_the_model_is_not_cut_in_silence(
    tmp_path: Path, beyond: float, fits: bool
) -> None:
    # Flat over 300 nm, then a step to 800 nm in green alone.
    far = beyond / (1 - beyond) * 300 / 100
    rows = f"400,1,1,1\n700,1,1,1\n700.001,0,{far},0\n800,0,{far},0\n"
    seen = load_camera(written(tmp_path, f"wavelength_nm,red,green,blue\n{rows}"))
    if fits:
        assert resampled(seen, WAVELENGTHS).wavelengths == WAVELENGTHS
    else:
        with pytest.raises(
            Refusal, match=r"95%.*mine\.csv, green with 8\.0% outside.*infrared-cut"
        ):
            resampled(seen, WAVELENGTHS)
    # A model that goes as far sees it.
    resampled(seen, (*WAVELENGTHS, 800.0))


@pytest.mark.parametrize("name", library())
def test_the_library_may_be_cut_to_what_a_reference_holds(name: str) -> None:
    cut = WAVELENGTHS[5:-5]
    assert resampled(load_camera(name), cut).wavelengths == cut


@pytest.mark.parametrize("encoding", ["srgb", "linear"])
def test_each_band_may_have_its_own_white(encoding: str) -> None:
    values = np.random.default_rng(3).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    whites = (250.0, 200.0, 180.0)
    each = [camera(encoding, white).decode(values)[n] for n, white in enumerate(whites)]
    seen = load_camera(SRGB).reading(encoding, whites)  # type: ignore[arg-type]
    np.testing.assert_array_equal(seen.decode(values), np.stack(each))


@pytest.mark.parametrize("white", [(1.0, 2.0), (1.0, 2.0, -3.0), (1.0, 2.0, 3.0, 4.0)])
def test_a_white_has_one_value_or_three(white: tuple[float, ...]) -> None:
    with pytest.raises(Refusal, match="white"):
        load_camera(SRGB).reading("linear", white)


def test_a_camera_that_is_written_is_read_again(tmp_path: Path) -> None:
    one = load_camera("nikon-d700")
    write_camera(one, tmp_path / "copy.csv", "a copy\nof another")
    np.testing.assert_allclose(
        load_camera(str(tmp_path / "copy.csv")).sensitivities, one.sensitivities, rtol=1e-6
    )


def test_the_library_is_listed_and_shown(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["camera", "list", "--json"])
    assert set(json.loads(listed.output)) == set(library())
    plot = tmp_path / "plot.png"
    shown = run(app, ["camera", "show", "nikon-d700", "--json", "--plot", str(plot)])
    facts = json.loads(shown.output)
    np.testing.assert_allclose(facts["red"], load_camera("nikon-d700").sensitivities[0])
    assert facts["wavelengths_nm"] == list(WAVELENGTHS)
    assert plot.read_bytes().startswith(b"\x89PNG")


ROWS = "400,1,1,1\n500,1,2,1\n700,1,1,3\n"


@pytest.mark.parametrize(
    "head", ["\nwavelength_nm,red,green,blue\n", "wavelength_nm , red,green ,blue\n\n"]
)
def test_a_csvs_blank_lines_and_spaces_do_not_matter(tmp_path: Path, head: str) -> None:
    (tmp_path / "mine.CSV").write_text(head + ROWS)
    assert load_camera(str(tmp_path / "mine.CSV")).wavelengths == (400, 500, 700)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_that_is_parted_otherwise_is_told_so(tmp_path: Path, mark: str) -> None:
    text = f"wavelength_nm,red,green,blue\n{ROWS}".replace(",", mark)
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(Refusal, match="parted by commas"):
        load_camera(str(tmp_path / "mine.csv"))
