"""The main job by its command, on small rasters, with a small network of 31 wavelengths."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import Affine, array_bounds
from rasterio.warp import transform_geom
from typer.main import get_command

from flows import cli, forecast, record
from flows.commands.common import STOPPED
from flows.job import open_job
from flows.settings import ReconstructSettings
from flows.tasks import plan_task
from model import Reconstructor
from pipeline.camera import load_camera
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.lock import locked
from pipeline.sums import Sums
from tests.model_fixtures import OPENVINO, small_checkpoint
from tests.toys import objects

TRANSFORM = Affine(0.5, 0, 350000, 0, -0.5, 4060000)
FAST = ("--tile", "16", "--overlap", "4", "--chunk", "16", "--region", "16")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(small_checkpoint(tmp_path_factory.mktemp("model") / "small.safetensors"))


@pytest.fixture
def raster(tmp_path):
    """An orthophoto of 45 x 50 pixels with an alpha band and a hole in it."""
    path = tmp_path / "ortho photo.tif"
    values = np.random.default_rng(0).integers(150, 190, (4, 45, 50), np.uint8)
    values[3] = 255
    values[3, 10:20, 5:30] = 0
    profile = {"driver": "GTiff", "height": 45, "width": 50, "count": 4, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=32632, transform=TRANSFORM, **profile) as file:
        file.write(values)
    return path


@pytest.fixture
def r2h(monkeypatch, capsys, checkpoint):
    """Run the command; returns its exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["r2h", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    def reconstruct(source, destination, *options):
        weights = () if "--checkpoint" in options else ("--checkpoint", checkpoint)
        return run("reconstruct", source, destination, *weights, *FAST, *options)

    run.reconstruct = reconstruct
    return run


def test_a_raster_becomes_a_labelled_cube(r2h, raster, tmp_path):
    cube = tmp_path / "a.zarr"
    code, _, err = r2h.reconstruct(raster, cube)
    assert code == 0, err
    assert "taken as srgb of camera srgb in light E, white = 255" in err
    opened = xr.open_zarr(cube)
    one = opened.reflectance.sel(wavelength=550, method="nearest")
    assert one.shape == (45, 50)
    assert np.isnan(one.values[10:20, 5:30]).all()
    assert int(np.isnan(one.values).sum()) == 250
    with rasterio.open(cube) as read:
        assert read.count == 31
        assert read.crs.to_epsg() == 32632
        assert read.transform == TRANSFORM
    record = json.loads((tmp_path / "a.run.json").read_text())
    assert record["provenance"] == SpectralCube.open(str(cube)).settings
    assert record["tiles"] > 0


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_is_stored_renders_back_to_what_was_seen(r2h, raster, tmp_path, dtype):
    with rasterio.open(raster, "r+") as file:
        values = file.read()
        # Every primary and mixture, from black to full.
        values[:3, 25:] = np.random.default_rng(1).choice([0, 1, 40, 128, 255], (3, 20, 50))
        file.write(values)
    r2h.reconstruct(raster, tmp_path / "a.zarr", "--dtype", dtype)
    camera = load_camera("srgb")
    cube = xr.open_zarr(tmp_path / "a.zarr").reflectance.values
    seen = camera.reading("srgb", 255).decode(values[:3])
    off = np.abs(camera.render(cube) - seen).max(axis=0)
    known = ~np.isnan(cube[0])
    assert off[known].max() < 2e-4
    quality = json.loads((tmp_path / "a.run.json").read_text())["quality"]
    assert quality["pixels"] == known.sum()
    assert quality["closure_max"] == pytest.approx(off[known].max(), abs=2e-5)
    assert quality["outside_gamut"] == 0
    assert quality["saturated"] == pytest.approx((values[:3] == 255).any(axis=0).sum() / 2000)


def test_info_says_what_it_is(r2h, raster, tmp_path):
    r2h.reconstruct(raster, tmp_path / "a.zarr")
    code, out, _ = r2h("info", tmp_path / "a.zarr", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["sealed"]
    assert facts["note"] == "estimated from RGB, not measured"
    assert facts["camera"]["encoding"] == "srgb"
    assert facts["input"]["name"] == "ortho photo.tif"


def test_info_says_where_a_part_lies_and_not_only_its_input(r2h, raster, tmp_path):
    r2h.reconstruct(raster, tmp_path / "a.zarr", "--window", "10,20,15,16")
    facts = json.loads(r2h("info", tmp_path / "a.zarr", "--json")[1])
    with rasterio.open(tmp_path / "a.vrt") as cube:
        assert facts["transform"] == list(cube.transform)[:6]
        assert rasterio.CRS.from_wkt(facts["crs"]) == cube.crs
    assert facts["transform"] != facts["input"]["transform"]


@pytest.mark.parametrize("batch", ["1", "3"])
def test_regions_change_no_byte(r2h, raster, tmp_path, batch):
    """Another region puts a tile beside other tiles and in another place of the batch."""
    r2h.reconstruct(raster, tmp_path / "a.zarr", "--batch", batch)
    r2h.reconstruct(raster, tmp_path / "b.zarr", "--batch", batch, "--region", "64")
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")


def test_a_cube_that_another_run_is_writing_is_tried_again_later(r2h, raster, tmp_path):
    cube = tmp_path / "a.zarr"
    with locked(str(cube)):
        code, _, err = r2h.reconstruct(raster, cube, "--metrics", tmp_path / "run.prom")
    assert code == STOPPED
    assert "another run that is writing it" in err
    assert 'r2h_scenes{state="busy"} 1.0' in (tmp_path / "run.prom").read_text()
    assert not cube.exists()


@pytest.mark.parametrize("name", ["a.tif", "a.NC", "a.json"])
def test_a_name_that_promises_another_format_is_refused(r2h, raster, tmp_path, name):
    before = sorted(tmp_path.iterdir())
    code, _, err = r2h.reconstruct(raster, tmp_path / name)
    assert code == 2
    assert "Name it NAME.zarr" in err
    assert sorted(tmp_path.iterdir()) == before


def test_existing_destinations(r2h, raster, tmp_path):
    cube = tmp_path / "a.zarr"
    r2h.reconstruct(raster, cube)
    before = objects(cube)
    code, _, err = r2h.reconstruct(raster, cube)
    assert code == 2
    assert "finished cube. Add --overwrite" in err
    (cube / "reflectance" / "0.1.1").unlink()
    (cube / ".zmetadata").unlink()
    code, _, err = r2h.reconstruct(raster, cube)
    assert code == 2
    assert "half-finished cube. Add --resume" in err
    code, _, err = r2h.reconstruct(raster, cube, "--resume", "--seed", "1")
    assert code == 2
    assert "seed 0 in the cube, 1 now" in err
    assert r2h.reconstruct(raster, cube, "--resume")[0] == 0
    assert objects(cube) == before
    assert r2h.reconstruct(raster, cube, "--overwrite", "--seed", "1")[0] == 0
    assert objects(cube) != before


def test_overwrite_deletes_nothing_but_cubes(r2h, raster, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("keep")
    code, _, err = r2h.reconstruct(raster, folder, "--overwrite")
    assert code == 2
    assert "only a cube" in err
    assert (folder / "letter.txt").read_text() == "keep"


def test_parts_are_parts_of_the_full_cube(r2h, raster, tmp_path):
    r2h.reconstruct(raster, tmp_path / "full.zarr")
    full = xr.open_zarr(tmp_path / "full.zarr").reflectance
    left, bottom, right, top = array_bounds(20, 30, TRANSFORM @ Affine.translation(7, 9))
    box = f"{left},{bottom},{right},{top}"
    assert r2h.reconstruct(raster, tmp_path / "w.zarr", "--window", "9,7,20,30")[0] == 0
    assert r2h.reconstruct(raster, tmp_path / "b.zarr", f"--bbox={box}")[0] == 0
    for name in ("w", "b"):
        part = xr.open_zarr(tmp_path / f"{name}.zarr").reflectance
        xr.testing.assert_equal(part, full[:, 9:29, 7:37])


def test_a_part_that_reaches_beyond_the_scene_is_said_to_be_cut(r2h, raster, tmp_path):
    left, bottom, right, top = array_bounds(45, 50, TRANSFORM)
    for number, (reach, said) in enumerate([(0.5, False), (0.6, True), (-3, False)]):
        box = f"{left - reach},{bottom + 5},{right - 5},{top - 5}"
        cube = tmp_path / f"{number}.zarr"
        code, _, err = r2h.reconstruct(raster, cube, f"--bbox={box}")
        assert code == 0, err
        assert ("cut at the scene's edge" in err) == said


def test_an_area_is_nodata_outside(r2h, raster, tmp_path):
    r2h.reconstruct(raster, tmp_path / "full.zarr")
    full = xr.open_zarr(tmp_path / "full.zarr").reflectance
    corners = [TRANSFORM @ corner for corner in [(5, 22), (40, 22), (5, 44), (5, 22)]]
    shape = {"type": "Polygon", "coordinates": [corners]}
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps(transform_geom("EPSG:32632", "OGC:CRS84", shape)))
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr", "--aoi", area)
    assert code == 0, err
    part = xr.open_zarr(tmp_path / "a.zarr").reflectance.values
    known = ~np.isnan(part[0])
    assert 0.4 < known.mean() < 0.6
    same = full.values[:, 22:44, 5:40]
    assert part.shape == same.shape
    assert (part[:, known] == same[:, known]).all()


def test_the_plan_says_what_the_run_does_and_writes_nothing(r2h, raster, tmp_path, checkpoint):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = r2h("plan", raster, "--checkpoint", checkpoint, *FAST, "--json")
    assert code == 0, err
    assert sorted(tmp_path.rglob("*")) == before
    planned = json.loads(out)
    assert (
        r2h("plan", raster, "--checkpoint", checkpoint, *FAST)[2].strip() == planned["assumptions"]
    )
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr")
    record = json.loads((tmp_path / "a.run.json").read_text())
    assert planned["assumptions"] == record["assumptions"]
    assert planned["tiles"] == record["tiles"] == 42
    assert (planned["regions"], planned["disk_bytes"]) == (12, 45 * 50 * (62 + 21 + 4 + 1))
    assert planned["seconds"] > 0
    assert "42 tiles in 12 region(s), 162.5% computed twice" in err


@pytest.mark.parametrize("limit", ["--memory", "--disk"])
def test_what_does_not_fit_is_refused_before_anything_is_written(r2h, raster, tmp_path, limit):
    before = sorted(tmp_path.rglob("*"))
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr", limit, "0.0001")
    assert code == 2
    assert "0.00 GB" in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("more", [("--batch", "8"), ("--threads", "8")])
def test_memory_that_is_surely_too_little_is_told_before_the_model_takes_it(
    r2h, raster, tmp_path, checkpoint, monkeypatch, more
):
    def tried(*_):
        raise AssertionError("the model took the memory that is not there")

    monkeypatch.setattr(Reconstructor, "__call__", tried)
    given = ("plan", raster, "--checkpoint", checkpoint, "--tile", "512", "--threads", "1")
    code, _, err = r2h(*given, "--memory", "2", *more)
    assert code == 2
    assert "fit into the memory it is given" in err
    assert "got 2.00 GB" in err


@pytest.mark.parametrize(
    "more", [{"tile": 768}, {"tile": 256, "batch": 4, "engine": "torch"}], ids=["alone", "batch"]
)
def test_the_least_memory_is_no_more_than_a_trial_takes(raster, tmp_path, checkpoint, more):
    given = {"source": str(raster), "destination": str(tmp_path / "a.zarr"), "threads": 1}
    job = open_job(ReconstructSettings(checkpoint=str(checkpoint), **given, **more))
    least = forecast._least(job)
    assert least <= forecast.forecast(job).peak_bytes


def test_the_least_memory_counts_the_process_beside_the_model(
    raster, tmp_path, checkpoint, monkeypatch
):
    monkeypatch.setattr(forecast, "peak_resident", lambda: 0)
    given = {"source": str(raster), "destination": str(tmp_path / "a.zarr"), "threads": 1}
    opened = (
        open_job(ReconstructSettings(checkpoint=str(checkpoint), **given, engine=engine, batch=8))
        for engine in ("onnxruntime", "torch")
    )
    least = [forecast._least(job) for job in opened]
    floats = 4 * 8 * 256**2 * (31 + 4)
    assert least[0] > 1.05 * (0.25e9 + 10 * floats)
    assert least[0] > least[1] > 1.05 * (0.25e9 + 6 * floats)


def nothing_is_begun(r2h, raster, cube):
    code, _, err = r2h.reconstruct(raster, cube, "--threads", 1)
    assert code == STOPPED
    assert "stopped; nothing was begun" in err
    assert not cube.exists()


def test_a_run_that_is_told_to_stop_does_not_look_at_all_its_windows(
    r2h, raster, tmp_path, monkeypatch
):
    looked, attending = [], Reconstructor.attending

    def told(self, views, threads, go_on):
        def once():
            go_on()
            looked.append(1)
            os.kill(os.getpid(), signal.SIGTERM)

        return attending(self, [*views] * 9, threads, once)

    monkeypatch.setattr(Reconstructor, "attending", told)
    nothing_is_begun(r2h, raster, tmp_path / "a.zarr")
    assert len(looked) == 1


def test_a_run_that_is_told_to_stop_ends_its_trial(r2h, raster, tmp_path, monkeypatch):
    tries, answer = [], Reconstructor.__call__

    def told(self, rgb, noise):
        if not tries:
            os.kill(os.getpid(), signal.SIGTERM)
        tries.append(rgb)
        return answer(self, rgb, noise)

    monkeypatch.setattr(Reconstructor, "__call__", told)
    nothing_is_begun(r2h, raster, tmp_path / "a.zarr")
    assert len(tries) == 1


def test_a_forecast_of_memory_has_a_margin(raster, tmp_path, checkpoint):
    given = {"source": str(raster), "destination": str(tmp_path / "a.zarr"), "threads": 1}
    job = open_job(ReconstructSettings(checkpoint=str(checkpoint), tile=16, overlap=4, **given))
    known = forecast.forecast(job).peak_bytes
    assert known >= 1.05 * (forecast.peak_resident() + job.plan.buffer_bytes)


def test_a_prefect_server_that_does_not_answer_is_told_in_a_line(raster, tmp_path, checkpoint):
    given = ["reconstruct", raster, tmp_path / "a.zarr", "--checkpoint", checkpoint, *FAST]
    place = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": f"{tmp_path}/home"}
    script = "from flows.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, given), "--prefect"],
        env=os.environ | place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "a Prefect server must answer" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_threads_have_a_bound(r2h, raster):
    code, _, err = r2h("plan", raster, "--threads", "100000")
    assert code == 2
    assert "setting 'threads': input should be less than or equal to 1024" in err


def test_a_seam_beyond_the_limit_fails_and_leaves_the_cube_unsealed(r2h, raster, tmp_path):
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr", "--max-seam", "0.00005")
    assert code == 1
    assert "within --max-seam" in err
    assert not SpectralCube.open(str(tmp_path / "a.zarr")).sealed
    seam = json.loads((tmp_path / "a.run.json").read_text())["seam"]
    assert seam["disagreement_p99"] > 0.00005
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr", "--max-seam", "6", "--resume")
    assert code == 0, err
    assert SpectralCube.open(str(tmp_path / "a.zarr")).sealed


def test_figures_of_the_run_before_do_not_stay(r2h, raster, tmp_path, monkeypatch):
    figures, cube = tmp_path / "run.prom", tmp_path / "a.zarr"
    given = ("--metrics", figures, "--overwrite")
    assert r2h.reconstruct(raster, cube, *given)[0] == 0
    assert 'r2h_scenes{state="done"} 1.0' in figures.read_text()
    assert r2h.reconstruct(raster, cube, *given, "--camera", "none")[0] == 2
    assert 'r2h_scenes{state="failed"} 1.0' in figures.read_text()
    assert "r2h_megapixels 0.0\n" in figures.read_text()
    add = Sums.add
    monkeypatch.setattr(Sums, "add", lambda *of: (signal.raise_signal(signal.SIGTERM), add(*of))[1])
    assert r2h.reconstruct(raster, cube, *given)[0] == STOPPED
    assert 'r2h_scenes{state="stopped"} 1.0' in figures.read_text()
    # What is told is what ended the run.
    code, _, err = r2h.reconstruct(
        raster, cube, "--overwrite", "--camera", "none", "--metrics", tmp_path / "no" / "run.prom"
    )
    assert code == 2
    assert "camera" in err


def test_a_run_told_to_stop_says_so_and_resumes(r2h, raster, tmp_path, monkeypatch):
    r2h.reconstruct(raster, tmp_path / "a.zarr", "--region", "64")
    add = Sums.add

    def told(self, tile, values):
        if tile.at == (2, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, tile, values)

    with monkeypatch.context() as patch:
        patch.setattr(Sums, "add", told)
        code, _, err = r2h.reconstruct(raster, tmp_path / "b.zarr", "--region", "64")
    assert code == STOPPED
    assert "--resume" in err
    assert 0 < len(SpectralCube.open(str(tmp_path / "b.zarr")).finished()) < 12
    assert r2h.reconstruct(raster, tmp_path / "b.zarr", "--region", "64", "--resume")[0] == 0
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")
    assert objects(tmp_path / "a_aux.zarr") == objects(tmp_path / "b_aux.zarr")


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", OPENVINO])
def test_threads_change_no_byte(r2h, raster, tmp_path, engine):
    for threads in "123":
        cube = tmp_path / f"{threads}.zarr"
        assert r2h.reconstruct(raster, cube, "--engine", engine, "--threads", threads)[0] == 0
        assert objects(cube) == objects(tmp_path / "1.zarr")


def test_the_shipped_weights_give_the_same_bytes_however_the_work_is_cut(r2h, raster, tmp_path):
    tiling = ("--tile", "32", "--overlap", "8", "--chunk", "16")
    cuts = {
        "a": ("--threads", "1"),
        "b": ("--threads", "3", "--region", "16"),
        "c": ("--threads", "2", "--region", "32"),
    }
    for name, cut in cuts.items():
        code, _, err = r2h("reconstruct", raster, tmp_path / f"{name}.zarr", *tiling, *cut)
        assert code == 0, err
    for kind in ("", "_aux"):
        first, *others = (objects(tmp_path / f"{name}{kind}.zarr") for name in cuts)
        assert all(other == first for other in others)


def test_a_batch_moves_a_last_bit_at_most(r2h, raster, tmp_path):
    """A convolution over a batch may sum in another order: 4e-7, a rounding tie of 1e-4 at most."""
    stored = []
    for batch in ("1", "3"):
        r2h.reconstruct(raster, tmp_path / f"{batch}.zarr", "--batch", batch)
        cube = xr.open_zarr(tmp_path / f"{batch}.zarr", mask_and_scale=False).reflectance
        stored.append(cube.values.astype(int))
    apart = np.abs(stored[0] - stored[1])
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01


def test_another_engine_is_another_cube(r2h, raster, tmp_path):
    r2h.reconstruct(raster, tmp_path / "a.zarr", "--engine", "torch")
    (tmp_path / "a.zarr" / "reflectance" / "0.1.1").unlink()
    code, _, err = r2h.reconstruct(
        raster, tmp_path / "a.zarr", "--engine", "onnxruntime", "--resume"
    )
    assert code == 2
    assert "engine torch in the cube, onnxruntime now" in err


def test_config_file_and_command_line(r2h, raster, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text('seed = 7\nsteps = 2\ndtype = "float32"\n')
    r2h.reconstruct(raster, tmp_path / "a.zarr", "--config", config, "--steps", "3")
    settings = SpectralCube.open(str(tmp_path / "a.zarr")).settings
    assert (settings["seed"], settings["steps"], settings["dtype"]) == (7, 3, "float32")


def write(path, values, **profile):
    with rasterio.open(
        path,
        "w",
        height=values.shape[1],
        width=values.shape[2],
        count=values.shape[0],
        dtype=values.dtype,
        **profile,
    ) as file:
        file.write(values)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 500), (17, 15), (33, 1)])
