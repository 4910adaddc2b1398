# ruff: noqa: F811 (fixtures are imported)
"""What a run leaves beside its cube, and in which order."""

import json

import numpy as np
import pytest
import rasterio

from flows import reconstruct
from pipeline import sidecar
from pipeline.cube import SpectralCube
from tests.test_reconstruct import checkpoint, r2h, raster  # noqa: F401

NAMES = ("a.vrt", "a.quicklook.tif", "a.json")
TAKEN = ("--datetime", "2026-07-01T10:30:00Z")


def beside(folder):
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def test_a_run_leaves_a_cube_that_can_be_found_seen_and_opened(r2h, raster, tmp_path):
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr", *TAKEN)
    assert code == 0, err
    item = json.loads((tmp_path / "a.json").read_text())
    assert item["properties"]["datetime"] == "2026-07-01T10:30:00Z"
    assert item["properties"]["processing:expression"]["expression"]["tile"] == 16
    for asset in item["assets"].values():
        assert (tmp_path / asset["href"]).exists()
    with rasterio.open(tmp_path / "a.vrt") as vrt, rasterio.open(tmp_path / "a.zarr") as cube:
        np.testing.assert_array_equal(vrt.read(), cube.read())
        assert vrt.crs == cube.crs
    with rasterio.open(tmp_path / "a.quicklook.tif") as look, rasterio.open(raster) as source:
        np.testing.assert_array_equal(look.dataset_mask() != 0, source.read(4) != 0)


def test_without_a_time_there_is_no_item_and_it_is_said(r2h, raster, tmp_path, caplog):
    code, _, _ = r2h.reconstruct(raster, tmp_path / "a.zarr")
    assert code == 0
    assert set(beside(tmp_path)) == {"a.vrt", "a.quicklook.tif"}
    assert "no STAC item is written" in caplog.text
    with rasterio.open(raster, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2020:01:02 03:04:05")
    r2h.reconstruct(raster, tmp_path / "b.zarr")
    item = json.loads((tmp_path / "b.json").read_text())
    assert item["properties"]["datetime"] == "2020-01-02T03:04:05Z"
    assert "taken as UTC" in item["properties"]["description"]
    r2h.reconstruct(raster, tmp_path / "c.zarr", "--datetime", "2020-01-02T03:04:05")
    given = json.loads((tmp_path / "c.json").read_text())["properties"]
    assert given["datetime"] == item["properties"]["datetime"]
    assert "Time: given, no time zone: taken as UTC." in given["description"]


def test_none_are_written_where_none_are_wanted(r2h, raster, tmp_path):
    assert r2h.reconstruct(raster, tmp_path / "a.zarr", *TAKEN, "--no-sidecars")[0] == 0
    assert not beside(tmp_path)
    assert SpectralCube.open(str(tmp_path / "a.zarr")).sealed


def test_a_time_that_is_none_and_a_foreign_file_are_refused_first(r2h, raster, tmp_path):
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr", "--datetime", "summer")
    assert code == 2
    assert "ISO 8601" in err
    (tmp_path / "a.vrt").write_text("mine")
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr")
    assert code == 2
    assert "only a cube's own sidecar" in err
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize(
    ("at", "sealed"),
    [
        ("pipeline.quicklook._rgba", False),
        ("pipeline.sidecar.item", True),
    ],
)
def test_a_run_cut_short_among_its_sidecars_resumes_to_the_same_bytes(
    r2h,
    raster,
    tmp_path,
    monkeypatch,
    at,
    sealed,
):
    wanted, cut = tmp_path / "wanted", tmp_path / "cut"
    for folder in (wanted, cut):
        folder.mkdir()
    r2h.reconstruct(raster, wanted / "a.zarr", *TAKEN)

    def die(*_):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(at, die)
        assert r2h.reconstruct(raster, cut / "a.zarr", *TAKEN)[0] == 1
    assert "a.json" not in beside(cut)
    assert SpectralCube.open(str(cut / "a.zarr")).sealed == sealed
    assert r2h.reconstruct(raster, cut / "a.zarr", *TAKEN, "--resume")[0] == 0
    assert beside(cut) == beside(wanted)
    assert {p.name for p in cut.iterdir()} == {p.name for p in wanted.iterdir()}


def test_no_item_speaks_for_a_cube_that_is_being_replaced(r2h, raster, tmp_path, monkeypatch):
    r2h.reconstruct(raster, tmp_path / "a.zarr", *TAKEN)
    seen = []

    def create(*given):
        seen.append(set(beside(tmp_path)))
        return made(*given)

    made = reconstruct._create
    monkeypatch.setattr(reconstruct, "_create", create)
    assert r2h.reconstruct(raster, tmp_path / "a.zarr", "--overwrite", "--no-sidecars")[0] == 0
    assert seen == [set()]
    assert sidecar.Sidecars.of(str(tmp_path / "a.zarr")).item == str(tmp_path / "a.json")
