"""A cube in another sensor's bands and as radiance, against integrals done another way."""

import json

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from pipeline.errors import Refusal
from pipeline.export import export
from pipeline.light import load_light
from pipeline.sensor import gaussian_bands, load_sensor
from tests.cubes import WAVELENGTHS, expected, make

POWER = "wavelength_nm,power\n390,1\n550,2\n710,9\n"


def written(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return str(path)


@given(st.floats(450, 650), st.floats(10, 60), st.integers(0, 2**32))
def test_a_gaussian_band_is_the_integral_of_the_spectrum(centre, fwhm, seed):
    spectrum = np.random.default_rng(seed).random(31)
    low, high = max(400, centre - 2 * fwhm), min(700, centre + 2 * fwhm)
    if centre - 0.95 * fwhm < 400 or centre + 0.95 * fwhm > 700:
        return
    sensor = gaussian_bands(f"{centre}:{fwhm}", WAVELENGTHS)

    def response(nm):
        return np.exp(-(((nm - centre) / fwhm) ** 2) * np.log(16))

    knots = [nm for nm in WAVELENGTHS if low < nm < high]
    top = quad(lambda nm: response(nm) * np.interp(nm, WAVELENGTHS, spectrum), low, high,
               points=knots, limit=200)[0]  # fmt: skip
    seen = sensor.weights[0].astype(np.float64) @ spectrum
    assert seen == pytest.approx(top / quad(response, low, high)[0], abs=2e-3)
    assert sensor.fwhm[0] == pytest.approx(fwhm, rel=0.01)


@pytest.mark.parametrize("bands", ["490", "490:0", "490:5", "490:nan", "410:40", "690:30", "a:b"])
def test_bands_that_the_cube_does_not_hold_are_refused(bands):
    with pytest.raises(Refusal, match="band"):
        gaussian_bands(bands, WAVELENGTHS)


def test_satellite_bands_are_integrals_over_their_published_responses(tmp_path):
    known = pytest.importorskip("Py6S").PredefinedWavelengths
    make(tmp_path / "a.zarr")
    sensor = load_sensor("sentinel-2a", WAVELENGTHS)
    from pipeline.cube import SpectralCube  # noqa: PLC0415

    export(SpectralCube.open(str(tmp_path / "a.zarr")), str(tmp_path / "a.tif"), sensor=sensor)
    with rasterio.open(tmp_path / "a.tif") as file:
        got, names, nm = file.read(), file.descriptions, file.tags(3)["wavelength"]
        origin = file.tags()["DESCRIPTION"]
    assert names == ("B1", "B2", "B3", "B4")
    assert float(nm) == pytest.approx(559.8, abs=3)  # ESA
    assert "sentinel-2a" in origin
    spectra = expected().astype(np.float64)
    fine = np.arange(400, 700.01, 0.5)
    for band, number in zip(got, (1, 2, 3, 4), strict=True):
        start, _, values = getattr(known, f"S2A_MSI_{number:02}")[1:]
        at = 1000 * start + 2.5 * np.arange(len(values))
        weight = np.interp(fine, at, values, 0, 0)
        for row, col in ((30, 5), (39, 49), (5, 30)):
            spectrum = np.interp(fine, WAVELENGTHS, spectra[:, row, col])
            mean = np.trapezoid(spectrum * weight, fine) / np.trapezoid(weight, fine)
            assert band[row, col] == pytest.approx(mean, abs=3e-3)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(spectra[:4]))


@pytest.mark.parametrize("sensor", [None, "460:40,560:35,650:30"])
@pytest.mark.parametrize("form", ["npy", "nc", "mat", "img", "tif"])
def test_radiance_over_whites_is_reflectance_again(tmp_path, form, sensor):
    cube = make(tmp_path / "a.zarr")
    light = load_light(written(tmp_path, POWER))
    bands = gaussian_bands(sensor, WAVELENGTHS) if sensor else None
    out = tmp_path / f"a.{form}"
    export(cube, str(out), sensor=bands, light=light)
    power = np.interp(WAVELENGTHS, [390, 550, 710], [1, 2, 9])
    power /= power.mean()
    matrix = np.eye(31) if bands is None else bands.weights.astype(np.float64)
    wanted = np.einsum("bw,wyx->byx", matrix * power, expected())
    got, white = read(out, form)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
    if white is not None:
        np.testing.assert_allclose(white, matrix @ power, rtol=1e-6)
        if bands is None:
            again = got / np.array(white)[:, None, None]
            np.testing.assert_allclose(again, expected(), rtol=1e-5)


def read(out, form):
    """Values as other software has them, and white where the form keeps it."""
    if form == "npy":
        about = json.loads(out.with_name(f"{out.name}.json").read_text())
        assert about["quantity"] == "radiance"
        return np.load(out), about["r2h"]["export"]["white"]
    if form == "nc":
        with xr.open_dataset(out, engine="h5netcdf") as file:
            about = json.loads(file.attrs["r2h"])
            return file["radiance"].values, about["export"]["white"]
    if form == "mat":
        import h5py  # noqa: PLC0415

        with h5py.File(out) as file:
            return file["radiance"][:].transpose(0, 2, 1), None
    with rasterio.open(out) as file:
        return file.read(), None


def test_what_is_stored_leaves_untouched_where_nothing_is_asked(tmp_path):
    cube = make(tmp_path / "a.zarr")
    export(cube, str(tmp_path / "a.npy"))
    about = json.loads((tmp_path / "a.npy.json").read_text())
    assert "export" not in about["r2h"]
    assert about["quantity"] == "reflectance"
