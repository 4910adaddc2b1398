from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Refusal
from pipeline.sensor import SENSORS, load_sensor

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
    assert (sensor.name, sensor.bands) == ("mine", ("a", "b"))
    np.testing.assert_allclose(sensor.weights[0, 4:7], 1 / 3, atol=1e-6)
    np.testing.assert_allclose(sensor.weights[1, 4:7], [0, 0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(sensor.centres, [450, 457.5])


def test_values_that_stand_closer_do_not_weigh_more(tmp_path: Path) -> None:
    even = "wavelength_nm,a\n420,0\n440,1\n460,1\n480,0\n"
    dense = "wavelength_nm,a\n420,0\n440,1\n455,1\n457,1\n459,1\n460,1\n480,0\n"
    centres = [load_sensor(written(tmp_path, text), NM).centres[0] for text in (even, dense)]
    assert centres[0] == pytest.approx(450)
    assert centres[1] == pytest.approx(450, abs=1.5)


def test_a_band_beyond_the_cube_is_refused(tmp_path: Path) -> None:
    text = "wavelength_nm,red,nir\n600,1,0\n700,1,1\n800,0,1\n"
    with pytest.raises(Refusal, match="mine nir"):
        load_sensor(written(tmp_path, text), NM)


def test_an_unknown_sensor_is_refused() -> None:
    with pytest.raises(Refusal, match="sensor"):
        load_sensor("sentinel-9", NM)