def test_every_size_works(r2h, tmp_path, size):
    values = np.random.default_rng(1).integers(0, 256, (3, *size), np.uint8)
    source = write(tmp_path / "a.png", values, driver="PNG")
    code, _, err = r2h.reconstruct(source, tmp_path / "a.zarr")
    assert code == 0, err
    cube = xr.open_zarr(tmp_path / "a.zarr").reflectance
    assert cube.shape == (31, *size)
    assert np.isfinite(cube.values).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_white_of_16_bit_images_is_said_or_refused(r2h, tmp_path):
    values = np.random.default_rng(1).integers(0, 4096, (3, 20, 20), np.uint16)
    source = write(tmp_path / "a.tif", values, driver="GTiff", photometric="RGB")
    code, _, err = r2h.reconstruct(source, tmp_path / "a.zarr")
    assert code == 2
    assert "--white" in err
    code, _, err = r2h.reconstruct(source, tmp_path / "a.zarr", "--white", "4095")
    assert code == 0
    assert "taken as linear" in err


def bad(tmp_path):
    """Each bad input: options of `reconstruct`, and words its refusal must hold."""
    text = tmp_path / "text.tif"
    text.write_text("no image")
    (tmp_path / "empty.png").touch()
    one = write(tmp_path / "one.tif", np.zeros((1, 8, 8), np.uint8), driver="GTiff")
    two = write(tmp_path / "two.tif", np.zeros((2, 8, 8), np.uint8), driver="GTiff")
    good = write(tmp_path / "good.png", np.zeros((3, 40, 40), np.uint8), driver="PNG")
    config = tmp_path / "bad.toml"
    config.write_text("tiles = 3\n")
    return [
        ((tmp_path / "none.tif",), "existing file"),
        ((text,), "readable"),
        ((tmp_path / "empty.png",), "with bytes"),
        ((one,), "3 bands"),
        ((two,), "3 bands"),
        ((good, "--checkpoint", text), "checkpoint must be"),
        ((good, "--checkpoint", tmp_path / "none.safetensors"), "checkpoint must be"),
        ((good, "--overlap", "9"), "overlap is 0 to 8"),
        ((good, "--tile", "20"), "multiple of 8"),
        ((good, "--region", "24"), "multiple of the chunk"),
        ((good, "--steps", "6"), "steps"),
        ((good, "--config", config), "tiles"),
        ((good, "--config", tmp_path / "none.toml"), "config"),
        ((good, "--window", "0,0,41,1"), "inside the scene"),
        ((good, "--window", "0,0,4"), "window"),
        ((good, "--bbox", "0,0,1,1"), "georeferenced"),
        ((good, "--window", "0,0,4,4", "--bbox", "0,0,1,1"), "at most one"),
        ((good, "--camera", "kodak"), "camera"),
        ((good, "--encoding", "log"), "encoding"),
        ((good, "--white", "0"), "white"),
    ]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_bad_input_is_one_line_exit_2_and_leaves_nothing(r2h, tmp_path):
    for number, (options, words) in enumerate(bad(tmp_path)):
        before = sorted(tmp_path.rglob("*"))
        code, _, err = r2h.reconstruct(options[0], tmp_path / f"{number}.zarr", *options[1:])
        lines = [line for line in err.splitlines() if line]
        assert code == 2, (options, err)
        assert len(lines) == 1, err
        assert words in lines[0]
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_an_unwritable_destination_is_refused(r2h, tmp_path):
    good = write(tmp_path / "good.png", np.zeros((3, 8, 8), np.uint8), driver="PNG")
    (tmp_path / "file").write_text("a file, not a folder")
    code, _, err = r2h.reconstruct(good, tmp_path / "file" / "a.zarr")
    assert code == 2
    assert "writable" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "good.png"]


