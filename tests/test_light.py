from pathlib import Path

import numpy as np
import pytest

from pipeline.camera import LIBRARY, load_camera
from pipeline.errors import Refusal
from pipeline.light import load_light, measured_lights

NM = np.arange(400.0, 701, 10)


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "lamp.csv"
    path.write_text(text)
    return str(path)


def test_equal_energy_is_what_no_light_means() -> None:
    for name in ("srgb", "nikon-d700"):
        plain = load_camera(name).sensitivities
        np.testing.assert_array_equal(load_camera(name, load_light("E")).sensitivities, plain)


@pytest.mark.parametrize("name", ["srgb", "nikon-d700"])
def test_a_camera_in_a_light_sees_white_as_white_and_weighs_by_its_power(
    tmp_path: Path, name: str
) -> None:
    lamp = written(tmp_path, "wavelength_nm,power\n390,1\n550,2\n710,9\n")
    seen = load_camera(name, load_light(lamp))
    np.testing.assert_allclose(seen.render(np.ones((31, 1, 1), np.float32)), 1, atol=1e-6)
    if name != "srgb":
        power = np.interp(NM, [390, 550, 710], [1, 2, 9])
        expected = load_camera(name).sensitivities * power
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(seen.sensitivities, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["srgb", "nikon-d700"])
def test_a_table_of_any_name_is_a_table(tmp_path: Path, name: str) -> None:
    lights = []
    for stem in ("E", "D65", "evening"):
        path = tmp_path / f"{stem}.csv"
        path.write_text("wavelength_nm,power\n390,1\n550,2\n710,9\n")
        lights.append(load_light(str(path)))
    # None passes for the CIE's of that name.
    assert [light.name for light in lights] == ["E.csv", "D65.csv", "evening.csv"]
    for light in lights:
        np.testing.assert_array_equal(light.at(NM), lights[2].at(NM))
        seen, same = (load_camera(name, one).sensitivities for one in (light, lights[2]))
        np.testing.assert_array_equal(seen, same)
        assert (seen != load_camera(name).sensitivities).any()


def test_lights_by_name_are_the_cies() -> None:
    pytest.importorskip("colour")
    # CIE 15: relative power at 400, 560 and 700 nm.
    for name, known in {"D65": [82.7549, 100, 71.6091], "A": [14.7080, 100, 198.261]}.items():
        light = load_light(name)
        at = np.searchsorted(light.wavelengths, [400, 560, 700])
        np.testing.assert_allclose(100 * light.power[at] / light.power[at[1]], known, rtol=1e-4)
        # Around each wavelength it is nearly what it is there: these lights are smooth.
        power = light.at(NM)[[0, 16, 30]]
        np.testing.assert_allclose(power / power[1], np.array(known) / 100, rtol=0.03)


@pytest.mark.parametrize("name", ["FL11", "FL2", "HP1", "LED-B3"])
def test_a_lamps_lines_count_wherever_they_lie(name: str) -> None:
    colour = pytest.importorskip("colour")
    lamp = colour.SDS_ILLUMINANTS[name]
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    fine = np.arange(400.0, 701, 5)
    weights = lamp[fine][:, None] * observer[fine]
    seen = load_camera(str(LIBRARY / "cie1931.csv"), load_light(name))
    for patch in ("dark skin", "bluish green", "red", "purple"):
        spectrum = colour.SDS_COLOURCHECKERS["BabelColor Average"][patch]
        values = np.interp(NM, spectrum.wavelengths, spectrum.values)
        exact = np.interp(fine, NM, values) @ weights / weights.sum(axis=0)
        got = seen.render(values.astype(np.float32)[:, None])[:, 0]
        np.testing.assert_allclose(got, exact, atol=0.003)


def test_a_line_between_the_wavelengths_is_not_lost(tmp_path: Path) -> None:
    nm = np.arange(380, 731)
    power = np.where(nm == 546, 1000.0, 1.0)
    rows = "\n".join(f"{a},{b}" for a, b in zip(nm, power, strict=True))
    at = load_light(written(tmp_path, f"wavelength_nm,power\n{rows}\n")).at(NM)
    line = (at - at[0]) / (at - at[0]).sum()
    assert line @ NM == pytest.approx(546)
    np.testing.assert_allclose(np.delete(line, [14, 15]), 0, atol=1e-9)
    # As much light as the table has: 31 wavelengths of 10 nm.
    assert ((at / at[0]).sum() - 31) * 10 == pytest.approx(999)


def test_rows_of_a_lamp_that_stand_closer_weigh_no_more(tmp_path: Path) -> None:
    even = np.arange(380, 731)
    # A slope with more rows on one side of 500 nm than on the other.
    at = np.array([380, 400, 420, 440, 460, 480, *range(490, 501), 520, 540, 560, 640, 730])
    power = 1 + (at - 380.0) / 100 + (at > 500) * (at - 500) / 20
    seen = []
    for nm, values in ((at, power), (even, np.interp(even, at, power))):
        rows = "\n".join(f"{a},{b}" for a, b in zip(nm, values, strict=True))
        seen.append(load_light(written(tmp_path, f"wavelength_nm,power\n{rows}\n")).at(NM))
    np.testing.assert_allclose(*seen, rtol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "wavelength_nm,power\n400,1\n500,-1\n700,1\n",
        "wavelength_nm,power\n400,0\n500,0\n700,0\n",
        "wavelength_nm,power\n450,1\n500,1\n700,1\n",
        "nm,power\n400,1\n500,1\n700,1\n",
    ],
)
def test_a_light_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refusal):
        load_light(path).at(NM)


def test_an_unknown_light_is_refused() -> None:
    with pytest.raises(Refusal, match=r"illuminant"):
        load_light("moon")


def test_measured_lights_are_those_that_show_colours(tmp_path: Path) -> None:
    path, sodium = tmp_path / "lights.npz", np.zeros(31, np.float32)
    sodium[19] = 1
    np.savez(path, wavelength_nm=NM, lamps=np.stack([np.ones(31), sodium, np.arange(31)]))
    flat, red = measured_lights(path, "lamps")
    np.testing.assert_array_equal(flat.at(NM), np.ones(31))
    np.testing.assert_array_equal(red.power, np.arange(31))
    # The third kept its number.
    assert [light.name for light in (flat, red)] == ["lamps 0", "lamps 2"]


def test_what_holds_no_lights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lights.npz"
    np.savez(path, wavelength_nm=NM, lamps=np.ones((2, 30)), dark=np.zeros((1, 31)))
    for name in ("lamps", "absent", "dark"):
        with pytest.raises(Refusal, match=name):
            measured_lights(path, name)
    with pytest.raises(Refusal, match="none"):
        measured_lights(tmp_path / "none.npz", "lamps")
