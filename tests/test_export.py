"""Exports come back with the values, the place, the nodata and the wavelengths of the cube."""

import json
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import fsspec
import h5py
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (gives xarray its .rio)
import spectral
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio._err import CPLE_AppDefinedError
from rasterio.crs import CRS
from rasterio.transform import Affine

from pipeline.cog import cog
from pipeline.cube import SpectralCube
from pipeline.envi import refuse_moved, write_envi
from pipeline.errors import Refusal
from pipeline.export import FORMS, SUFFIXES, export
from pipeline.grid import Window
from pipeline.labels import Labels
from pipeline.light import load_light
from pipeline.sensor import gaussian_bands
from tests.cubes import (
    HEIGHT,
    PLACE,
    PLACES,
    TURNED,
    UTM,
    WAVELENGTHS,
    WIDTH,
    content,
    expected,
    make,
    stored,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),  # rioxarray's
]
PART = Window(7, 11, 30, 25)
SETTINGS = {"checkpoint": "sha", "camera": {"name": "srgb", "encoding": "srgb", "white": 255.0}}
ENDINGS = {form: suffix for suffix, form in SUFFIXES.items()} | {"ntire": ".mat"}


def exported(tmp_path, form, window=None, **options):
    cube = make(tmp_path / "a.zarr", settings=SETTINGS, **options)
    out = tmp_path / f"a{ENDINGS[form]}"
    export(cube, str(out), form, window)
    return out


def cut(values, window):
    return values if window is None else values[:, *window.slices]


def moved(transform, window):
    move = Affine.translation(window.col, window.row) if window else Affine.identity()
    return transform @ move


