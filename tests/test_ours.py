"""What R2H wrote is never taken for what it was made of."""

import fsspec
import numpy as np
import pytest
import rasterio

from flows.metrics import write_metrics
from pipeline.errors import Refusal
from pipeline.export import export
from pipeline.mosaic import matching, open_scene
from pipeline.report import quicklook, write_quicklook, write_spectra
from pipeline.scene import RasterScene
from pipeline.sidecar import write_sidecars
from pipeline.view import CubeView
from tests.cubes import make
from tests.servers import serving
from tests.test_mosaic import save, whole

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def folder(tmp_path):
    """Two pictures, of which one is named as a quicklook is, and a cube with its sidecars."""
    for name in ("a.tif", "mine.quicklook.tif"):
        save(tmp_path / name, whole())
    write_sidecars(cube := make(tmp_path / "cube.zarr"))
    view = CubeView.open(cube.uri)
    write_quicklook(view, quicklook(view), tmp_path / "cube.quicklook.png")
    write_spectra(view, quicklook(view), tmp_path / "cube.spectra.png")
    return tmp_path


def test_a_pattern_leaves_out_quicklooks_and_nothing_that_is_only_named_so(folder):
    wanted = ["a.tif", "mine.quicklook.tif"]
    assert matching(f"{folder}/*.tif") == [f"{folder}/{name}" for name in wanted]
    (folder / "cube.vrt").unlink()
    (folder / "cube.zarr").rename(folder / "cube")
    (folder / "cube_aux.zarr").rename(folder / "aux")
    assert matching(f"{folder}/*.*") == [f"{folder}/{name}" for name in wanted]
    for path in folder.glob("*.tif"):
        fsspec.filesystem("memory").pipe_file(f"/ours/{path.name}", path.read_bytes())
    assert matching("memory://ours/*.tif") == [f"memory:///ours/{name}" for name in wanted]
    assert open_scene(f"{folder}/*.tif").header["name"] == "a.tif and 1 more"


def test_a_pattern_of_pictures_alone_matches_nothing(folder):
    with pytest.raises(Refusal, match="not only cubes"):
        matching(f"{folder}/cube.quicklook*")


def test_only_what_is_named_so_is_read_when_files_are_listed(folder, monkeypatch):
    read = []
    monkeypatch.setattr("pipeline.ours.is_ours", lambda uri: read.append(uri) or False)
    matching(f"{folder}/*")
    names = [f"cube.{of}" for of in ("quicklook.png", "quicklook.tif", "spectra.png", "vrt")]
    assert [name.rpartition("/")[2] for name in read] == [*names, "mine.quicklook.tif"]


def test_by_its_name_or_another_it_is_refused(folder):
    cube = make(folder / "b.zarr")
    cube.seal()
    export(cube, str(folder / "export.tif"))
    (folder / "cube.quicklook.tif").rename(folder / "look.tif")
    for name in ("look.tif", "cube.quicklook.png", "cube.spectra.png", "export.tif"):
        with pytest.raises(Refusal, match=r"not estimated by R2H.*made of"):
            RasterScene.open(str(folder / name))


def test_a_look_replaces_no_picture_but_a_cubes(folder, command):
    assert command("look", folder / "cube.zarr")[0] == 0
    (folder / "cube.spectra.png").write_bytes(b"mine")
    code, _, said = command("look", folder / "cube.zarr")
    assert code == 2
    assert "only what R2H made is replaced" in said
    assert (folder / "cube.spectra.png").read_bytes() == b"mine"


@pytest.mark.parametrize("place", ["file://{}/far.zarr", "memory:/{}/far.zarr"])
def test_a_look_lies_beside_its_cube_wherever_that_is(tmp_path, command, place):
    uri = place.format(tmp_path)
    cube = make(uri)
    cube.seal()
    code, _, err = command("look", uri)
    assert code == 0, err
    fs, path = fsspec.core.url_to_fs(uri.removesuffix(".zarr"))
    assert fs.isfile(f"{path}.quicklook.png")
    assert fs.isfile(f"{path}.spectra.png")


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_uri_is_the_path_that_it_names(tmp_path, command, weights, host, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a b.tif", whole() | np.uint8(1))
    place = f"file://{host}{tmp_path}"
    small = ("--checkpoint", weights, "--tile", 32, "--overlap", 8, "--chunk", 32)
    assert command("reconstruct", f"{place}/a%20b.tif", f"{place}/o%20p.zarr", *small)[0] == 0
    assert (tmp_path / "o p.zarr").is_dir()
    assert not (tmp_path / "localhost").exists()
    code, _, said = command("reconstruct", f"{place}/a%20b.tif", "file://far/x.zarr", *small)
    assert (code, "of this machine" in said) == (2, True)


def test_a_run_into_the_folder_of_its_sheets_can_be_made_again(tmp_path, command, weights):
    save(tmp_path / "a.tif", whole() | np.uint8(1))
    words = ("reconstruct", f"{tmp_path}/*.tif", tmp_path / "out.zarr", "--checkpoint", weights)
    small = ("--tile", 32, "--overlap", 8, "--chunk", 32)
    assert command(*words, *small)[0] == 0
    with rasterio.open(tmp_path / "out.quicklook.tif") as look:
        before = look.read()
    for again in ("--resume", "--overwrite"):
        code, _, said = command(*words, *small, again)
        assert code == 0, said
    with rasterio.open(tmp_path / "out.quicklook.tif") as look:
        np.testing.assert_array_equal(look.read(), before)


@pytest.mark.parametrize(
    ("word", "out", "made"),
    [
        ("look", "", ["w.quicklook.png", "w.spectra.png"]),
        ("look", "new/", ["new/w.quicklook.png", "new/w.spectra.png"]),
        ("report", "w.html", ["w.html"]),
    ],
)
def test_a_web_server_takes_no_files(folder, command, word, out, made):
    make(folder / "w.zarr").seal()
    with serving("files", folder) as server:
        code, _, said = command(word, f"{server}/w.zarr")
        assert (code, "a place that takes files" in said) == (2, True), said
        assert command(word, f"{server}/w.zarr", "--out", f"{folder}/{out}")[0] == 0
    assert all((folder / name).exists() for name in made)


def test_figures_replace_none_but_their_own(tmp_path):
    place = tmp_path / "figures.prom"
    write_metrics(str(place), [{"state": "failed"}])
    write_metrics(str(place), [{"state": "done"}])
    place.write_text("my notes")
    with pytest.raises(Refusal, match=r"figures\.prom"):
        write_metrics(str(place), [{"state": "failed"}])
    assert place.read_text() == "my notes"
