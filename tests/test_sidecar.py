"""Sidecars: what GDAL, COG readers and catalogs see beside a cube."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import fsspec
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from pipeline.camera import load_camera, resampled
from pipeline.cog import cog
from pipeline.cube import SpectralCube
from pipeline.curve import to_srgb
from pipeline.errors import Busy, Refusal
from pipeline.labels import Labels
from pipeline.moment import given
from pipeline.publish import published
from pipeline.sidecar import Sidecars, publish, refuse_foreign, withdraw, write_sidecars
from pipeline.vrt import vrt
from tests.cubes import (
    CHUNK,
    HEIGHT,
    PLACE,
    PLACES,
    UTM,
    WAVELENGTHS,
    WIDTH,
    content,
    expected,
    make,
    overview,
    stored,
)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
WHEN = given("2026-07-01T10:30:00+02:00")


def test_the_vrt_of_a_part_without_a_place_names_its_first_pixel(tmp_path):
    part = replace(Labels.of(make(tmp_path / "a.zarr")), transform=None, start=(3, 4))
    assert b"estimated from RGB, not measured, " in vrt("a.zarr", part, {})
    assert b"first pixel row 3, column 4 of the scene" in vrt("a.zarr", part, {})


def test_the_overviews_of_the_vrt_are_from_fine_to_coarse(tmp_path):
    of = Labels.of(make(tmp_path / "a.zarr"))
    sources = re.findall(rb"aux.zarr/(overview_\d)<", vrt("a.zarr", of, dict.fromkeys((2, 4, 8))))
    assert sources == [b"overview_2", b"overview_4", b"overview_8"] * len(of.wavelengths)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_vrt_is_the_cube_with_names_and_the_exact_place(tmp_path, dtype, where):
    cube = make(tmp_path / "a b&c.zarr", dtype=dtype, **PLACES[where])
    write_sidecars(cube)
    facts = {"transform": PLACE, "crs_wkt": UTM} | PLACES[where]
    with rasterio.open(tmp_path / "a b&c.vrt") as vrt:
        assert (vrt.count, vrt.height, vrt.width) == (31, HEIGHT, WIDTH)
        np.testing.assert_array_equal(vrt.read(), stored(dtype))
        np.testing.assert_array_equal(vrt.dataset_mask() != 0, content()[1])
        assert vrt.transform == (facts["transform"] or rasterio.Affine.identity())
        assert (vrt.crs.to_wkt() if vrt.crs else None) == facts["crs_wkt"]
        np.testing.assert_equal(vrt.nodata, 65535 if dtype == "uint16" else np.nan)
        assert set(vrt.scales) == {1e-4 if dtype == "uint16" else 1}
        assert vrt.descriptions == tuple(f"{nm:g} nm" for nm in WAVELENGTHS)
        assert set(vrt.block_shapes) == {(CHUNK, CHUNK)}
        assert vrt.tags()["DESCRIPTION"] == Labels.of(cube).origin
        for band, nm in enumerate(WAVELENGTHS, 1):
            assert float(vrt.tags(band)["wavelength"]) == nm
            assert vrt.tags(band)["wavelength_units"] == "Nanometers"
            imagery = vrt.tags(band, ns="IMAGERY")
            assert float(imagery["CENTRAL_WAVELENGTH_UM"]) == pytest.approx(nm / 1000)
            assert float(imagery["FWHM_UM"]) == pytest.approx(0.01)
        colours = {band: kind for band, kind in enumerate(vrt.colorinterp, 1) if kind > 2}
        assert colours == {26: ColorInterp.red, 16: ColorInterp.green, 6: ColorInterp.blue}


def test_the_vrt_shows_the_overviews(tmp_path):
    write_sidecars(make(tmp_path / "a.zarr"))
    with rasterio.open(tmp_path / "a.vrt") as vrt:
        assert vrt.overviews(7) == [2]
        small = overview(tmp_path / "a.zarr")[6]
        np.testing.assert_array_equal(vrt.read(7, out_shape=small.shape), small)


def test_store_and_sidecars_move_together(tmp_path):
    make_all(tmp_path / "one" / "a.zarr")
    shutil.move(tmp_path / "one", tmp_path / "two")
    with rasterio.open(tmp_path / "two" / "a.vrt") as vrt:
        np.testing.assert_array_equal(vrt.read(1), stored()[0])
        np.testing.assert_array_equal(
            vrt.read(1, out_shape=(20, 25)), overview(tmp_path / "two" / "a.zarr")[0]
        )


def make_all(path, **options):
    cube = make(path, **options)
    write_sidecars(cube)
    publish(cube, WHEN)
    return cube


@pytest.mark.parametrize("where", PLACES)
def test_the_quicklook_is_the_cube_as_srgb(tmp_path, where):
    write_sidecars(make(tmp_path / "a.zarr", **PLACES[where]))
    _, valid = content()
    seen = resampled(load_camera("srgb"), WAVELENGTHS).render(np.nan_to_num(expected()))
    with rasterio.open(tmp_path / "a.quicklook.tif") as look:
        assert look.driver == "GTiff"
        assert look.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert look.colorinterp[3] == ColorInterp.alpha
        np.testing.assert_array_equal(look.dataset_mask() != 0, valid)
        colours = np.rint(255 * to_srgb(seen)).astype(np.uint8)
        np.testing.assert_array_equal(look.read((1, 2, 3)), np.where(valid, colours, 0))
        facts = {"transform": PLACE, "crs_wkt": UTM} | PLACES[where]
        assert look.transform == (facts["transform"] or rasterio.Affine.identity())
        assert (look.crs is None) == (facts["crs_wkt"] is None)


def test_of_a_large_cube_an_overview_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.quicklook.LONGEST", 20)
    write_sidecars(make(tmp_path / "a.zarr", chunk=16))
    with rasterio.open(tmp_path / "a.quicklook.tif") as look:
        assert look.shape == (10, 13)
        assert look.transform == PLACE @ rasterio.Affine.scale(4)
        small = overview(tmp_path / "a.zarr", 4)
        np.testing.assert_array_equal(look.dataset_mask() != 0, small[0] != 65535)


def test_a_quicklook_of_some_size_has_overviews(tmp_path):
    profile = {"width": 1030, "height": 520, "count": 1, "dtype": "uint8", "transform": PLACE}
    with cog(tmp_path / "a.tif", **profile) as file:
        file.write(np.full((1, 520, 1030), 7, np.uint8))
    with rasterio.open(tmp_path / "a.tif") as look:
        assert look.overviews(1) == [2, 4]
        assert (look.read(1, out_shape=(130, 258)) == 7).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_how_many_threads_compress_changes_no_byte_of_a_cog(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (3, 1200, 1500), np.uint8)
    profile = {"width": 1500, "height": 1200, "count": 3, "dtype": "uint8", "transform": PLACE}
    written = set()
    for threads in (1, 2, 5):
        many = patch("pipeline.cog.cores", return_value=threads)
        with many, cog(tmp_path / "a.tif", **profile) as file:
            file.write(values)
        written.add((tmp_path / "a.tif").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("where", ["{}", "memory:/{}"])
def test_writing_again_changes_no_byte_and_leaves_nothing_else(tmp_path, where):
    uri = where.format(tmp_path) + "/a.zarr"
    cube = make_all(uri)
    fs, _ = fsspec.core.url_to_fs(uri)
    before = {place: fs.cat_file(fs._strip_protocol(place)) for place in Sidecars.of(uri)}
    (folder := Path(f"{tmp_path}/.a.vrt.r2h")).mkdir()
    (folder / "stray").write_text("of a killed run")
    (other := Path(f"{tmp_path}/a.vrt.partial")).mkdir()
    (other / "stray").write_text("of its owner")
    write_sidecars(cube)
    publish(cube, WHEN)
    assert before == {place: fs.cat_file(fs._strip_protocol(place)) for place in Sidecars.of(uri)}
    names = {path["name"].rsplit("/", 1)[-1] for path in fs.ls(str(tmp_path), detail=True)}
    whole = {"a.zarr", "a_aux.zarr", "a.vrt", "a.quicklook.tif", "a.json"}
    assert (other / "stray").exists()
    assert names - {"a.vrt.partial", ".a.vrt.r2h"} == whole
    if "memory" not in where:
        assert names == whole | {"a.vrt.partial"}


def test_a_sidecar_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    cube = make_all(tmp_path / "a.zarr")
    before = (tmp_path / "a.quicklook.tif").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pipeline.quicklook._rgba", fail)
    with pytest.raises(OSError, match="disk full"):
        write_sidecars(cube)
    assert (tmp_path / "a.quicklook.tif").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_two_do_not_write_one_file_at_once(tmp_path):
    uri = str(tmp_path / "a.vrt")
    with published(uri) as path:
        path.write_text("first")
        with pytest.raises(Busy, match="one run at a time"), published(uri):
            pass
    assert Path(uri).read_text() == "first"


@pytest.mark.parametrize("name", ["a.vrt", "a.json", "a.quicklook.tif"])
def test_what_is_not_a_sidecar_is_neither_replaced_nor_deleted(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(Refusal, match="--no-sidecars"):
        refuse_foreign(str(tmp_path / "a.zarr"))
    withdraw(str(tmp_path / "a.zarr"))
    assert (tmp_path / name).read_text() == "mine"


def test_what_was_drawn_of_a_cube_is_withdrawn_and_nothing_else(tmp_path, command):
    make_all(tmp_path / "a.zarr")
    names = {"a.quicklook.png", "a.spectra.png", "a.report.html"}
    for word in ("look", "report"):
        code, _, said = command(word, tmp_path / "a.zarr")
        assert code == 0, said
    drawn = {name: (tmp_path / name).read_bytes() for name in names}
    (tmp_path / "aa.report.html").write_bytes(drawn["a.report.html"])
    withdraw(str(tmp_path / "a.zarr"))
    left = {"a.zarr", "a_aux.zarr", "aa.report.html"}
    assert {path.name for path in tmp_path.iterdir()} == left
    # The sentence alone makes no page ours: whoever publishes a cube is told to write it.
    for name in names:
        (tmp_path / name).write_text("mine, estimated from RGB, not measured" * name.endswith("l"))
    withdraw(str(tmp_path / "a.zarr"))
    assert {path.name for path in tmp_path.iterdir()} == left | names


def test_sidecars_are_told_from_others_and_withdrawn(tmp_path):
    make_all(tmp_path / "a.zarr")
    refuse_foreign(str(tmp_path / "a.zarr"))
    withdraw(str(tmp_path / "a.zarr"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr", "a_aux.zarr"}
    assert json.loads((tmp_path / "a.zarr" / ".zmetadata").read_text())
    assert SpectralCube.open(str(tmp_path / "a.zarr")).sealed
