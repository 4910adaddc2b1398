"""Training, put together: where it starts, what it sees, what the checkpoint keeps of it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from typer.testing import CliRunner

import model as r2h
from flows import cli
from flows.learn_settings import NetworkSettings, TrainSettings
from flows.lineage import lineage, seen, untold
from flows.settings import load
from flows.shown import crops_of
from flows.train import start_of, train
from model import checkpoint
from model.checkpoint import save
from model.diagnosis import Diverged
from model.diffusion import Schedule
from model.shipped import SHIPPED, named
from pipeline.cave import WAVELENGTHS
from pipeline.errors import Busy, Refusal
from tests.owners import cube_of, write_arad, write_cave, write_harvard
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
    shipped = r2h.load().state_dict()
    for name, value in r2h.load(path).state_dict().items():
        torch.testing.assert_close(value, start[name], rtol=0, atol=1e-9)
        assert torch.equal(start[name], shipped[name])


def test_the_checkpoint_says_what_it_started_from_and_no_folder(root: Path) -> None:
    settings = asked(init=str(SHIPPED), repaint=1, reflectances=str(root / "measured.npz"))
    kept = r2h.describe(train(settings, root, root / "out", silent))["training"]
    assert kept["init_digest"] == r2h.describe()["digest"]
    assert (kept["init"], kept["reflectances"]) == (SHIPPED.name, "measured.npz")
    assert str(root) not in str(kept)


def test_what_a_start_was_trained_on_is_kept_all_the_way_back(root: Path) -> None:
    once = train(asked(scenes=("one",)), root, root / "once", silent)
    twice = train(asked(scenes=("two",), init=str(once)), root, root / "twice", silent)
    once.unlink()
    last = train(asked(scenes=("two",), init=str(twice)), root, root / "last", silent)
    links = lineage(r2h.describe(last))
    assert [link["scenes"] for link in links] == [["two"], ["two"], ["one"]]
    assert links[1]["digest"] == r2h.describe(twice)["digest"]
    assert seen(links, "cave", ["one", "three"]) == ["one"]
    assert seen(links, "arad", ["one"]) == untold(links) == []
    links[0] |= {"dataset": "harvard", "scenes": ["img6"], "beside": "x", "beside_scenes": ["two"]}
    assert seen(links, "harvard", ["CZ_hsdb/img6", "CZ_hsdb/img7"]) == ["CZ_hsdb/img6"]
    assert seen(links, "cave", ["two"]) == ["two"]
    assert untold([links[0] | {"beside_scenes": []}]) == [links[0]["digest"]]


def test_a_start_that_is_another_by_now_is_refused(root: Path) -> None:
    start, settings = root / "start.safetensors", asked(init=str(root / "start.safetensors"))
    for scene in ("one", "two"):
        shutil.copy(train(asked(scenes=(scene,)), root, root / scene, silent), start)
        if scene == "one":
            done = train(settings, root, root / "out", silent)
    with pytest.raises(Refusal, match="data it was begun with; got --init"):
        train(settings, root, root / "out", silent)
    assert lineage(r2h.describe(done))[1]["scenes"] == ["one"]
    kept = root / "out/seen.json"  # as of a version that did not keep it
    known = json.loads(kept.read_text())
    del known["--init"]
    kept.write_text(json.dumps(known))
    train(settings, root, root / "out", silent)


def test_the_shipped_weights_say_all_that_they_saw() -> None:
    wide, cave, first = lineage(r2h.describe())
    assert cave["digest"] == r2h.describe(named("r2h-cave"))["digest"]
    assert len(wide["scenes"]) == 21
    assert wide["scenes"] == cave["scenes"] == first["scenes"]
    # As weights were kept before chains were.
    start = {"init_digest": cave["digest"], "scenes": ["one"]}
    assert "beads" in seen(lineage({"digest": "a", "training": start}), "cave", ["beads"])


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        ({"reflectances": "a.npz"}, "repaint or metamers"),
        ({"illuminants": "a.npz"}, "lights"),
        ({"visit": 7}, "resident"),
        ({"beside_share": 0.2}, "beside"),
    ],
)
def test_what_would_be_passed_over_is_refused(given: dict[str, object], needs: str) -> None:
    with pytest.raises(ValueError, match=f"counts only with {needs}"):
        asked(**given)


def test_a_start_that_nobody_knows_is_told() -> None:
    training = {"init_digest": "b", "scenes": ["one"]}
    assert untold(lineage({"digest": "a", "training": training})) == ["b"]
    assert untold(lineage({"digest": "a", "training": {"split": "train"}})) == ["a"]


def test_weights_go_on_under_another_schedule(root: Path) -> None:
    settings = asked(init="r2h-cave", network=NetworkSettings(schedule="cosine"))
    begun = start_of(settings, crops_of(settings, root))
    assert begun.schedule == Schedule.cosine()
    shipped = r2h.load(named("r2h-cave"))
    assert shipped.schedule == Schedule.linear()
    for name, value in begun.state_dict().items():
        assert torch.equal(value, shipped.state_dict()[name])
    again = r2h.load(train(settings, root, root / "out", silent))
    assert again.schedule == Schedule.cosine()


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


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_crops_come_from_cubes_beside_the_benchmark_too(root: Path, share: float) -> None:
    (beside := root / "beside").mkdir()
    for number, name in enumerate(("red", "left")):
        rising = np.linspace(0.1, 1, 31) * np.ones((5, 6, 1)) + number
        np.savez(beside / f"{name}.npz", cube=rising, wavelength_nm=np.array(WAVELENGTHS))
    settings = asked(beside=str(beside), beside_scenes=("red",), beside_share=share, batch=400)
    cubes = crops_of(settings, root).at(0)[1]
    hues = cubes / cubes.mean(axis=1, keepdims=True)
    # Those of the scenes are noise; these are one spectrum, mirrored beyond their edges.
    alike = np.abs(hues - hues[:, :, :1, :1]).max(axis=(1, 2, 3)) < 1e-3
    assert alike.mean() == pytest.approx(share, abs=0.08)
    assert np.ptp(hues[alike], axis=0).max() < 1e-3


def test_scenes_beside_without_their_folder_are_refused(root: Path) -> None:
    with pytest.raises(Refusal, match="--beside"):
        crops_of(asked(beside_scenes=("red",)), root)


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


SMOKE = {"crop": 16, "batch": 2, "iterations": 3, "warm_up": 2}


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    """The two smooth scenes that the smoke configuration names."""
    for seed, name in enumerate(("first", "second")):
        write_cave(tmp_path, name, (cube_of(seed, 24, 32) * 65535).astype(np.uint16))
    return tmp_path


def test_the_smoke_configuration_trains_and_resumes_bit_for_bit(
    cave: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(TrainSettings, "train-smoke.toml")
    seen: list[int] = []
    straight = train(settings, cave, cave / "straight", lambda i, _: seen.append(i))
    assert seen == [1, 2, 3, 4]

    def killed(iteration: int, _: float) -> None:
        if iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, cave, cave / "halved", killed)
    # The curve is drawn however a run ends.
    assert (cave / "halved" / "loss.png").exists()
    resumed = train(settings, cave, cave / "halved", silent)
    assert r2h.describe(resumed)["digest"] == r2h.describe(straight)["digest"]
    for name in ("loss.csv", "state.safetensors"):
        one, other = ((cave / folder / name).read_bytes() for folder in ("straight", "halved"))
        assert one == other
    with Image.open(cave / "straight" / "loss.png") as picture:
        assert picture.size[0] > 500


def test_two_processes_train_as_one(cave: Path) -> None:
    config = cave / "train.toml"
    lines = [f"{key} = {value}" for key, value in SMOKE.items()]
    names = 'scenes = ["first", "second"]\n[cameras]\nsrgb = 1\n'
    config.write_text("\n".join([*lines, names]))
    train(load(TrainSettings, str(config)), cave, cave / "1", silent)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    r2h_command = [str(Path(sys.executable).with_name("r2h")), "train", str(config)]
    given = ["--root", str(cave), "--out", str(cave / "2"), "--device", "cpu"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node=2", *r2h_command, *given],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, two = (r2h.load(cave / folder / "checkpoint.safetensors") for folder in ("1", "2"))
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        # AdamW divides a small gradient by its own size: sums in another order show.
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)
    logs = [(cave / folder / "loss.csv").read_text().splitlines() for folder in ("1", "2")]
    assert len(logs[0]) == len(logs[1]) == 4
    losses = [[float(line.split(",")[1]) for line in log[1:]] for log in logs]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_batch_that_processes_cannot_share_is_refused(
    cave: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(Refusal, match="shared evenly by 3"):
        train(load(TrainSettings, "train-smoke.toml"), cave, cave / "out", silent)


def test_training_goes_on_on_another_machine_and_not_as_something_else(cave: Path) -> None:
    settings = load(TrainSettings, "train-smoke.toml", iterations="1")
    train(settings, cave, cave / "out", silent)
    elsewhere = settings.model_copy(update={"device": "cpu"})
    train(elsewhere, cave, cave / "out", silent)
    with pytest.raises(Refusal, match="mix"):
        train(settings.model_copy(update={"mix": 0.1}), cave, cave / "out", silent)
    # A setting that an earlier version did not know had today's default.
    path = cave / "out" / "settings.json"
    kept = json.loads(path.read_text())
    del kept["calibrate"]
    path.write_text(json.dumps(kept))
    train(settings, cave, cave / "out", silent)
    # One that this version does not know may have decided anything.
    path.write_text(json.dumps(kept | {"jitter": 3}))
    with pytest.raises(Refusal, match=r"settings\.json"):
        train(settings, cave, cave / "out", silent)


def test_what_is_refused_before_it_begins_begins_nothing(cave: Path) -> None:
    settings = load(TrainSettings, "train-smoke.toml", iterations="1")
    with pytest.raises(Refusal, match="crop"):
        train(settings.model_copy(update={"crop": 1024}), cave, cave / "out", silent)
    network = settings.network.model_copy(update={"heads": (3, 2)})
    with pytest.raises(Refusal, match=r"\[network\]"):
        train(settings.model_copy(update={"network": network}), cave, cave / "out", silent)
    train(settings, cave, cave / "out", silent)


@pytest.mark.parametrize("name", ["state.safetensors", "settings.json", "seen.json"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_what_cannot_be_read_of_a_training_is_told(cave: Path, name: str, share: float) -> None:
    settings = load(TrainSettings, "train-smoke.toml", iterations="1")
    train(settings, cave, cave / "out", silent)
    path = cave / "out" / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises((Refusal, r2h.CheckpointError), match="Train in another folder"):
        train(settings, cave, cave / "out", silent)


@pytest.mark.parametrize("name", ["settings.json", "seen.json", "loss.csv"])
def test_what_no_training_wrote_is_not_replaced(cave: Path, name: str) -> None:
    (mine := cave / "out" / name).parent.mkdir()
    mine.write_text('{"editor.fontSize": 12}')
    with pytest.raises(Refusal, match="is its own"):
        train(load(TrainSettings, "train-smoke.toml"), cave, cave / "out", silent)
    assert mine.read_text() == '{"editor.fontSize": 12}'


def test_a_training_replaces_no_other_checkpoint(cave: Path) -> None:
    settings = load(TrainSettings, "train-smoke.toml", iterations="1")
    (path := cave / "out" / "checkpoint.safetensors").parent.mkdir()
    shutil.copy(SHIPPED.with_name("root-polynomial-basler.safetensors"), path)
    with pytest.raises(Refusal, match="is its own"):
        train(settings, cave, cave / "out", silent)
    # Nor does one of other settings, where the state of what is finished was deleted.
    train(settings, cave, cave / "done", silent)
    (cave / "done" / "state.safetensors").unlink()
    with pytest.raises(Refusal, match="seed"):
        train(settings.model_copy(update={"seed": 7}), cave, cave / "done", silent)


def test_two_trainings_do_not_share_a_folder(cave: Path) -> None:
    settings = load(TrainSettings, "train-smoke.toml", iterations="1")

    def another(_: int, __: float) -> None:
        with pytest.raises(Busy):
            train(settings, cave, cave / "out", silent)

    train(settings, cave, cave / "out", another)


def test_a_curve_has_no_row_of_what_was_not_kept(cave: Path) -> None:
    settings = load(TrainSettings, "train-smoke.toml")

    def killed(_: int, __: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings.model_copy(update={"save_every": 99}), cave, cave / "out", killed)
    train(settings, cave, cave / "out", silent)
    rows = (cave / "out" / "loss.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["1", "2", "3", "4"]


def test_a_full_disk_is_no_fault_of_ours(cave: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"state\.safetensors: No space left"):
        train(load(TrainSettings, "train-smoke.toml"), cave, cave / "out", silent)


def test_all_scenes_of_a_folder_beside_are_named(cave: Path) -> None:
    (cave / "beside").mkdir()
    nm, field = np.arange(400.0, 701, 10), np.random.default_rng(0).random((32, 32, 31))
    np.savez(cave / "beside" / "field.npz", cube=field, wavelength_nm=nm)
    given = {"iterations": "1", "beside": str(cave / "beside")}
    path = train(load(TrainSettings, "train-smoke.toml", **given), cave, cave / "out", silent)
    links = lineage(r2h.describe(path))
    assert seen(links, "cave", ["field", "third"]) == ["field"]
    assert untold(links) == []
    # An earlier version did not name them, and meant all.
    kept = json.loads((cave / "out" / "settings.json").read_text())
    (cave / "out" / "settings.json").write_text(json.dumps(kept | {"beside_scenes": []}))
    train(load(TrainSettings, "train-smoke.toml", **given), cave, cave / "out", silent)


def test_training_goes_on_with_the_data_it_was_begun_with(cave: Path) -> None:
    nm = np.arange(400.0, 701, 10)
    (cave / "beside").mkdir()
    field = np.random.default_rng(0).random((32, 32, len(nm)))
    np.savez(cave / "beside" / "field.npz", cube=field, wavelength_nm=nm)
    np.savez(cave / "paints.npz", wavelength_nm=nm, some=np.full((9, len(nm)), 0.4))
    given = {"iterations": "1", "beside": str(cave / "beside"), "repaint": "0.5"}
    settings = load(TrainSettings, "train-smoke.toml", **given, reflectances=f"{cave}/paints.npz")
    made = r2h.describe(train(settings, cave, cave / "out", silent))["digest"]
    for name in ("first_ms", "second_ms"):
        shutil.copytree(cave / name, cave / "moved" / name)
    (cave / "moved" / "first_ms" / ".hidden").touch()
    elsewhere = train(settings, cave / "moved", cave / "out", silent)
    assert r2h.describe(elsewhere)["digest"] == made
    # Another scene of one name, of one shape and type.
    shutil.rmtree(cave / "moved" / "second_ms")
    write_cave(cave / "moved", "second", (cube_of(9, 24, 32) * 65535).astype(np.uint16))
    with pytest.raises(Refusal, match=r"data it was begun with; got second: 1 of 4 .*/moved now"):
        train(settings, cave / "moved", cave / "out", silent)
    np.savez(cave / "beside" / "field.npz", cube=field + 1, wavelength_nm=nm)
    np.savez(cave / "paints.npz", wavelength_nm=nm, some=np.full((9, len(nm)), 0.7))
    with pytest.raises(Refusal, match=r"got beside field, paints\.npz: 2 of 4"):
        train(settings, cave, cave / "out", silent)
    # What an earlier version began says nothing of it, and goes on.
    (cave / "out" / "seen.json").unlink()
    train(settings, cave, cave / "out", silent)
    np.savez(cave / "beside" / "field.npz", cube=field, wavelength_nm=nm)
    with pytest.raises(Refusal, match="got beside field"):
        train(settings, cave, cave / "out", silent)


def test_harvards_mask_and_grid_are_trained_on(tmp_path: Path) -> None:
    (root := tmp_path / "harvard").mkdir()
    for number in (10, 11, 12):
        write_harvard(root, f"img{number}", cube_of(number, 24, 28))
    settings = load(TrainSettings, "train-harvard.toml", crop="16", batch="2", iterations="1")
    assert settings.split == "train"
    crops = crops_of(settings.model_copy(update={"resident": 1, "visit": 2}), root)
    assert len(crops.cubes) == 2
    rgb, cube, _ = crops.at(0)
    assert cube.shape == (2, 29, 16, 16)
    assert np.isfinite(cube).all()
    assert np.isfinite(rgb).all()
    start = start_of(settings, crops)
    assert start.wavelengths.tolist() == [float(w) for w in range(420, 701, 10)]


def test_arad_is_trained_on(tmp_path: Path) -> None:
    (root := tmp_path / "arad").mkdir()
    write_arad(root, {number: cube_of(number) for number in (1, 2, 901)})
    settings = load(TrainSettings, "train-arad.toml", crop="16", batch="2", iterations="300000")
    crops = crops_of(settings, root)
    assert len(crops.cubes) == 2
    assert (settings.iterations, load(TrainSettings, "train-arad.toml").crop) == (300_000, 128)
    assert crops.at(0)[1].shape == (2, 31, 16, 16)


def test_a_split_is_kept_as_the_scenes_it_was(tmp_path: Path) -> None:
    """One file more, and a split is of other scenes."""
    (root := tmp_path / "harvard").mkdir()
    for number in (11, 12, 13):
        write_harvard(root, f"img{number}", cube_of(number, 24, 28))
    small = {"crop": "16", "batch": "2", "iterations": "1", "noise": "0"}
    settings = load(TrainSettings, "train-harvard.toml", **small)
    path = train(settings, root, tmp_path / "out", silent)
    training = r2h.describe(path)["training"]
    assert [name.rpartition("/")[2] for name in training["scenes"]] == ["img12", "img13"]
    write_harvard(root, "img10", cube_of(0, 24, 28))
    with pytest.raises(Refusal, match="settings it was begun with"):
        train(settings, root, tmp_path / "out", silent)


def test_scenes_to_train_on_must_be_named() -> None:
    with pytest.raises(Refusal, match="scenes or a split"):
        load(TrainSettings, None, cameras={"srgb": 1}, iterations=1)


def test_tensorboards_records_are_written_where_asked_for(cave: Path) -> None:
    pytest.importorskip("tensorboard")
    settings = load(TrainSettings, "train-smoke.toml", iterations="1", tensorboard=True)
    train(settings, cave, cave / "out", silent)
    assert list((cave / "out" / "tensorboard").glob("events.*"))


def test_what_breaks_is_told_in_a_line(
    cave: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise Diverged("a loss of nan", 7, "Lower learning_rate.")

    monkeypatch.setattr("flows.train.Trainer.step", broken)
    given = ["train", "train-smoke.toml", "--root", str(cave), "--out", str(cave / "out")]
    monkeypatch.setattr(sys, "argv", ["r2h", *given])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert "a loss of nan at iteration 7. Lower" in capsys.readouterr().err


def test_switches_that_are_on_can_be_turned_off(cave: Path) -> None:
    assert load(TrainSettings, "train-smoke.toml", flips=False).flips is False
    done = CliRunner().invoke(cli.app, ["train", "--help"])
    assert "--no-flips" in done.output
