"""The layer `uncertainty` of a run: what the reconstructor answered, blended as the cube is."""

import sys

import numpy as np
import pytest
import rasterio
import torch
import zarr

import model
from flows import cli
from flows.job import open_job
from flows.settings import ReconstructSettings, load
from flows.sigma import checkpoint_of
from model.checkpoint import save
from model.uncertainty import LEVELS, OWN, SHARED, PowerLaw, beside
from pipeline.blend import weights
from pipeline.grid import TileGrid, Window
from tests.model_fixtures import awake, prior

HEIGHT, WIDTH, TILE, OVERLAP = 45, 50, 16, 4
HOLE = np.s_[10:20, 5:30]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network of 31 wavelengths, with laws of sigma beside it."""
    torch.manual_seed(0)
    wavelengths = torch.arange(400, 701, 10, dtype=torch.float64)
    config = model.NetworkConfig(widths=(4, 8), heads=(1, 2), bottom=1, time_width=8)
    network = awake(model.R2HDiff(config, wavelengths, prior(31)))
    network.deviation.fill_(0.02)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save(network, path, {})

    def law(more):
        numbers = 0.2 * torch.randn(31, SHARED + OWN + more)
        numbers[:, 0] -= 4
        return PowerLaw(numbers, torch.ones(len(LEVELS)))

    digest = model.describe(path)["digest"]
    model.Uncertainty(law(0), law(1), tuple(wavelengths.tolist()), digest).save(beside(path), {})
    return path


@pytest.fixture
def asked(tmp_path, checkpoint):
    """Settings of a run on a raster with a hole, whose scale is far from 1."""
    values = np.random.default_rng(0).integers(60, 130, (4, HEIGHT, WIDTH), np.uint8)
    values[3] = 255
    values[3][HOLE] = 0
    source = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 4, "dtype": "uint8"}
    place = rasterio.Affine(0.5, 0, 350000, 0, -0.5, 4060000)
    with rasterio.open(source, "w", crs=32632, transform=place, **profile) as file:
        file.write(values)

    return {
        "source": str(source),
        "checkpoint": str(checkpoint),
        "tile": str(TILE),
        "overlap": str(OVERLAP),
        "chunk": "16",
        "region": "16",
        "engine": "torch",
    }


def reconstruct(monkeypatch, asked, cube, *options):
    given = [f"--{key}={value}" for key, value in asked.items() if key != "source"]
    words = ["r2h", "reconstruct", asked["source"], str(cube), *given, "--no-sidecars", *options]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code


def blended(settings):
    """Sigma (wavelength, height, width) by a model that is bound anew, tile after tile."""
    job = open_job(settings)
    scale, network = job.spec.settings["scale"], model.load(checkpoint_of(settings))
    assert abs(scale - 1) > 0.3
    seen = torch.from_numpy(job.camera.sensitivities)
    law = model.Uncertainty.load(beside(checkpoint_of(settings)))
    answer = model.Calibrated(model.Reconstructor(network, seen, scale), law)
    grid = TileGrid(HEIGHT, WIDTH, TILE, OVERLAP)
    sums = np.zeros((31, grid.shape[0] * TILE, grid.shape[1] * TILE))
    for i, j in np.ndindex(grid.shape):
        window = grid.window((i, j))
        inside = window.intersection(Window(0, 0, HEIGHT, WIDTH))
        values, valid = job.scene.read(inside)
        rgb = job.camera.decode(values)
        if valid.any():
            rgb[:, ~valid] = rgb[:, valid].mean(axis=1, dtype=np.float64)[:, None]
        pad = ((0, 0), (0, TILE - inside.height), (0, TILE - inside.width))
        sigma = answer(torch.from_numpy(np.pad(rgb, pad, mode="reflect"))[None])[0, 31:]
        kernel = np.multiply.outer(weights(grid.rows, i), weights(grid.cols, j))
        sums[:, *window.slices] += kernel * sigma.numpy()
    return sums[:, :HEIGHT, :WIDTH]


def test_the_layer_decodes_to_the_blended_sigma(monkeypatch, asked, tmp_path):
    reconstruct(monkeypatch, asked, tmp_path / "with.zarr", "--uncertainty", "fast")
    layer = zarr.open_group(tmp_path / "with_aux.zarr", mode="r")["uncertainty"]
    assert layer.attrs["long_name"].startswith("code of")
    settings = zarr.open_group(tmp_path / "with.zarr", mode="r").attrs["r2h"]
    assert list(settings["uncertainty"]["factors"]) == ["50%", "80%", "90%"]
    code, known = layer[:], np.ones((HEIGHT, WIDTH), bool)
    known[HOLE] = False
    assert code.dtype == np.uint8
    assert (code[:, ~known] == 255).all()
    decoded = layer.attrs["log_floor"] * np.exp(layer.attrs["log_step"] * code[:, known])
    settings = load(ReconstructSettings, None, **asked, destination="unwritten.zarr")
    expected = blended(settings)[:, known]
    assert expected.min() > layer.attrs["log_floor"]
    assert expected.max() < 1
    # Half a step of the code, and the last bits of float32.
    half = np.exp(layer.attrs["log_step"] / 2) * (1 + 1e-4)
    assert np.maximum(decoded / expected, expected / decoded).max() <= half


def test_without_the_option_there_is_no_layer_and_the_same_cube(monkeypatch, asked, tmp_path):
    reconstruct(monkeypatch, asked, tmp_path / "plain.zarr")
    reconstruct(monkeypatch, asked, tmp_path / "with.zarr", "--uncertainty", "fast")
    assert "uncertainty" not in zarr.open_group(tmp_path / "plain_aux.zarr", mode="r")
    cubes = (zarr.open_group(tmp_path / f"{name}.zarr", mode="r") for name in ("plain", "with"))
    plain, beside_it = (cube["reflectance"][:] for cube in cubes)
    assert (plain == beside_it).all()
