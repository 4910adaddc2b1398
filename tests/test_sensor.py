from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import Refusal
from pipeline.sensor import SENSORS, gaussian_bands, load_sensor

NM = tuple(float(nm) for nm in range(400, 701, 10))


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SENSORS)
def test_a_straight_spectrum_is_seen_at_a_bands_centre(name: str) -> None:
    pytest.importorskip("Py6S")
    sensor = load_sensor(name, NM)
    np.testing.assert_allclose(sensor.weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(sensor.weights @ np.array(NM), sensor.centres, atol=1e-3)
    assert (np.diff(sensor.centres) > 0).all()


def test_bands_are_where_their_agencies_say() -> None:
    pytest.importorskip("Py6S")
    # ESA and USGS: central wavelengths, nm.
    known = {
        "sentinel-2a": {"B1": 442.7, "B2": 492.4, "B3": 559.8, "B4": 664.6},
        "landsat-8": {"B1": 443.0, "B2": 482.0, "B3": 561.4, "B4": 654.6, "B8": 589.5},
    }
    for name, bands in known.items():
        sensor = load_sensor(name, NM)
        assert sensor.bands == tuple(sorted(bands, key=bands.__getitem__))
        np.testing.assert_allclose(sensor.centres, sorted(bands.values()), atol=3)


def test_a_csv_is_a_sensor(tmp_path: Path) -> None:
    text = "# mine\nwavelength_nm,a,b\n440,1,0\n450,1,1\n460,1,3\n"
    sensor = load_sensor(written(tmp_path, text), NM)
    assert (sensor.name, sensor.bands) == ("mine.csv", ("a", "b"))
    np.testing.assert_allclose(sensor.weights[0, 4:7], [1 / 4, 1 / 2, 1 / 4], atol=1e-6)
    np.testing.assert_allclose(sensor.weights[1, 4:7], [1 / 15, 7 / 15, 7 / 15], atol=1e-6)
    np.testing.assert_allclose(sensor.centres, [450, 454])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(4000, 7000), min_size=3, max_size=9), st.integers(0, 2**32))
def test_a_band_is_the_integral_of_spectrum_times_response(
    tmp_path: Path, tenths: set[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Rows a tenth of a nm apart are jumps.
    at = np.array(sorted({*tenths, min(tenths) + 1})) / 10
    response, spectrum = 0.1 + random.random(len(at)), random.random(31)
    rows = "".join(f"{nm},{value}\n" for nm, value in zip(at, response, strict=True))
    sensor = load_sensor(written(tmp_path, f"wavelength_nm,a\n{rows}"), NM)
    fine = np.linspace(at[0], at[-1], 1 + int(np.rint(np.ptp(at) * 100)))
    weight = np.interp(fine, at, response)
    area = np.trapezoid(weight, fine)
    exact = np.trapezoid(weight * np.interp(fine, NM, spectrum), fine) / area
    assert sensor.weights[0] @ spectrum == pytest.approx(exact, abs=1e-5)
    assert sensor.centres[0] == pytest.approx(np.trapezoid(weight * fine, fine) / area, abs=1e-3)
    above = fine[weight >= response.max() / 2]
    assert sensor.fwhm[0] == pytest.approx(np.ptp(above), abs=0.021)


def test_values_that_stand_closer_do_not_weigh_more(tmp_path: Path) -> None:
    even = "wavelength_nm,a\n420,0\n440,1\n460,1\n480,0\n"
    dense = "wavelength_nm,a\n420,0\n440,1\n455,1\n457,1\n459,1\n460,1\n480,0\n"
    one, other = (load_sensor(written(tmp_path, text), NM) for text in (even, dense))
    np.testing.assert_allclose([one.centres, other.centres], 450)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-7)


def test_a_band_beyond_the_cube_is_refused(tmp_path: Path) -> None:
    text = "wavelength_nm,red,nir\n600,1,0\n699,1,1\n700,0,1\n800,0,1\n"
    with pytest.raises(Refusal, match=r"mine\.csv nir"):
        load_sensor(written(tmp_path, text), NM)


@pytest.mark.parametrize(
    "rows", ["300,0\n420,1\n450,0", "380,0\n420,1\n460,0", "500,0\n510,0\n520,0"]
)
def test_what_lies_between_the_rows_counts_as_beyond_the_cube(tmp_path: Path, rows: str) -> None:
    with pytest.raises(Refusal, match="99%"):
        load_sensor(written(tmp_path, f"wavelength_nm,a\n{rows}\n"), NM)


def test_a_hundredth_beyond_the_cube_is_let_through(tmp_path: Path) -> None:
    # A triangle whose tail beyond 400 nm is (4 / 44)^2 of its left half: 0.4 %.
    sensor = load_sensor(written(tmp_path, "wavelength_nm,a\n396,0\n440,1\n484,0\n"), NM)
    assert sensor.weights[0].sum() == pytest.approx(1)


def test_an_unknown_sensor_is_refused() -> None:
    with pytest.raises(Refusal, match="sensor"):
        load_sensor("sentinel-9", NM)


@pytest.mark.parametrize(
    "first", ["440,0", "wavelength_um,a", "nm,a", "wavelength_nm", "wavelength_nm,"]
)
def test_a_csv_must_name_its_columns(tmp_path: Path, first: str) -> None:
    """A first row of numbers would be lost for names, and wavelengths may be of another unit."""
    rows = "450,1\n460,1\n470,1\n480,0\n"
    with pytest.raises(Refusal, match=rf"begins with wavelength_nm, .*{first}. in mine\.csv"):
        load_sensor(written(tmp_path, f"# mine\n{first}\n{rows}"), NM)


def test_a_response_below_zero_is_refused_but_for_noise(tmp_path: Path) -> None:
    text = "wavelength_nm,a\n450,0\n460,{}\n500,1\n510,0\n"
    with pytest.raises(Refusal, match=r"0 or more, .*-0\.33 in mine\.csv a"):
        load_sensor(written(tmp_path, text.format(-0.33)), NM)
    load_sensor(written(tmp_path, text.format(-0.003)), NM)


def test_an_empty_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="begins with wavelength_nm"):
        load_sensor(written(tmp_path, ""), NM)


@pytest.mark.parametrize("text", ["nan:65", "inf:65", "490:nan", "490", "a:b"])
def test_gaussian_bands_are_finite(text: str) -> None:
    with pytest.raises(Refusal, match=r"pairs of numbers|nm wide or wider"):
        gaussian_bands(text, NM)


def test_bands_of_one_centre_are_refused() -> None:
    with pytest.raises(Refusal, match="differ in their centres"):
        gaussian_bands("550:10,550:40", NM)
