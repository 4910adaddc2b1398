"""Calibration, put together: what was left out, what is written, and what is refused."""

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.calibrate import Errors, _quarters, calibrate, fitted, groups, leave_one_out
from flows.learn_settings import CalibrateSettings, NetworkSettings, TrainSettings
from flows.settings import load
from model import Uncertainty, describe
from model.checkpoint import save
from model.shipped import SHIPPED, CheckpointError
from model.uncertainty import LEVELS
from pipeline.errors import Refusal
from tests.model_fixtures import small_model
from tests.toys import write_scene

NETWORK = NetworkSettings(widths=(4, 8), heads=(1, 2), bottom=1)
NAMES = ("one", "two", "three")


def asked(**changes: object) -> CalibrateSettings:
    plain = {"scenes": NAMES, "cameras": {"srgb": 1}, "iterations": 1, "crop": 8, "batch": 1}
    of = TrainSettings(**plain, network=NETWORK)
    folds = (("one",), ("two", "three"))
    given = {"folds": folds, "train": of, "tile": 8, "pixels": 20, "samples": 2}
    return CalibrateSettings(**{**given, **changes})


def errors(scene: str, size: float, seed: int = 0) -> Errors:
    random = torch.Generator().manual_seed(seed)
    known = torch.rand(500, 4, 5, generator=random)
    known[:, :, 0] = 1
    return Errors(scene, known, size * torch.rand(500, 4, generator=random))


CONFIG = """
folds = [["one"], ["two", "three"]]
tile = 8
pixels = 20
samples = 2
[train]
scenes = ["one", "two", "three"]
iterations = 1
crop = 8
batch = 1
repaint = 0.5
[train.cameras]
srgb = 1
[train.network]
widths = [4, 8]
heads = [1, 2]
bottom = 1
"""


def test_it_leaves_scenes_out_and_writes_the_laws_and_the_check(
    tmp_path: Path,
    command: Callable[..., tuple[int, str, str]],
) -> None:
    for number, name in enumerate(NAMES):
        planes = np.random.default_rng(number).integers(0, 65536, (31, 16, 16), dtype=np.uint16)
        write_scene(tmp_path / f"{name}_ms", name, planes)
    config, materials = tmp_path / "calibrate.toml", tmp_path / "materials.npz"
    config.write_text(CONFIG)
    given = ("calibrate", config, "--root", tmp_path, "--out", tmp_path / "out", "--json")
    code, _, said = command(*given)
    assert code == 2
    assert "--reflectances" in said
    np.savez(materials, wavelength_nm=np.arange(400.0, 701, 10), some=np.full((9, 31), 0.4))
    code, _, said = command(*given, "--reflectances", materials, "--illuminants", materials)
    assert code == 2
    assert "illuminants counts only with lights" in said
    code, out, said = command(*given, "--reflectances", materials)
    assert code == 0, said
    path = Path(json.loads(out)["calibration"])
    assert path.name == "r2h-wide.uncertainty.safetensors"
    law = Uncertainty.load(path)
    assert law.network == describe()["digest"]
    check = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert [row["scene"] for row in check["samples"]] == list(NAMES)
    assert np.shape(check["one"][0]["covered"]["50%"]) == (31,)
    for fold in asked().folds:
        trained = describe(tmp_path / f"out/without-{fold[0]}/checkpoint.safetensors")
        assert not set(trained["training"]["scenes"]) & set(fold)
        assert trained["training"]["reflectances"] == "materials.npz"
    # Again: the networks are there, the numbers are the same.
    assert command(*given, "--reflectances", materials)[0] == 0
    assert Uncertainty.load(path).digest == law.digest

    # So are those of a version that did not have a switch yet.
    kept = tmp_path / "out/without-one/settings.json"
    known = json.loads(kept.read_text())
    del known["network"]["schedule"]
    kept.write_text(json.dumps(known))
    assert command(*given, "--reflectances", materials)[0] == 0
    config.write_text(CONFIG.replace("iterations = 1", "iterations = 2"))
    code, _, said = command(*given, "--reflectances", materials)
    assert code == 2
    assert "iterations 1 when it was begun, 2 now" in said
    config.write_text(CONFIG)
    shutil.rmtree(tmp_path / "two_ms")
    write_scene(tmp_path / "two_ms", "two", np.zeros((31, 16, 16), np.uint16))
    code, _, said = command(*given, "--reflectances", materials)
    assert code == 2
    assert "with the data it was begun with; got two" in said


