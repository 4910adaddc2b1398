"""`r2h export` and `r2h doctor` as they are typed."""

import json
import sys

import numpy as np
import pytest
import rasterio

from flows import cli
from pipeline.export import FORMS
from pipeline.sidecar import write_sidecars
from tests.cubes import expected, make
from tests.toys import objects

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


@pytest.fixture
def r2h(monkeypatch, capsys):
    """Run the command; returns its exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["r2h", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def test_the_ending_or_the_format_says_what_is_written(r2h, tmp_path):
    make(tmp_path / "a.zarr")
    code, out, err = r2h("export", tmp_path / "a.zarr", tmp_path / "a.npy", "--window", "2,3,9,8")
    assert code == 0, err
    assert "npy" in out
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected()[:, 2:11, 3:11])
    code, out, _ = r2h(
        "export", tmp_path / "a.zarr", tmp_path / "b.mat", "--format", "ntire", "--json"
    )
    assert (code, json.loads(out)["format"]) == (0, "ntire")


def test_a_file_that_is_there_is_kept_unless_it_is_said(r2h, tmp_path):
    make(tmp_path / "a.zarr")
    (tmp_path / "a.npy").write_text("mine")
    code, _, err = r2h("export", tmp_path / "a.zarr", tmp_path / "a.npy")
    assert code == 2
    assert "--overwrite" in err
    assert (tmp_path / "a.npy").read_text() == "mine"
    assert r2h("export", tmp_path / "a.zarr", tmp_path / "a.npy", "--overwrite")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected())


def test_no_picture_and_nothing_of_a_cube_is_replaced(r2h, tmp_path):
    cube = make(tmp_path / "a.zarr")
    write_sidecars(cube)
    (tmp_path / "a.run.json").write_text("{}")
    with rasterio.open(
        tmp_path / "b.tif", "w", driver="GTiff", width=9, height=9, count=3, dtype="uint8"
    ) as file:
        file.write(np.ones((3, 9, 9), np.uint8))
    before = objects(tmp_path)
    command = ("export", tmp_path / "a.zarr", "--format", "npy")
    for name in (
        *("b.tif", "a.run.json", "a.vrt", "a.quicklook.tif"),
        *("a.zarr/reflectance/0.0.0", "a.zarr/new.tif", "a_aux.zarr/valid/new.npy"),
    ):
        for more in ((), ("--overwrite",)):
            code, _, err = r2h(*command, *more, tmp_path / name)
            assert code == 2, name
            assert "--overwrite" not in err
    assert objects(tmp_path) == before
    # An earlier export is none.
    assert r2h("export", tmp_path / "a.zarr", tmp_path / "c.tif")[0] == 0
    assert r2h("export", tmp_path / "a.zarr", tmp_path / "c.tif", "--overwrite")[0] == 0


@pytest.mark.parametrize("form", ["envi", "cog"])
def test_nothing_that_was_beside_a_file_is_read_with_the_next(r2h, tmp_path, form):
    make(tmp_path / "a.zarr", transform=None, crs_wkt=None)
    words = ("export", tmp_path / "a.zarr", path := tmp_path / "b.img", "--format", form)
    assert r2h(*words)[0] == 0
    with rasterio.open(path) as file:
        whole = file.read()
    for end in (".ovr", ".aux.xml", ".msk"):
        (tmp_path / f"b.img{end}").write_bytes(b"of another")
        path.unlink()
        code, _, err = r2h(*words, *(() if form == "cog" else ("--overwrite",)))
        assert code == (2 if form == "cog" else 0), err
        assert r2h(*words, "--overwrite")[0] == 0
        assert not (tmp_path / f"b.img{end}").exists()
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), whole)
    (tmp_path / "b.wld").write_text("2 0 0 -2 101 199".replace(" ", "\n"))
    code, _, err = r2h(*words, "--overwrite")
    assert code == 2
    assert "gives it one" in err


@pytest.mark.parametrize("form", FORMS)
def test_nor_is_any_file_beside_it_replaced(r2h, tmp_path, form):
    make(tmp_path / "a.zarr")
    words = ("export", tmp_path / "a.zarr", tmp_path / "scene.img", "--format", form)
    code, _, err = r2h(*words)
    assert code == 0, err
    made = sorted(tmp_path.glob("scene*"))
    for taken in made:
        for path in made:
            path.unlink(missing_ok=True)
        taken.write_text("mine")
        code, _, err = r2h(*words)
        assert code == 2
        assert f"goes to new files; got {taken}." in err
        assert [*tmp_path.glob("scene*")] == [taken]
        assert taken.read_text() == "mine"
        code, _, err = r2h(*words, "--overwrite")
        assert code == 0, err
        assert sorted(tmp_path.glob("scene*")) == made


def test_other_bands_and_radiance_are_written_as_asked(r2h, tmp_path):
    make(tmp_path / "a.zarr")
    (tmp_path / "mine.csv").write_text("wavelength_nm,a,b\n425,0,0\n475,1,0\n525,0,1\n575,0,0\n")
    (tmp_path / "lamp.csv").write_text("wavelength_nm,power\n390,1\n500,1\n710,1\n")
    for words in (("--sensor", tmp_path / "mine.csv"), ("--wavelengths", "475:40,525:40")):
        lamp = ("--illuminant", tmp_path / "lamp.csv", "--overwrite")
        code, _, err = r2h("export", tmp_path / "a.zarr", tmp_path / "a.npy", *words, *lamp)
        assert code == 0, err
        about = json.loads((tmp_path / "a.npy.json").read_text())
        np.testing.assert_allclose(about["wavelength_nm"], [475, 525], atol=0.1)
        assert about["quantity"] == "radiance"
        np.testing.assert_allclose(about["r2h"]["export"]["white"], 1, atol=1e-6)
        # A file is named with its ending: it may bear the name of a light or sensor that is known.
        assert about["r2h"]["export"]["illuminant"] == "lamp.csv"
        sensor = "mine.csv" if "--sensor" in words else "gaussian"
        assert about["r2h"]["export"]["sensor"] == sensor
        assert about["r2h"]["export"]["bands"] == about["bands"]
        assert np.load(tmp_path / "a.npy").shape == (2, *expected().shape[1:])


def test_a_sensor_s_bands_lie_by_wavelength_and_are_named(r2h, tmp_path):
    make(tmp_path / "a.zarr")
    # B3 is red, B8 between green and red, as Landsat's panchromatic band is.
    table = "425,0,0,0\n475,1,0,0\n525,0,0,1\n575,0,0,0\n625,0,1,0\n675,0,0,0\n"
    (tmp_path / "mine.csv").write_text(f"wavelength_nm,B1,B3,B8\n{table}")
    code, _, err = r2h(
        "export", tmp_path / "a.zarr", tmp_path / "a.tif", "--sensor", tmp_path / "mine.csv"
    )
    assert code == 0, err
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.descriptions == ("B1", "B8", "B3")
        assert json.loads(file.tags()["R2H"])["export"]["bands"] == ["B1", "B8", "B3"]
    assert "by wavelength" in " ".join(r2h("export", "--help")[1].split())


@pytest.mark.parametrize(
    "words",
    [
        ("--sensor", "sentinel-9"),
        ("--wavelengths", "700:40"),
        ("--illuminant", "moon"),
        ("--sensor", "a.csv", "--wavelengths", "500:20"),
    ],
)
def test_bands_and_lights_that_are_none_are_refused(r2h, tmp_path, words):
    make(tmp_path / "a.zarr")
    code, _, err = r2h("export", tmp_path / "a.zarr", tmp_path / "a.npy", *words)
    assert code == 2, err
    assert not (tmp_path / "a.npy").exists()


@pytest.mark.parametrize("window", ["1,2,3", "a,b,c,d", "0,0,99,9", "0,0,0,9"])
def test_a_window_that_is_none_is_refused(r2h, tmp_path, window):
    make(tmp_path / "a.zarr")
    code, _, err = r2h("export", tmp_path / "a.zarr", tmp_path / "a.npy", "--window", window)
    assert code == 2
    assert "window" in err
    assert not (tmp_path / "a.npy").exists()


def test_the_doctor_ticks_each_reader_and_fails_where_one_does(r2h, tmp_path):
    write_sidecars(make(tmp_path / "a.zarr"))
    code, out, err = r2h("doctor", tmp_path / "a.zarr")
    assert code == 0, out + err
    assert out.count("✓") == 8
    text = (tmp_path / "a.vrt").read_text()
    (tmp_path / "a.vrt").write_text(text.replace("528000.0", "528001.0"))
    code, out, _ = r2h("doctor", tmp_path / "a.zarr")
    assert code == 1
    assert "✗ GDAL, the VRT" in out
    assert "transform is" in out
    code, out, _ = r2h("doctor", tmp_path / "a.zarr", "--json")
    assert code == 1
    assert {"reader": "xarray", "good": True}.items() <= json.loads(out)[0].items()


def test_a_cube_that_is_not_finished_is_refused(r2h, tmp_path):
    make(tmp_path / "a.zarr", seal=False)
    for words in (("doctor",), ("export",)):
        out = [tmp_path / "a.npy"] if words[0] == "export" else []
        code, _, err = r2h(*words, tmp_path / "a.zarr", *out)
        assert code == 2
        assert "finished" in err
