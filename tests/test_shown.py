"""What training is shown: which cameras, in which lights, how often."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from flows.learn_settings import TrainSettings
from flows.shown import crops_of
from pipeline.camera import load_camera
from pipeline.crops import Crops
from pipeline.errors import Refusal
from pipeline.light import load_light
from pipeline.own import reflectance_of
from tests.toys import write_scene

NM = np.arange(400.0, 701, 10)
LAMPS = np.random.default_rng(0).random((5, 31)) + 0.1
TWO = {"lamps": 0.25, "suns": 0.25}


def shown(root: Path, **given: Any) -> Crops:
    if not (root / "one_ms").exists():
        write_scene(root / "one_ms", "one", np.full((31, 16, 16), 9000, np.uint16))
    plain: dict[str, Any] = {"scenes": ["one"], "crop": 8, "batch": 4, "iterations": 1}
    cameras = {"srgb": 3, "nikon-d700": 1}
    return crops_of(TrainSettings(**{**plain, "cameras": cameras, **given}), root)


@pytest.fixture
def lights(tmp_path: Path) -> str:
    path = tmp_path / "lights.npz"
    np.savez(path, wavelength_nm=NM, lamps=LAMPS, suns=np.ones((2, 31)))
    return str(path)


def test_every_camera_is_seen_in_every_light_as_often_as_was_asked(
    tmp_path: Path, lights: str
) -> None:
    crops = shown(tmp_path, lights=TWO, illuminants=lights)
    shares = np.reshape(crops.shares, (1 + 5 + 2, 2))
    np.testing.assert_allclose(shares.sum(axis=1), [0.5] + 5 * [0.05] + 2 * [0.125])
    np.testing.assert_allclose(shares[:, 0], 3 * shares[:, 1])
    # Sensitivities times power, white kept: of the last lamp.
    wanted = load_camera("nikon-d700").sensitivities * LAMPS[4]
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(crops.cameras[2 * 5 + 1].sensitivities, wanted, rtol=1e-4)


def test_a_crop_is_rendered_in_the_light_that_its_camera_says(tmp_path: Path, lights: str) -> None:
    crops = shown(tmp_path, lights={"lamps": 1.0}, illuminants=lights, batch=32)
    rgb, cube, sensitivities = crops.at(0)
    np.testing.assert_allclose(np.einsum("ncw,nwyx->ncyx", sensitivities, cube), rgb, atol=1e-5)
    assert len(np.unique(sensitivities.reshape(32, -1), axis=0)) > 5


def test_without_lights_all_is_as_it_was(tmp_path: Path, lights: str) -> None:
    plain, none = shown(tmp_path), shown(tmp_path, lights={"lamps": 0.0}, illuminants=lights)
    for one, other in zip(plain.at(3), none.at(3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_lights_without_a_file_or_beyond_one_are_refused(tmp_path: Path, lights: str) -> None:
    with pytest.raises(Refusal, match="--illuminants"):
        shown(tmp_path, lights=TWO)
    with pytest.raises(Refusal, match="absent"):
        shown(tmp_path, lights={"absent": 0.5}, illuminants=lights)
    with pytest.raises(ValidationError, match="at most"):
        shown(tmp_path, lights={"lamps": 0.6, "suns": 0.6}, illuminants=lights)


@pytest.mark.parametrize("held_out", ["srgb", "library"])
def test_a_camera_is_not_trained_on_and_held_out(tmp_path: Path, held_out: str) -> None:
    with pytest.raises(Refusal, match="held out is not trained on"):
        shown(tmp_path, held_out_cameras=[held_out])


def test_radiance_beside_is_shown_as_it_is_and_as_reflectance(tmp_path: Path) -> None:
    folder = tmp_path / "air"
    folder.mkdir()
    values = 0.1 + np.random.default_rng(0).random((8, 8, 31))
    for name in ("sun", "none"):
        np.savez(folder / f"{name}.npz", cube=values, wavelength_nm=NM)
    beside = {"beside": str(folder), "beside_scenes": ("none", "sun")}
    crops = shown(tmp_path, **beside, beside_radiance=("sun",))
    assert (crops.beside, len(crops.cubes)) == (3, 4)
    np.testing.assert_array_equal(crops.cubes[1], crops.cubes[2])
    power = load_light("D55").at(NM)
    np.testing.assert_array_equal(crops.cubes[3], reflectance_of(crops.cubes[2], power))
    with pytest.raises(ValidationError, match="beside_radiance counts only with"):
        shown(tmp_path, **beside, beside_radiance=("moon",))