def test_help_of_every_command_has_an_example():
    def commands(group, *before):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, *before, name)
            else:
                yield " ".join((*before, name)), command.help

    helped = dict(commands(get_command(cli.app)))
    assert {"reconstruct", "camera fit", "view", "export"} <= helped.keys()
    for name, text in helped.items():
        assert f"Example: r2h {name}" in " ".join(text.split()), name


def test_what_a_help_says_in_brackets_is_not_lost():
    def texts(command):
        for param in command.params:
            yield getattr(param, "help", None) or ""
        for inner in getattr(command, "commands", {}).values():
            yield from texts(inner)

    assert not [text for text in texts(get_command(cli.app)) if "[" in text]  # markup to rich


def test_names_that_differ_by_their_ending_would_share_what_lies_beside(r2h, raster, tmp_path):
    assert r2h.reconstruct(raster, tmp_path / "a.zarr")[0] == 0
    code, _, err = r2h.reconstruct(raster, tmp_path / "a")
    assert (code, "a.run.json of a.zarr" in err) == (2, True)
    assert not (tmp_path / "a").exists()


def test_a_name_whose_item_would_be_anothers_record_is_refused(r2h, raster, tmp_path):
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.run.zarr")
    assert (code, "does not end in .run" in err) == (2, True)


def test_a_cube_in_a_cube_is_refused(r2h, raster, tmp_path):
    assert r2h.reconstruct(raster, tmp_path / "a.zarr")[0] == 0
    code, _, err = r2h.reconstruct(raster, tmp_path / "a.zarr" / "part" / "b.zarr")
    assert (code, "nothing else lies in a cube" in err) == (2, True)
    assert not (tmp_path / "a.zarr" / "part").exists()