@pytest.mark.parametrize("window", [None, PART])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("form", ["cog", "envi"])
def test_what_gdal_reads(tmp_path, form, dtype, window):
    with rasterio.open(exported(tmp_path, form, window, dtype=dtype)) as file:
        np.testing.assert_array_equal(file.read(), cut(stored(dtype), window))
        valid = content()[1]
        here = valid if window is None else valid[window.slices]
        np.testing.assert_array_equal(file.dataset_mask() != 0, here)
        assert file.transform == moved(PLACE, window)
        assert file.crs == rasterio.CRS.from_wkt(UTM)
        np.testing.assert_equal(file.nodata, 65535 if dtype == "uint16" else np.nan)
        # Of ENVI GDAL gives "400 nm (400 Nanometers)".
        for name, nm in zip(file.descriptions, WAVELENGTHS, strict=True):
            assert name.split(" (")[0] == f"{nm:g} nm"
        nm = [float(file.tags(band)["wavelength"]) for band in file.indexes]
        assert tuple(nm) == WAVELENGTHS
        um = [float(file.tags(b, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"]) for b in file.indexes]
        np.testing.assert_allclose(um, np.array(WAVELENGTHS) / 1000)
        colours = {kind.name: band for band, kind in enumerate(file.colorinterp, 1)}
        assert (colours["red"], colours["green"], colours["blue"]) == (26, 16, 6)
        if form == "cog":
            assert set(file.scales) == {1e-4 if dtype == "uint16" else 1}
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert "not measured, checkpoint sha, camera srgb" in file.tags()["DESCRIPTION"]
            assert json.loads(file.tags()["R2H"]) == SETTINGS


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("form", ["cog", "envi", "netcdf"])
def test_every_place_comes_back(tmp_path, form, where):
    facts = {"transform": PLACE, "crs_wkt": UTM} | PLACES[where]
    out = exported(tmp_path, form, **PLACES[where])
    if form == "netcdf":
        with xr.open_dataset(out, engine="h5netcdf", decode_coords="all") as file:
            place = file["reflectance"].rio
            transform, crs = place.transform(), place.crs
            if facts["transform"] is None:
                assert "spatial_ref" not in file.coords
                np.testing.assert_array_equal(file.x, np.arange(WIDTH) + 0.5)
    else:
        with rasterio.open(out) as file:
            transform, crs = file.transform, file.crs
    assert transform == (facts["transform"] or Affine.identity())
    if facts["crs_wkt"] or form != "envi":
        assert (crs.to_wkt() if crs else None) == facts["crs_wkt"]
    elif facts["transform"] is not None:
        assert "map info = {Arbitrary" in out.with_suffix(".hdr").read_text()


def test_the_envi_header_has_the_keys_that_readers_look_for(tmp_path):
    out = exported(tmp_path, "envi")
    found = spectral.envi.read_envi_header(str(out.with_suffix(".hdr")))
    assert [float(nm) for nm in found["wavelength"]] == list(WAVELENGTHS)
    assert found["wavelength units"] == "Nanometers"
    assert [float(nm) for nm in found["fwhm"]] == [10] * 31
    assert found["bbl"] == ["1"] * 31
    assert found["band names"] == [f"{nm:g} nm" for nm in WAVELENGTHS]
    assert found["data ignore value"] == "65535"
    assert found["default bands"] == ["26", "16", "6"]
    assert found["reflectance scale factor"] == "10000"
    assert found["map info"][:2] == ["UTM", "1"]
    assert found["coordinate system string"][0].startswith("PROJCS")
    assert found["description"].startswith("estimated from RGB, not measured, checkpoint sha")
    assert str(tmp_path) not in out.with_suffix(".hdr").read_text()
    assert {path.name for path in tmp_path.glob("a.*")} == {"a.zarr", "a.img", "a.hdr"}


def test_what_spy_reads(tmp_path):
    image = spectral.open_image(str(exported(tmp_path, "envi").with_suffix(".hdr")))
    assert image.bands.centers == list(WAVELENGTHS)
    assert image.bands.bandwidths == [10] * 31
    valid = content()[1]
    np.testing.assert_allclose(image[:, :, :][valid], expected().transpose(1, 2, 0)[valid], 1e-6)


@pytest.mark.parametrize(
    "transform",
    [
        PLACE @ Affine.shear(10, 0),
        PLACE @ Affine.shear(1e-2, 0),
        PLACE @ Affine.rotation(30) @ Affine.scale(1, 2),
        PLACE @ Affine.rotation(30) @ Affine.scale(1, 1.0001),
        TURNED @ Affine.scale(1, -1),
        PLACE @ Affine.scale(1, -1),
        PLACE @ Affine.scale(-1, 1),
        PLACE @ Affine.scale(-1, -1),
        PLACE @ Affine.rotation(180),
        PLACE @ Affine.rotation(180 - 1e-13),
    ],
)
@pytest.mark.parametrize("crs_wkt", [UTM, None])
def test_a_place_that_envi_cannot_hold_is_refused(tmp_path, transform, crs_wkt):
    with pytest.raises(Refusal, match="no shear, mirroring or half turn"):
        exported(tmp_path, "envi", transform=transform, crs_wkt=crs_wkt)
    assert not list(tmp_path.glob("a.img*"))


@settings(max_examples=40)
@given(
    st.floats(-179.99, 179.99),
    st.floats(1e-6, 100),
    st.tuples(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7)),
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    st.sampled_from([None, UTM]),
)
def test_a_turn_that_envi_holds_comes_back_in_every_corner(turn, size, corner, sides, crs_wkt):
    # Of a corner farther off, in pixels, the header's fifteen digits may or may not do.
    assume(np.abs(corner).max() / size <= 1e10)
    there = Affine.translation(*corner) @ Affine.rotation(turn) @ Affine.scale(size, -size)
    with TemporaryDirectory() as folder:
        out = Path(folder, "a.img")
        labels = Labels.of(make(f"{folder}/a.zarr", settings=SETTINGS))
        height, width = sides
        whole = replace(labels, height=height, width=width, transform=there, crs_wkt=crs_wkt)
        try:
            refuse_moved(out, whole)
        except Refusal:
            assert 0 < abs(turn) < 1e-2, "of so small a turn GDAL makes none"
            return
        write_envi(out, replace(whole, height=1, width=1), iter(()))
        with rasterio.open(out) as file:
            for pixel in ((0, 0), (width, 0), (0, height), (width, height)):
                np.testing.assert_allclose(~there @ (file.transform @ pixel), pixel, atol=2e-3)


FEET, GRADS = (CRS.from_epsg(code).to_wkt() for code in (2263, 4807))
CHAINS = CRS.from_string("+proj=tmerc +lon_0=9 +datum=WGS84 +units=us-ch").to_wkt()


@pytest.mark.parametrize(("crs_wkt", "unit"), [(FEET, "survey foot"), (GRADS, "grad"),
                                               (CHAINS, "chain")])  # fmt: skip
def test_units_that_envi_has_no_word_for_are_refused(tmp_path, crs_wkt, unit):
    with pytest.raises(Refusal, match=rf"metres, degrees or feet of 0.3048 m.*{unit}"):
        exported(tmp_path, "envi", crs_wkt=crs_wkt)


@pytest.mark.parametrize("code", [2223, 2193, 3031, 4326, 5514, 27572])
def test_envi_keeps_the_crs(tmp_path, code):
    crs = CRS.from_epsg(code)
    with rasterio.open(exported(tmp_path, "envi", crs_wkt=crs.to_wkt())) as file:
        assert file.crs == crs
        assert file.transform == PLACE
    assert ("units=Feet" in (tmp_path / "a.hdr").read_text()) == (code == 2223)


def test_a_crs_without_places_on_a_map_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no shear"):
        exported(tmp_path, "envi", crs_wkt=CRS.from_epsg(4978).to_wkt())


@pytest.mark.parametrize("window", [None, PART])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_xarray_reads_of_netcdf(tmp_path, dtype, window):
    out = exported(tmp_path, "netcdf", window, dtype=dtype)
    with xr.open_dataset(out, engine="h5netcdf", decode_coords="all") as file:
        cube = file["reflectance"]
        assert cube.dims == ("wavelength", "y", "x")
        np.testing.assert_allclose(cube.values, cut(expected(dtype), window), rtol=1e-6)
        np.testing.assert_array_equal(cube.wavelength, WAVELENGTHS)
        assert cube.wavelength.attrs["units"] == "nm"
        np.testing.assert_array_equal(cube.fwhm, [10] * 31)
        assert cube.rio.transform() == moved(PLACE, window)
        assert cube.rio.crs.to_wkt() == UTM
        assert file.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
        assert file.attrs["Conventions"] == "CF-1.11"
        assert "not measured" in file.attrs["comment"]
        here = moved(PLACE, window)
        assert float(cube.y[0]) == here.f + 0.5 * here.e


@pytest.mark.parametrize(("form", "name"), [("mat", "reflectance"), ("ntire", "cube")])
@pytest.mark.parametrize("window", [None, PART])
def test_what_matlab_reads(tmp_path, form, name, window):
    out = exported(tmp_path, form, window)
    header = out.read_bytes()[:128]
    assert header.startswith(b"MATLAB 7.3 MAT-file")
    assert header[124:] == b"\x00\x02IM"
    with h5py.File(out) as file:
        # HDF5 has MATLAB's dimensions in reverse.
        cube = np.asarray(file[name]).T
        np.testing.assert_array_equal(cube, cut(expected(), window).transpose(1, 2, 0))
        assert file[name].attrs["MATLAB_class"] == b"single"
        nm = file["wavelength" if form == "mat" else "bands"]
        assert nm.shape == (31, 1)
        np.testing.assert_array_equal(nm[:, 0], WAVELENGTHS)
        note = bytes(np.asarray(file["note"]).tobytes()).decode("utf-16-le")
        assert note.startswith("estimated from RGB, not measured")
        if form == "mat":
            assert tuple(file["transform"][:, 0]) == moved(PLACE, window)[:6]
        else:
            assert set(file) == {"cube", "bands", "norm_factor", "note"}
            assert file["norm_factor"][()] == 1
            # As the readers of ARAD_1K have it: (31, height, width).
            np.testing.assert_array_equal(
                np.transpose(file["cube"], (0, 2, 1)), cut(expected(), window)
            )


@pytest.mark.parametrize("window", [None, PART])
def test_what_numpy_reads(tmp_path, window):
    out = exported(tmp_path, "npy", window)
    np.testing.assert_array_equal(np.load(out), cut(expected(), window))
    about = json.loads(out.with_name("a.npy.json").read_text())
    assert about["wavelength_nm"] == list(WAVELENGTHS)
    assert about["transform"] == list(moved(PLACE, window))[:6]
    assert about["note"] == "estimated from RGB, not measured"


@pytest.mark.parametrize("where", ["upright", "turned", "degrees", "unplaced"])
def test_gdal_puts_netcdf_in_its_place_or_in_none(tmp_path, where):
    facts = (PLACES | {"unplaced": {"transform": None}})[where]
    with rasterio.open(exported(tmp_path, "netcdf", **facts)) as file:
        if file.crs is None:
            assert where in ("turned", "unplaced")
        else:
            transform = facts.get("transform", PLACE)
            np.testing.assert_allclose(file.transform[:6], transform[:6], rtol=1e-12)


@pytest.mark.parametrize(("cols", "rows"), [(1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("form", ["cog", "netcdf"])
def test_mirrored_rasters_have_each_pixel_in_its_place(tmp_path, form, cols, rows):
    there = PLACE @ Affine.scale(cols, rows)
    with rasterio.open(exported(tmp_path, form, transform=there)) as file:
        col, row = ~file.transform @ (there @ (10.5, 25.5))
        spectrum = file.read()[:, int(row), int(col)]
    np.testing.assert_array_equal(spectrum, stored()[:, 25, 10])


START = {"row0": 7, "col0": 11, "settings": SETTINGS}


@pytest.mark.parametrize("window", [None, PART])
@pytest.mark.parametrize("transform", [None, TURNED])
def test_pixel_coordinates_of_netcdf_count_from_the_scene(tmp_path, transform, window):
    crs_wkt = UTM if transform else None
    cube = make(tmp_path / "a.zarr", transform=transform, crs_wkt=crs_wkt, **START)
    export(cube, str(tmp_path / "a.nc"), window=window)
    row, col = (window.row, window.col) if window else (0, 0)
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf", decode_coords="all") as file:
        assert (file.y[0], file.x[0]) == (7 + row + 0.5, 11 + col + 0.5)
        if transform:
            there = transform @ Affine.translation(11 + col, 7 + row)
            np.testing.assert_allclose(file.rio.transform()[:6], there[:6], rtol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_what_has_no_place_says_where_in_the_scene_it_was(tmp_path, form):
    cube = make(tmp_path / "a.zarr", transform=None, crs_wkt=None, **START)
    out = tmp_path / f"a{ENDINGS[form]}"
    export(cube, str(out), form, PART)
    said = "first pixel row 14, column 22 of the scene"
    if form in ("cog", "netcdf"):
        opened = rasterio.open(out) if form == "cog" else h5py.File(out)
        with opened as file:
            assert said in (file.tags()["DESCRIPTION"] if form == "cog" else file.attrs["comment"])
    elif form == "envi":
        found = spectral.envi.read_envi_header(str(out.with_suffix(".hdr")))
        assert (found["x start"], found["y start"]) == ("23", "15")
        assert said in found["description"]
    elif form == "npy":
        assert json.loads(out.with_name("a.npy.json").read_text())["window"] == [14, 22, 30, 25]
    else:
        with h5py.File(out) as file:
            assert said in bytes(np.asarray(file["note"]).tobytes()).decode("utf-16-le")


@pytest.mark.parametrize("form", ["envi", "mat"])
def test_what_keeps_no_settings_says_for_which_light_and_noise_it_was_made(tmp_path, form):
    seen = {"name": "srgb", "encoding": "srgb", "white": 255.0, "illuminant": "A"}
    cube = make(tmp_path / "a.zarr", settings={"camera": seen, "noise_level": 0.02})
    out = tmp_path / f"a{ENDINGS[form]}"
    export(cube, str(out), form, light=load_light("E"))
    if form == "envi":
        said = spectral.envi.read_envi_header(str(out.with_suffix(".hdr")))["description"]
    else:
        with h5py.File(out) as file:
            said = bytes(np.asarray(file["note"]).tobytes()).decode("utf-16-le")
    assert "input white 255.0, input light A, noise level 0.02, illuminant E" in said


@pytest.mark.parametrize("form", FORMS)
def test_equal_exports_have_equal_bytes_also_elsewhere(tmp_path, form):
    out = exported(tmp_path, form)
    uri = f"memory://{tmp_path}/b{ENDINGS[form]}"
    cube = SpectralCube.open(str(tmp_path / "a.zarr"))
    export(cube, uri, form)
    with fsspec.open(uri, "rb") as file:
        assert file.read() == out.read_bytes()


def test_what_cannot_be_exported_is_refused(tmp_path):
    cube = make(tmp_path / "a.zarr")
    with pytest.raises(Refusal, match="the format is one of"):
        export(cube, str(tmp_path / "a.dat"))
    with pytest.raises(Refusal, match="inside the cube"):
        export(cube, str(tmp_path / "a.npy"), window=Window(0, 0, HEIGHT + 1, 1))
    with pytest.raises(Refusal, match="finished"):
        export(make(tmp_path / "b.zarr", seal=False), str(tmp_path / "b.npy"))
    assert not list(tmp_path.glob("*.npy*"))


@pytest.mark.parametrize("form", ["img", "tif", "nc", "mat"])
@pytest.mark.parametrize("light", [None, "D65"])
def test_every_form_says_whether_it_holds_reflectance_or_radiance(tmp_path, form, light):
    path = tmp_path / f"a.{form}"
    export(make(tmp_path / "a.zarr"), str(path), light=load_light(light) if light else None)
    quantity = "radiance" if light else "reflectance"
    if form == "mat":
        with h5py.File(path) as file:
            said = bytes(file["note"][:, 0].astype("<u2")).decode("utf-16-le")
    elif form == "nc":
        with h5py.File(path) as file:
            said = file.attrs["comment"]
    else:
        said = path.with_suffix(".hdr").read_text() if form == "img" else ""
        with rasterio.open(path) as file:
            said += file.tags().get("DESCRIPTION", "")
    # Radiance by white's would be reflectance again.
    of = "the mean over wavelengths of a white surface's" if light else "white"
    assert f"values {quantity} relative to {of}" in said


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ("665:30", ["red"]),
        ("560:35", ["green"]),
        ("550:10,550.4:40", ["green", "gray"]),
        ("490:20,560:20,665:20", ["blue", "green", "red"]),
    ],
)
def test_a_band_has_the_colour_that_it_is_of(tmp_path, bands, expected):
    sensor = gaussian_bands(bands, WAVELENGTHS)
    export(make(tmp_path / "a.zarr"), str(tmp_path / "a.tif"), sensor=sensor)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert sorted(kind.name for kind in file.colorinterp) == sorted(expected)


@pytest.mark.parametrize("form", ["img", "mat", "nc"])
def test_radiance_says_what_white_sends_back(tmp_path, form):
    cube = make(tmp_path / "a.zarr")
    power = tmp_path / "lamp.csv"
    power.write_text("wavelength_nm,power\n390,1\n550,2\n710,1\n")
    export(cube, str(tmp_path / f"a.{form}"), light=load_light(str(power)))
    if form == "img":
        text = (tmp_path / "a.hdr").read_text()
        assert "quantity = radiance" in text
        found = re.search(r"white = {([^}]*)}", text)[1].split(",")
    else:
        with h5py.File(tmp_path / f"a.{form}") as file:
            found = np.ravel(file["white"])
    white = np.array(found, float)
    assert white.shape == (31,)
    assert white.argmax() == 15
    assert white.mean() == pytest.approx(1, abs=1e-3)


def test_envi_refuses_a_crs_that_it_cannot_name(tmp_path):
    pole = "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +R=6371229"
    crs = CRS.from_string(f"{pole} +to_meter=0.0174532925199433")
    with pytest.raises(Refusal, match="can name the CRS"):
        exported(tmp_path, "envi", crs_wkt=crs.to_wkt())


def test_envi_band_names_hold_no_sign_of_its_lists(tmp_path):
    names = ("Blue, 490", "{Green}", "a\nb")
    labels = Labels.of(make(f"{tmp_path}/a.zarr", settings=SETTINGS))
    few = replace(labels, height=1, width=1, wavelengths=(490.0, 560.0, 665.0), fwhm=(9.0,) * 3)
    write_envi(tmp_path / "a.img", replace(few, bands=names), iter(()))
    with rasterio.open(tmp_path / "a.img") as file:
        names = [name.partition(" (")[0] for name in file.descriptions]
        assert names == ["Blue 490", "Green", "a b"]


def test_a_disk_that_is_full_is_no_fault_of_ours(tmp_path, monkeypatch):
    def full(*_, **__):
        raise CPLE_AppDefinedError(3, 1, "cannot write")

    monkeypatch.setattr("rasterio.shutil.copy", full)
    about = {"count": 1, "height": 2, "width": 2, "dtype": "uint8"}
    with pytest.raises(OSError, match="cannot write"), cog(tmp_path / "a.tif", **about):
        pass
