"""Training, put together: where it starts, what it sees, what the checkpoint keeps of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import model as r2h
from flows.learn_settings import NetworkSettings, TrainSettings
from flows.train import crops_of, start_of, train
from model.checkpoint import SHIPPED, save
from pipeline.cave import WAVELENGTHS
from pipeline.errors import Refusal
from tests.toys import write_scene


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two made-up scenes in CAVE's layout, and three flat measured reflectances beside them."""
    for number, name in enumerate(("one", "two")):
        planes = np.random.default_rng(number).integers(0, 65536, (31, 16, 16), dtype=np.uint16)
        write_scene(tmp_path / f"{name}_ms", name, planes)
    flat = np.full((3, 31), 0.5, np.float32)
    np.savez(tmp_path / "measured.npz", wavelength_nm=np.array(WAVELENGTHS), flat=flat)
    return tmp_path


def asked(**changes: object) -> TrainSettings:
    plain = {"scenes": ("one", "two"), "cameras": {"srgb": 1}, "iterations": 1}
    return TrainSettings(**{**plain, "crop": 8, "batch": 2, "exposure": 0, **changes})


def silent(iteration: int, value: float) -> None:
    pass


def test_training_starts_from_the_weights_it_is_given(root: Path) -> None:
    settings = asked(init=str(SHIPPED), learning_rate=1e-12)
    start = start_of(settings, crops_of(settings, root)).state_dict()
    path = train(settings, root, root / "out", silent)
    for name, value in r2h.load(path).state_dict().items():
        torch.testing.assert_close(value, start[name], rtol=0, atol=1e-9)
        assert torch.equal(start[name], r2h.load().state_dict()[name])


def test_the_checkpoint_says_what_it_started_from_and_no_folder(root: Path) -> None:
    settings = asked(init=str(SHIPPED), repaint=1, reflectances=str(root / "measured.npz"))
    kept = r2h.describe(train(settings, root, root / "out", silent))["training"]
    assert kept["init_digest"] == r2h.describe()["digest"]
    assert (kept["init"], kept["reflectances"]) == (SHIPPED.name, "measured.npz")
    assert str(root) not in str(kept)


def test_a_start_of_another_network_is_refused(root: Path) -> None:
    settings = asked(init=str(SHIPPED), network=NetworkSettings(hata=False))
    with pytest.raises(Refusal, match="same network"):
        start_of(settings, crops_of(settings, root))


def test_a_start_at_other_wavelengths_is_refused(root: Path) -> None:
    other = r2h.load()
    other.wavelengths += 5
    save(other, root / "other.safetensors", {})
    settings = asked(init=str(root / "other.safetensors"))
    with pytest.raises(Refusal, match="wavelengths"):
        start_of(settings, crops_of(settings, root))


def test_repainted_crops_hold_measured_materials(root: Path) -> None:
    settings = asked(repaint=1, reflectances=str(root / "measured.npz"))
    blue = np.linspace(1, 0.1, 31, dtype=np.float32)
    crops = crops_of(settings, root)
    crops = dataclasses.replace(crops, cubes=[np.tile(blue[:, None, None], (1, 16, 16))])
    grey = crops.at(0)[1]
    level = grey.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(grey / level, np.ones_like(grey), rtol=0.05)


def test_half_of_the_crops_are_repainted(root: Path) -> None:
    grey = asked(repaint=0.5, reflectances=str(root / "measured.npz"), batch=200)
    crops = dataclasses.replace(
        crops_of(grey, root), cubes=[np.ones((31, 8, 8), np.float32)], materials=np.eye(31)[:1]
    )
    cubes = crops.at(0)[1]
    painted = np.ptp(cubes, axis=1).max(axis=(1, 2)) > 0.25
    assert 80 < painted.sum() < 120


def test_repainting_without_measured_reflectances_is_refused(root: Path) -> None:
    with pytest.raises(Refusal, match="--reflectances"):
        crops_of(asked(repaint=0.5), root)
