"""What a user's own arrays, process and settings of other libraries may not change unseen."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rasterio
import torch
import zarr
from affine import Affine

import model
from flows.progress import stopped_by_signals
from flows.reconstruct import reconstruct
from flows.settings import ReconstructSettings
from model import Reconstructor, RootPolynomial
from model.checkpoint import load
from pipeline.camera import LIBRARY, Camera, load_camera
from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube, quantise, unpack
from pipeline.errors import Refusal
from pipeline.export import export
from pipeline.exposure import scale_of
from pipeline.grid import Window
from pipeline.light import load_light
from pipeline.mosaic import open_scene
from pipeline.rendering import render
from pipeline.scene import RasterScene
from pipeline.scores import Scores
from pipeline.view import CubeView
from tests.beside import add_layers
from tests.model_fixtures import OPENVINO, awake, camera, small_checkpoint, small_model, tile

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
NAN = np.float32("nan")


def values(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).random((31, height, width), np.float32)


@pytest.fixture
def cube(tmp_path):
    made = SpectralCube.create(str(tmp_path / "a.zarr"), CubeSpec(40, 50, WAVELENGTHS, 16))
    made.write(Window(0, 0, 40, 50), values(), np.ones((40, 50), bool))
    add_layers(made.uri)
    return SpectralCube.open(made.uri)


def objects(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_order_of_axes_in_zarrs_settings_changes_no_byte(tmp_path, zarr_format):
    spec = CubeSpec(40, 50, WAVELENGTHS, 16, zarr_format=zarr_format)
    for name, order in (("a.zarr", "C"), ("b.zarr", "F")):
        with zarr.config.set({"array.order": order}):
            made = SpectralCube.create(str(tmp_path / name), spec)
            made.write(Window(0, 0, 40, 50), values(), np.ones((40, 50), bool))
            made.seal()
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")
    assert objects(tmp_path / "a_aux.zarr") == objects(tmp_path / "b_aux.zarr")


@pytest.mark.parametrize("mode", ["w", "a", "w-", "x", "rb", None])
def test_a_mode_that_would_delete_a_cube_is_refused(cube, mode):
    before = objects(Path(cube.uri))
    for store in (SpectralCube, Companion):
        with pytest.raises(Refusal, match=r"SpectralCube\.create"):
            store.open(cube.uri, mode)
    assert objects(Path(cube.uri)) == before


def test_a_path_is_a_place(cube):
    assert SpectralCube.open(Path(cube.uri)).uri == cube.uri
    given = ReconstructSettings(source=Path("~/a.tif"), destination=Path(cube.uri))
    assert (given.source, given.destination) == (str(Path.home() / "a.tif"), cube.uri)


def test_a_path_is_a_raster_a_camera_a_light_and_an_export(tmp_path):
    path = raster(tmp_path / "a.tif")
    for opened in (RasterScene.open(path), open_scene(path)):
        assert opened.uri == str(path)
    table = (LIBRARY / "canon-eos-100d.csv").read_text("utf-8")
    (own := tmp_path / "c.csv").write_text(table, "utf-8")
    assert load_camera(own).name == "c.csv"
    (light := tmp_path / "e.csv").write_text("wavelength_nm,power\n300,1\n550,1\n800,1\n")
    assert load_light(light).name == "e.csv"
    spec = CubeSpec(16, 16, (500.0, 600.0), 16)
    made = SpectralCube.create(tmp_path / "b.zarr", spec)
    whole = Window(0, 0, 16, 16)
    made.write(whole, np.ones((2, 16, 16), np.float32), np.ones((16, 16), bool))
    made.seal()
    assert export(made, tmp_path / "b.npy") == "npy"
    assert np.load(tmp_path / "b.npy").shape == (2, 16, 16)


@pytest.mark.parametrize(
    "shape", [(30, 16, 50), (1, 16, 50), (31, 50, 16), (31, 15, 50), (32, 17, 51)]
)
def test_values_that_are_not_all_of_a_window_are_refused(tmp_path, shape):
    made = SpectralCube.create(str(tmp_path / "b.zarr"), CubeSpec(40, 50, WAVELENGTHS, 16))
    with pytest.raises(Refusal, match=r"values of this window are \(31, 16, 50\)"):
        made.write(Window(0, 0, 16, 50), np.zeros(shape, np.float32), np.ones(shape[1:], bool))
    assert not made.finished()


@pytest.mark.parametrize(
    "window",
    [Window(-10, 0, 5, 5), Window(0, -1, 1, 1), Window(30, 40, 20, 20), Window(99, 0, 1, 1)],
)
def test_a_window_that_leaves_a_cube_is_refused(cube, window):
    view = CubeView.open(cube.uri)
    looks = (cube.read, cube.raw, view.region, lambda at: view.pixel(at.row, at.col))
    for look in looks[:3] if window.row == 30 else looks:
        with pytest.raises(Refusal, match="inside the cube's 40 x 50 pixels"):
            look(window)


def test_an_encoding_is_one_of_two():
    for name in ("Linear", "sRGB", "gamma2.2"):
        with pytest.raises(Refusal, match="an encoding is one of"):
            load_camera("srgb").reading(name, 255.0)
    with pytest.raises(Refusal, match="a rendering is one of"):
        render(values(), Camera("c", WAVELENGTHS, flat(31)), "NTIRE")


def flat(bands: int) -> np.ndarray:
    return np.full((3, bands), 1 / bands, np.float32)


@pytest.mark.parametrize("rows", [flat(31) * 7, flat(30), flat(31).T, flat(31) * NAN])
def test_a_cameras_rows_are_three_of_sum_1(rows):
    with pytest.raises(Refusal, match="each row of sum 1"):
        Camera("c", WAVELENGTHS, rows)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("white", [255.0, (255.0, 254.0, 253.0)])
def test_pixel_values_have_red_green_and_blue_first(dtype, white):
    seen = load_camera("srgb").reading("srgb", white)
    for shape in ((8, 9, 3), (4, 8, 9), (1, 8, 9)):
        with pytest.raises(Refusal, match="red, green and blue first"):
            seen.decode(np.ones(shape, dtype))


@pytest.mark.parametrize("one", [1, 1.0, "1", "01", True])
def test_one_sample_starts_from_zero_however_it_is_written(one):
    assert ReconstructSettings(source="a", destination="b", samples=one).start == "zero"
    two = ReconstructSettings(source="a", destination="b", samples=2.0)
    assert two.start == "noise"
    assert ReconstructSettings(**two.model_dump()) == two


def test_a_mask_of_0_and_1_is_a_mask():
    rgb, valid = values()[:3], np.zeros((40, 50), np.uint8)
    valid[10:20] = 1
    assert scale_of(rgb, valid) == scale_of(rgb, valid.astype(bool)) == scale_of(rgb[:, 10:20])
    scores = Scores(31)
    scores.add(values(), values() * 0.9, valid)
    assert scores._pixels == 500
    with pytest.raises(Refusal, match="valid is"):
        scores.add(values(), values(), valid.T)


@pytest.mark.parametrize("dtype", ["uint16", np.uint16, np.dtype("u2")])
def test_a_type_of_storage_has_several_names(dtype):
    there = np.ones((40, 50), bool)
    assert (quantise(values(), there, dtype) == np.rint(values() * np.float32(1e4))).all()


@pytest.mark.parametrize("dtype", ["float64", ">f4", ">u2", "int16", "float16"])
def test_values_of_another_type_are_not_taken_for_counts(dtype):
    with pytest.raises(Refusal, match="uint16 or float32"):
        unpack(values().astype(dtype))
    with pytest.raises(Refusal, match="uint16 or float32"):
        quantise(values(), np.ones((40, 50), bool), np.dtype(dtype))


def test_a_regression_is_of_rgb_and_cubes_that_fit_and_are_finite():
    def fit(rgb, cube):
        return RootPolynomial.fit([(rgb, cube)], (400.0, 500.0), "c")

    rgb, two = torch.rand(1, 3, 6, 8), torch.rand(1, 2, 6, 8)
    fit(rgb, two)
    for wrong in ((torch.rand(1, 4, 6, 8), two), (rgb, two.mT), (rgb, two[:, :1])):
        with pytest.raises(ValueError, match="Turn their axes"):
            fit(*wrong)
    with pytest.raises(ValueError, match="finite"):
        fit(rgb, two * float("nan"))


@pytest.mark.parametrize("engine", ["torch", "torch-bfloat16", "onnxruntime", OPENVINO])
def test_torchs_default_type_changes_nothing(tmp_path, engine):
    path, rgb = small_checkpoint(tmp_path / "a.safetensors"), tile(1, 16)
    seen = torch.full((3, 31), 1 / 31) + 0.01 * camera(bands=31)[0]
    seen /= seen.sum(dim=1, keepdim=True)
    view = model.View(rgb[0], None, 1.0)

    def answer():
        return Reconstructor(load(path), seen, engine=engine).attending([view])(rgb)

    expected = answer()
    torch.set_default_dtype(torch.float64)
    try:
        found = answer()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_another_number_of_fields_of_noise_is_refused():
    two = Reconstructor(awake(small_model()), camera()[0], noises=2)
    with pytest.raises(ValueError, match=r"2 fields of noise.*got 7 channels"):
        two(tile(), torch.zeros(2, 7, 8, 8))


def raster(path: Path) -> Path:
    seen = np.random.default_rng(0).integers(90, 160, (3, 24, 30), np.uint8)
    profile = {"driver": "GTiff", "height": 24, "width": 30, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=32632, transform=Affine.scale(2, -2), **profile) as file:
        file.write(seen)
    return path


def test_torch_has_its_threads_back_and_a_thread_may_run(tmp_path):
    weights = small_checkpoint(tmp_path / "w.safetensors")
    settings = ReconstructSettings(
        source=raster(tmp_path / "a.tif"), destination=tmp_path / "a.zarr", checkpoint=weights,
        tile=16, overlap=4, chunk=16,
    )  # fmt: skip
    told = []

    def run() -> None:
        torch.set_num_threads(2)
        with stopped_by_signals() as stop:  # signals come to the main thread alone
            reconstruct(settings, lambda *_: lambda _: None, stop)
        told.append(torch.get_num_threads())

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert told == [2]


FORKED = """
import sys
from multiprocessing import get_context
from flows.reconstruct import reconstruct
from flows.settings import ReconstructSettings
source, weights, *places = sys.argv[1:]
def run(place):
    tiles = {"tile": 16, "overlap": 4, "chunk": 16, "checkpoint": weights}
    settings = ReconstructSettings(source=source, destination=place, **tiles)
    reconstruct(settings, lambda *_: lambda _: None)