def test_networks_that_start_from_what_has_seen_a_fold_are_refused(tmp_path: Path) -> None:
    of = asked().train.model_copy(update={"init": "r2h-cave", "scenes": ("balloons", "beads")})
    folds = (("balloons",), ("beads",))
    with pytest.raises(Refusal, match=r"have not seen .* learnt of balloons, beads"):
        calibrate(asked(folds=folds, train=of), SHIPPED, str(tmp_path), tmp_path, print)


def test_scenes_beside_are_left_out_too(
    tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    beside, config = tmp_path / "beside", tmp_path / "calibrate.toml"
    beside.mkdir()
    for number, name in enumerate(NAMES):
        random = np.random.default_rng(number)
        planes = random.integers(0, 65536, (31, 16, 16), dtype=np.uint16)
        write_scene(tmp_path / f"{name}_ms", name, planes)
        spectra = random.random((9, 12, 31))
        np.savez(beside / f"air-{name}.npz", cube=spectra, wavelength_nm=np.arange(400.0, 701, 10))
    # The first network is trained with no other scene than CAVE's: the fold has all of them.
    config.write_text(
        CONFIG.replace('[["one"], ', '[["one", "air-one", "air-two"], ').replace(
            "repaint = 0.5", 'beside_scenes = ["air-one", "air-two"]'
        )
    )
    given = ("calibrate", config, "--root", tmp_path, "--out", tmp_path / "out")
    code, _, said = command(*given)
    assert code == 2
    assert "--beside" in said
    code, _, said = command(*given, "--beside", beside)
    assert code == 0, said
    check = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert [row["scene"] for row in check["one"]] == ["one", "air-one", "air-two", "two", "three"]
    trained = [
        describe(tmp_path / f"out/without-{name}/checkpoint.safetensors")["training"]
        for name in ("one", "two")
    ]
    assert [(of["beside"], of["beside_scenes"]) for of in trained] == [
        (None, []),
        ("beside", ["air-one", "air-two"]),
    ]


def test_a_folder_beside_of_which_no_scene_is_named_is_refused(tmp_path: Path) -> None:
    of = asked().train.model_copy(update={"beside": str(tmp_path)})
    with pytest.raises(Refusal, match="beside_scenes"):
        calibrate(asked(train=of), SHIPPED, str(tmp_path), tmp_path, print)


@pytest.mark.parametrize("shape", [(512, 512), (100, 100), (51, 56), (8, 30)])
def test_tiles_of_a_scene_are_about_its_quarters_and_inside_it(shape: tuple[int, int]) -> None:
    windows = list(_quarters(shape, 128, 8))
    assert len(windows) == 4
    for window, (row, col) in zip(windows, product((1, 3), (1, 3)), strict=True):
        assert window.height == window.width == min(128, min(shape) // 8 * 8)
        assert window.row >= 0 <= window.col
        assert window.row + window.height <= shape[0]
        assert window.col + window.width <= shape[1]
        assert window.row <= shape[0] * row // 4 < window.row + window.height
        assert window.col <= shape[1] * col // 4 < window.col + window.width


def test_a_scene_in_no_fold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="one fold"):
        calibrate(asked(folds=(("one",), ("two",))), SHIPPED, str(tmp_path), tmp_path, print)
    for folds in ((("one", "two"), ()), (("one", "two", "one"),) * 2):
        with pytest.raises(Refusal, match=r"in one fold|and not all"):
            calibrate(asked(folds=folds), SHIPPED, str(tmp_path), tmp_path, print)
    of = asked().train.model_copy(update={"dataset": "harvard"})
    with pytest.raises(Refusal, match="fitted on CAVE"):
        calibrate(asked(train=of), SHIPPED, str(tmp_path), tmp_path, print)


def test_the_check_judges_a_scene_by_the_others_alone() -> None:
    # The one scene whose errors are ten times the others' is not in its own law.
    rows = leave_one_out([errors("a", 1), errors("b", 1, 1), errors("odd", 10, 2)], {})
    inside = {row["scene"]: np.mean(row["covered"]["90%"]) for row in rows}
    assert inside["odd"] < 0.2
    assert inside["a"] > 0.9


def test_look_alikes_are_left_out_together() -> None:
    of = [errors("a", 1), errors("odd", 10, 1), errors("twin", 10, 2)]
    alike = ({}, groups((("odd", "twin"),)))
    found = [{row["scene"]: row for row in leave_one_out(of, pairs)} for pairs in alike]
    inside = [np.mean(rows["odd"]["covered"]["90%"]) for rows in found]
    assert inside[1] < 0.2 < inside[0]


def test_what_was_seen_is_covered_as_it_is_called() -> None:
    law, of = fitted([errors("a", 1)], {}), errors("a", 1)
    sigma = law.of(of.known)
    for level, factor in zip(LEVELS, law.factors, strict=True):
        assert abs((of.error <= factor * sigma).float().mean() - level) < 0.01


def test_intervals_hold_on_scenes_of_another_kind() -> None:
    """A scene's errors are of one size, which its features cannot tell but seem to."""
    random, of = torch.Generator().manual_seed(0), []
    for number in range(14):
        scene, pixels = (torch.randn(*n, 5, generator=random) for n in ((1, 1), (60, 4)))
        known = scene + 0.05 * pixels
        known[:, :, 0] = 1
        size = (0.7 * torch.randn((), generator=random)).exp()
        of.append(Errors(str(number), known, size * torch.rand(60, 4, generator=random)))
    rows = leave_one_out(of, {})
    for level in LEVELS:
        inside = np.mean([np.mean(row["covered"][f"{level:.0%}"]) for row in rows])
        assert abs(inside - level) < 0.03


def test_look_alikes_count_once() -> None:
    twins = [errors("a", 1), errors("b", 1, 1), errors("odd", 3, 2), errors("twin", 3, 2)]
    alike = groups((("odd", "twin"),))
    # Exponents of the three alone are those of the four but for how often odd's pixels are there.
    one, two = fitted(twins[:3], {}).factors, fitted(twins, alike).factors
    apart = fitted(twins, {}).factors
    assert (one - two).abs().max() < (one - apart).abs().max()


@pytest.mark.parametrize("name", ["wide", "cave"])
def test_a_shipped_config_leaves_every_training_scene_out_once(name: str) -> None:
    settings = load(CalibrateSettings, f"calibrate-{name}.toml")
    shipped = load(TrainSettings, f"train-{name}.toml")
    named = [name for fold in settings.folds for name in fold]
    assert sorted(named) == sorted(shipped.scenes + shipped.beside_scenes)
    of = settings.train
    assert (of.scenes, of.beside_scenes) == (shipped.scenes, shipped.beside_scenes)
    for alike in settings.alike:
        assert len({fold for fold in settings.folds if set(alike) & set(fold)}) == 1


def test_what_cannot_be_fitted_is_told_before_a_fold_is_trained(tmp_path: Path) -> None:
    def begun(checkpoint: str | Path = "r2h-cave", **train: object) -> str:
        settings = asked(train=TrainSettings(**{**asked().train.model_dump(), **train}))
        with pytest.raises((Refusal, CheckpointError)) as refused:
            calibrate(settings, Path(checkpoint), str(tmp_path), tmp_path / "out", print)
        assert not (tmp_path / "out").exists()
        return str(refused.value)

    other = small_model()  # at seven wavelengths
    save(other, tmp_path / "seven.safetensors", {})
    assert "at 7 from 400 to 700 nm" in begun(tmp_path / "seven.safetensors")
    assert "none.safetensors" in begun(tmp_path / "none.safetensors")
    assert "root-polynomial" in begun(kind="root-polynomial")
    assert "cameras that are named" in begun(cameras={"library": 1.0})
    # A name of what ships is one: this goes on to look for the scenes.
    assert "checkpoint" not in begun()
