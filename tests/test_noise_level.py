"""A stated noise level: none changes nothing, and what is stated brings the truth nearer."""

import numpy as np
import pytest
import rasterio
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st

import model
from flows.bound import closure_of
from flows.job import open_job
from flows.settings import ReconstructSettings, TileSettings
from model.lift import noise_filter, wiener_lift
from pipeline.camera import load_camera
from pipeline.closure import FAR, Closure
from tests.model_fixtures import camera, prior
from tests.toys import CAMERA, CLOSURES, Toy, objects, scene, stream

NETWORK = model.load()
SEEN = load_camera("nikon-d700")


@given(st.integers(0, 2**31), st.floats(1e-6, 1e3))
def test_the_filter_is_the_lift_of_noisy_colours_rendered_back(seed, variance):
    s, c = camera(seed)[0].double(), prior().double()
    lift = c @ s.T @ torch.linalg.inv(s @ c @ s.T + variance * torch.eye(3, dtype=torch.float64))
    calm = noise_filter(s, c, variance)
    torch.testing.assert_close(calm, s @ lift, rtol=1e-6, atol=1e-9)
    # The plain lift of what is likely is the Bayesian lift of what was seen.
    torch.testing.assert_close(wiener_lift(s, c).double() @ calm, lift, rtol=1e-3, atol=1e-4)
    assert (torch.linalg.eigvals(calm).abs() < 1).all()


def test_no_noise_is_no_filter_and_endless_noise_leaves_nothing():
    colours = np.random.default_rng(0).random((3, 9), np.float32)
    assert closure_of(TileSettings(), NETWORK, SEEN, 1.0).likely(colours) is colours
    s, c = torch.from_numpy(SEEN.sensitivities), NETWORK.prior
    torch.testing.assert_close(
        noise_filter(s, c, 1e-12), torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert noise_filter(s, c, 1e12).abs().max() < 1e-9


@pytest.mark.parametrize("level", [0.02, 0.05, 0.1])
def test_a_stated_level_brings_noisy_colours_nearer_to_the_truth(level):
    # Spectra as the prior has them, and noise of the level that is stated.
    random = np.random.default_rng(0)
    root = np.linalg.cholesky(NETWORK.prior.double().numpy() + 1e-9 * np.eye(31))
    truth = root @ random.standard_normal((31, 20_000))
    clean = SEEN.sensitivities @ truth
    seen = (clean + random.normal(0, level, clean.shape)).astype(np.float32)

    def error(stated):
        settings = TileSettings(noise_level=stated)
        likely = closure_of(settings, NETWORK, SEEN, 1.0).likely(seen)
        return float(((likely - clean) ** 2).mean())

    # The level that is right beats none, half and twice as much.
    assert error(level) < min(error(level / 2), error(2 * level)) < error(0)


def test_the_level_is_of_white_whatever_the_scenes_scale():
    colours = np.random.default_rng(0).random((3, 9), np.float32)
    one, other = (
        closure_of(TileSettings(noise_level=0.02 * k), NETWORK, SEEN, k).likely(colours)
        for k in (1, 3)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_run_closes_to_the_level_it_is_told_and_records_it(tmp_path):
    path = str(tmp_path / "a.tif")
    with rasterio.open(path, "w", driver="GTiff", count=3, height=24, width=24, dtype="uint8",
                       photometric="RGB") as file:  # fmt: skip
        file.write(np.random.default_rng(0).integers(0, 256, (3, 24, 24), dtype=np.uint8))
    colours = np.random.default_rng(0).random((3, 9), np.float32)
    for level, told in ((0.0, False), (0.03, True)):
        given = {"source": path, "destination": "-", "engine": "torch", "noise_level": level}
        job = open_job(ReconstructSettings(**given))
        assert job.spec.settings["noise_level"] == level
        assert ("noise level 0.03" in job.assumptions) == told
        assert (job.closure.likely(colours) is not colours) == told


def run(path, of, closure):
    job = stream(path, of, Toy(), closure=closure)
    job.run(job.place)
    job.cube.seal()


def test_the_stream_closes_to_what_is_likely_and_measures_what_was_seen(tmp_path):
    of = scene(20, 24)
    _, plain, relaxed = CLOSURES
    run(tmp_path / "a.zarr", of, plain)
    run(tmp_path / "b.zarr", of, Closure(CAMERA.sensitivities, np.eye(3, dtype=np.float32)))
    assert objects(tmp_path / "a.zarr") == objects(tmp_path / "b.zarr")
    run(tmp_path / "c.zarr", of, relaxed)
    values = zarr.open_group(tmp_path / "c.zarr", mode="r")["reflectance"][...] * np.float32(1e-4)
    np.testing.assert_allclose(values, relaxed.likely(of.values), atol=2e-4)
    beside = zarr.open_group(tmp_path / "c_aux.zarr", mode="r")
    measured = beside["closure"][...] * 1e-5
    np.testing.assert_allclose(measured, abs(values - of.values).max(axis=0), atol=2e-5)
    assert measured.max() > 10 * FAR
    # What the camera could have seen is not called impossible because noise was taken from it.
    assert not (beside["quality"][...] & 4).any()