run(places[0])
child = get_context("fork").Process(target=run, args=(places[1],))
child.start()
child.join()
sys.exit(child.exitcode)
"""


def test_a_process_that_is_forked_after_a_run_runs(tmp_path):
    weights, source = small_checkpoint(tmp_path / "w.safetensors"), raster(tmp_path / "a.tif")
    given = [source, weights, tmp_path / "a.zarr", tmp_path / "b.zarr"]
    command = [sys.executable, "-c", FORKED, *map(str, given)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, timeout=240)
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")
    first, second = (tmp_path / f"{name}.quicklook.tif" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


EXPORTED = """
import sys
from flows.cli import main
out = sys.argv.pop(1)
try:
    main()
except SystemExit as ended:
    assert not ended.code
sys.argv[1:] = ["export", sys.argv[3], out]
main()
"""
SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GTIFF_POINT_GEO_IGNORE": "YES",
    "GDAL_GEOREF_SOURCES": "NONE", "GDAL_PAM_ENABLED": "NO", "OSR_WKT_FORMAT": "WKT2_2019",
    "GTIFF_DONT_WRITE_BLOCKS": "YES", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ZARR_ARRAY__ORDER": "F",
}  # fmt: skip


def test_a_users_settings_of_gdal_move_no_pixel_and_fill_no_nodata(tmp_path):
    """Of a raster whose mask lies beside it, and whose place is of a pixel's centre."""
    path = raster(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.tri(24, 30, dtype=bool))
    assert path.with_name("a.tif.msk").exists()
    weights = small_checkpoint(tmp_path / "w.safetensors")
    options = ["--tile", "16", "--overlap", "4", "--chunk", "16", "--checkpoint", weights]
    for name, given in (("plain", {}), ("set", SETTINGS)):
        cube, out = tmp_path / name / "a.zarr", tmp_path / name / "a.img"
        cube.parent.mkdir()
        words = [
            sys.executable,
            "-c",
            EXPORTED,
            *map(str, [out, "reconstruct", path, cube, *options]),
        ]
        root = Path(__file__).parents[1]
        subprocess.run(words, cwd=root, env=os.environ | given, check=True, timeout=240)
    plain, other = (objects(tmp_path / name) for name in ("plain", "set"))
    differ = {name for name in plain.keys() | other.keys() if plain.get(name) != other.get(name)}
    assert differ == {"a.run.json"}
    assert np.isnan(SpectralCube.open(str(tmp_path / "set/a.zarr")).read(Window(0, 29, 1, 1))[0][0])
    # Nor where a program of one's own has them about it.
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GTIFF_POINT_GEO_IGNORE=True):
        seen = RasterScene.open(str(path))
        assert not seen.read(Window(0, 0, 24, 30))[1].all()
    assert (seen.transform.c, seen.transform.f) == (0, 0)


def test_without_projs_database_no_crs_is_written(tmp_path):
    path = raster(tmp_path / "a.tif")
    nowhere = {"PROJ_DATA": "/nonexistent", "PROJ_LIB": "/nonexistent"}
    words = [sys.executable, "-c", "from flows.cli import main; main()", "plan", str(path)]
    root = Path(__file__).parents[1]
    given = {"cwd": root, "env": os.environ | nowhere, "timeout": 240}
    done = subprocess.run(words, check=False, capture_output=True, text=True, **given)
    assert done.returncode == 2
    assert "Unset PROJ_DATA" in done.stderr
