"""Settings: the shipped files load, and what nobody knows is refused."""

from pathlib import Path

import pytest

from flows.learn_settings import CalibrateSettings, EvaluateSettings, TrainSettings
from flows.settings import BatchSettings, ReconstructSettings, SceneSettings, load
from flows.shown import camera_shares
from pipeline.errors import Refusal

ROOT = Path(__file__).parent.parent


def test_every_config_loads():
    kinds = {
        "batch": BatchSettings,
        "calibrate": CalibrateSettings,
        "evaluate": EvaluateSettings,
        "train": TrainSettings,
    }
    given = {"source": "a", "destination": "b"}
    for path in sorted((ROOT / "configs").glob("*.toml")):
        kind = kinds.get(path.stem.split("-")[0])
        load(kind, path.name) if kind else load(ReconstructSettings, path.name, **given)


def test_held_out_cameras_are_never_trained_on():
    settings = load(TrainSettings, "train-cave.toml")
    shares = camera_shares(settings)
    assert len(settings.held_out_cameras) == 10
    assert not shares.keys() & {*settings.held_out_cameras, "cie1931"}
    assert {"srgb", "basler-a2a5320-23uc"} <= shares.keys()
    assert abs(sum(shares.values()) - 1) < 1e-12


def test_a_misspelt_camera_is_refused():
    settings = load(TrainSettings, "train-cave.toml", held_out_cameras=("fujifilm-xt3",))
    with pytest.raises(Refusal, match="fujifilm-xt3"):
        camera_shares(settings)


def test_what_was_given_wins_over_the_file(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("seed = 3\nsteps = 2\n")
    given = {"source": "a", "destination": "b", "steps": "4", "tile": None}
    settings = load(ReconstructSettings, str(file), **given)
    assert (settings.seed, settings.steps, settings.tile) == (3, 4, 256)


def test_an_unknown_key_is_named():
    with pytest.raises(Refusal, match="tiles"):
        load(ReconstructSettings, None, source="a", destination="b", tiles=3)


def test_what_a_setting_says_of_itself_is_said_as_it_is():
    with pytest.raises(Refusal) as told:
        load(ReconstructSettings, None, source="a", destination="b", datetime="2024")
    assert str(told.value).startswith("setting 'datetime': a datetime is in ISO 8601; got 2024.")
    with pytest.raises(Refusal, match=r"^max_seam needs"):
        load(ReconstructSettings, None, source="a", destination="b", overlap=0, max_seam=0.1)


@pytest.mark.parametrize(("text", "white"), [("200", 200.0), ("1,2,3.5", (1.0, 2.0, 3.5))])
def test_white_is_one_value_or_three(text, white):
    assert load(ReconstructSettings, None, source="a", destination="b", white=text).white == white


def test_samples_start_from_noise_and_cannot_start_from_zero():
    plain = {"source": "a", "destination": "b"}
    assert load(ReconstructSettings, None, **plain, samples="4").start == "noise"
    assert load(ReconstructSettings, None, **plain).start == "zero"
    assert load(ReconstructSettings, None, **plain, samples="1").start == "zero"
    with pytest.raises(Refusal, match="start cannot be zero"):
        load(ReconstructSettings, None, **plain, samples=2, start="zero")


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + b"tile = 64\n")
    assert load(SceneSettings, str(tmp_path / "a.toml")).tile == 64


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"white": 0}, "setting 'white': input should be greater than 0; got 0. Pixel value of"),
        ({"bbox": (1, 2, 3)}, "setting 'bbox': field required; got (1, 2, 3). Part of the scene"),
        ({"tile": 100}, "setting 'tile': input should be a multiple of 8; got 100. Side of a tile"),
        (
            {"bbox": (1, 2, 3, 4), "aoi": "a"},
            "give at most one of window, bbox, aoi; got bbox, aoi.",
        ),
        (
            {"tyle": 1},
            "setting 'tyle': extra inputs are not permitted; got 1. Known settings: check",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_the_setting_is(given, said):
    with pytest.raises(Refusal) as told:
        load(ReconstructSettings, None, source="a", destination="b", **given)
    assert str(told.value).startswith(said)
    assert ("Known settings" in said) == ("Known settings" in str(told.value))


def test_an_unknown_key_of_a_scene_is_told_with_those_of_a_scene():
    with pytest.raises(Refusal, match=r"'scene.tyle'.*Known settings: checkpoint, steps"):
        load(BatchSettings, None, output="a", scene={"tyle": 1})


@pytest.mark.parametrize("name", ["aoi", "checkpoint", "endpoint", "camera"])
def test_an_empty_text_is_no_value(name):
    with pytest.raises(ValueError, match=f"{name}\n.*an empty text is no value"):
        ReconstructSettings(source="a.tif", destination="a.zarr", **{name: ""})


def test_a_crop_suits_the_network():
    deep = {"widths": (8, 8, 8, 8, 8), "heads": (1, 1, 1, 1, 1)}
    asked = {"split": "train", "cameras": {"srgb": 1.0}, "iterations": 1, "network": deep}
    assert TrainSettings(crop=32, **asked)
    with pytest.raises(ValueError, match="crop must be a multiple of 16"):
        TrainSettings(crop=24, **asked)
