"""Which sigma a run takes: none, one pass's, or that of samples; and what is refused."""

import shutil

import pytest

import model
from flows.bound import bind
from flows.settings import TileSettings
from model.checkpoint import save
from model.shipped import SHIPPED
from model.uncertainty import beside
from pipeline.camera import load_camera, resampled
from pipeline.context import Measured
from pipeline.errors import Refusal
from tests.model_fixtures import awake, small_model

NETWORK = model.load()
CAMERA = resampled(load_camera("srgb"), tuple(NETWORK.wavelengths.tolist()))


def bound(**given):
    return bind(TileSettings(engine="torch", **given), NETWORK, "torch", CAMERA, Measured(1.0))


@pytest.mark.parametrize(
    ("given", "noises", "spread"),
    [
        ({}, 0, False),
        ({"start": "noise"}, 1, False),
        ({"uncertainty": "fast"}, 0, True),
        ({"uncertainty": "fast", "start": "noise"}, 1, True),
        ({"samples": 3}, 3, True),
    ],
)
def test_a_run_takes_the_noise_and_answers_the_sigma_it_is_asked_for(given, noises, spread):
    reconstruct = bound(**given)
    assert (reconstruct.noises, reconstruct.spread) == (noises, spread)
    assert isinstance(reconstruct, model.Calibrated) == spread


def test_a_checkpoint_without_calibration_is_refused(tmp_path):
    lone = tmp_path / "mine.safetensors"
    shutil.copy(SHIPPED, lone)
    with pytest.raises(Refusal, match="r2h calibrate"):
        bound(uncertainty="fast", checkpoint=str(lone))
    shutil.copy(beside(SHIPPED), beside(lone))
    assert bound(uncertainty="fast", checkpoint=str(lone)).spread


def test_the_calibration_of_another_checkpoint_is_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    save(awake(small_model()), other, {})
    shutil.copy(beside(SHIPPED), beside(other))
    with pytest.raises(Refusal, match="belongs to one checkpoint"):
        bound(uncertainty="fast", checkpoint=str(other))