@pytest.mark.parametrize("option", ["--aoi=", "--checkpoint=", "--metrics=", ""])
def test_an_option_that_a_shell_left_empty_is_refused(r2h, raster, tmp_path, option):
    code, _, err = r2h("reconstruct", raster, tmp_path / "a.zarr", option)
    assert (code, "an option has a value" in err) == (2, True)
    assert not (tmp_path / "a.zarr").exists()


def test_room_of_a_cube_that_is_gone_on_with_is_the_share_that_is_there(r2h, raster, tmp_path):
    path = tmp_path / "a.zarr"
    assert r2h.reconstruct(raster, path)[0] == 0
    settings = ReconstructSettings(source=str(raster), destination=str(path))
    needed, held = 10**9, forecast.room_of(settings.model_copy(update={"overwrite": True}), 10**9)
    beside = sum(p.stat().st_size for p in tmp_path.rglob("*_aux.zarr/**/*") if p.is_file())
    assert beside < held < 10**7
    assert forecast.room_of(settings, needed) == needed
    cube = SpectralCube.open(str(path), "r+")
    cube.drop(0, 0)
    assert forecast.room_of(settings, needed) == needed * 11 // 12
    assert forecast.room_of(settings, 1) < held
    # A file that is there in a listing and gone by the next call, as of another run that begins.
    (tmp_path / "a.zarr/.zattrs.0.partial").symlink_to("gone")
    assert forecast.room_of(settings, 1) < held


def test_a_flow_plans_nothing_that_does_not_fit(raster, tmp_path, checkpoint):
    path, given = tmp_path / "a.zarr", {"checkpoint": checkpoint, "memory": 0.01}
    settings = ReconstructSettings(source=str(raster), destination=str(path), **given)
    with pytest.raises(Refusal, match="memory"):
        plan_task.fn(settings)
    assert not path.exists()


@pytest.mark.parametrize(("engine", "told"), [("torch-bfloat16", True), ("torch", False)])
def test_a_rest_that_rounds_elsewhere_is_told(r2h, raster, monkeypatch, caplog, engine, told):
    path = str(raster.with_name("a.zarr"))
    assert r2h.reconstruct(raster, path, "--engine", engine)[0] == 0
    cube = SpectralCube.open(path, "r+")
    cube.unseal()
    cube.drop(0, 0)
    monkeypatch.setattr("flows.environment._processor", lambda: "another")
    code, _, err = r2h.reconstruct(raster, path, "--engine", engine, "--resume")
    assert code == 0, err
    assert ("begun in bfloat16 elsewhere" in caplog.text) is told


@pytest.mark.parametrize(("planned", "good"), [(1, True), (2, False)])
def test_parts_are_compared_with_the_run_that_planned_them(monkeypatch, planned, good):
    """Not with the environment that is the latest new one: a cube may go on where it was begun."""
    of = {"environment": {"batch": planned}, "environments": [{"batch": 1}, {"batch": 2}]}
    monkeypatch.setattr(record, "recorded", lambda _: of)
    monkeypatch.setattr(record, "environment", lambda _: {"batch": 1})
    job = SimpleNamespace(settings=SimpleNamespace(destination="a.zarr"))
    with nullcontext() if good else pytest.raises(Refusal, match="made alike; got batch 2"):
        record.refuse_elsewhere(job)
