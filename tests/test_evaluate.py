"""Training and evaluation by their commands, on a small data set in CAVE's own layout."""

import csv
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import prefect.main  # noqa: F401 (now: in a test, its logging makes absl's close pytest's stderr)
import pytest
from PIL import Image
from prefect.testing.utilities import prefect_test_harness

from benchmarks.figures import figures
from flows import cli, deploy
from flows.evaluate import evaluate
from flows.learn_settings import PUBLISHED_BY, EvaluateSettings
from flows.scorebook import about, cautions, refuse_other
from flows.settings import load as settings_of
from model.checkpoint import describe, load
from model.shipped import SHIPPED
from model.train import Trainer
from pipeline.camera import load_camera, resampled
from pipeline.cave import cave as open_cave
from pipeline.context import measured
from pipeline.cube import SpectralCube
from pipeline.fit import write_camera
from pipeline.lock import alone
from pipeline.ours import PAGE
from pipeline.reference import ReferenceScene
from pipeline.scores import PROTOCOLS, Protocol
from tests.owners import cube_of, write_arad, write_harvard
from tests.toys import write_scene

SIDE = 40


@pytest.fixture
def cave(tmp_path):
    """Two scenes of smooth spectra, 31 16-bit PNGs each."""
    root, random = tmp_path / "cave", np.random.default_rng(0)
    rows = np.linspace(0, 1, SIDE)
    for name in ("first", "second"):
        slopes = random.random(3).sum() * np.linspace(0, 1, 31)[:, None, None] / 3
        planes = 0.2 + 0.5 * np.outer(rows, rows[::-1]) * slopes
        write_scene(root / f"{name}_ms" / f"{name}_ms", name, (planes * 65535).astype(np.uint16))
    return root


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "train.toml"
    path.write_text(
        'scenes = ["first", "second"]\ncrop = 16\nbatch = 2\niterations = 3\nsave_every = 1\n'
        "[cameras]\nsrgb = 0.5\nbasler-a2a5320-23uc = 0.5\n"
    )
    return path


def r2h(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["r2h", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code or 0


def test_train_writes_a_checkpoint_and_goes_on(monkeypatch, cave, config, tmp_path, capsys):
    straight, halved = tmp_path / "straight", tmp_path / "halved"
    given = ("train", config, "--root", cave, "--out")
    assert r2h(monkeypatch, *given, straight) == 0
    path = straight / "checkpoint.safetensors"
    assert load(path).config.target == "residual"
    assert describe(path)["training"]["iterations"] == 3
    # A run that is stopped after its first save, and taken up again.
    with monkeypatch.context() as patched:
        step = Trainer.step

        def stopping(self, batch):
            if self.iteration == 1:
                raise KeyboardInterrupt
            return step(self, batch)

        patched.setattr(Trainer, "step", stopping)
        assert r2h(patched, *given, halved) != 0
    assert not (halved / "checkpoint.safetensors").exists()
    assert r2h(monkeypatch, *given, halved) == 0
    other = describe(halved / "checkpoint.safetensors")
    assert other["digest"] == describe(path)["digest"]


def test_own_cubes_are_checked_trained_on_and_scored(monkeypatch, tmp_path, capsys):
    root, config = tmp_path / "own", tmp_path / "own.toml"
    root.mkdir()
    for name, height in (("field", 40), ("lab", 33)):
        cube = cube_of(height, height, 40).transpose(1, 2, 0) * 4000
        np.savez(root / f"{name}.npz", cube=cube, wavelength_nm=np.arange(400.0, 701, 10))
    assert r2h(monkeypatch, "data", "check", root) == 0
    assert "own: 2 scenes" in capsys.readouterr().out
    shares = "crop = 16\nbatch = 2\niterations = 1\n[cameras]\nsrgb = 1\n"
    config.write_text(f'dataset = "own"\nscenes = ["field"]\n{shares}')
    assert r2h(monkeypatch, "train", config, "--root", root, "--out", tmp_path / "run") == 0
    trained = tmp_path / "run" / "checkpoint.safetensors"
    assert describe(trained)["training"]["dataset"] == "own"
    config.write_text("tile = 32\noverlap = 8\nsteps = 1\n")
    asked = ("evaluate", "own", "--root", root, "--out", tmp_path / "out", "--config", config)
    assert r2h(monkeypatch, *asked, "--checkpoint", trained) == 0
    small = cube_of(1, 8, 8).transpose(1, 2, 0)
    np.savez(root / "a.npz", cube=small, wavelength_nm=np.arange(400.0, 701, 10))
    # One that cannot be scored costs the others nothing.
    assert r2h(monkeypatch, *asked, "--checkpoint", trained) == 1
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "11 valid pixels" in found["failed"]["a"]
    with alone(tmp_path / "out" / ".evaluate.lck"):
        assert r2h(monkeypatch, *asked, "--checkpoint", trained) == 75
    assert {row["scene"] for row in found["scenes"]} == {"field", "lab"}
    assert (found["dataset"], found["trained_on"]) == ("own", ["field"])


EVALUATION = 'scenes = ["first", "second"]\ntile = 32\noverlap = 8\nsteps = 1\n'


def test_evaluate_scores_every_method(monkeypatch, cave, tmp_path, capsys):
    out, settings = tmp_path / "out", tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION)
    given = ("evaluate", "cave", "--root", cave, "--out", out, "--config", settings)
    assert r2h(monkeypatch, *given, "--whole", "--rendering", "ntire2022") == 0
    said = capsys.readouterr().out
    assert "root-polynomial" in said
    assert "r2h-diff whole less r2h-diff: mrae" in said
    found = json.loads((out / "evaluation.json").read_text())
    assert len(found["scenes"]) == 6
    of = {(row["scene"], row["method"]): row for row in found["scenes"]}
    tiled, whole = of["first", "r2h-diff"], of["first", "r2h-diff whole"]
    assert (tiled["tiles"], whole["tiles"]) == (4, 1)
    assert tiled["psnr"] != whole["psnr"]
    mean = {row["method"]: row for row in found["means"]}["r2h-diff"]
    both = (tiled["psnr"] + of["second", "r2h-diff"]["psnr"]) / 2
    assert mean["psnr"] == pytest.approx(both)
    assert mean["interval"]["psnr"][0] <= mean["psnr"] <= mean["interval"]["psnr"][1]
    (less,) = [row for row in found["differences"] if row["method"] == "r2h-diff whole"]
    gain = [
        of[s, "r2h-diff whole"]["psnr"] - of[s, "r2h-diff"]["psnr"] for s in ("first", "second")
    ]
    assert less["psnr"] == pytest.approx(np.mean(gain))
    assert len(mean["by_wavelength"]["psnr"]) == len(found["wavelengths_nm"]) == 31
    assert sum(mean["angles"]) == 2 * SIDE * SIDE
    html = (out / "evaluation.report.html").read_text()
    assert "Place 1 of 2" in html
    assert "Place 2 of 2" in html
    with (out / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scene"] for row in rows] == ["first"] * 3 + ["second"] * 3
    assert float(rows[0]["psnr"]) == tiled["psnr"]


def test_figures_that_are_no_numbers_are_null(monkeypatch, cave, tmp_path, capsys):
    dark = tmp_path / "dark"
    shutil.copytree(cave, dark)
    for band in dark.rglob("*_10.png"):
        Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(band)
    out, settings = tmp_path / "out", tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION)
    given = ("evaluate", "cave", "--root", dark, "--out", out, "--config", settings, "--json")
    monkeypatch.setitem(PROTOCOLS, "full", Protocol("full", 0, 0.0))
    assert r2h(monkeypatch, *given) == 0

    def refuse(name):
        raise AssertionError(name)

    for text in (capsys.readouterr().out, (out / "evaluation.json").read_text()):
        found = json.loads(text, parse_constant=refuse)
        assert found["scenes"][0]["mrae"] is None
        assert found["scenes"][0]["rmse"] > 0
    (out / "evaluation.report.html").unlink()
    assert r2h(monkeypatch, "report", out) == 0
    assert (out / "evaluation.report.html").exists()


def test_a_scene_that_cannot_be_read_costs_no_other(monkeypatch, cave, tmp_path, capsys):
    out, settings = tmp_path / "out", tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION)
    next(cave.rglob("second_ms_04.png")).unlink()
    given = ("evaluate", "cave", "--root", cave, "--out", out, "--config", settings)
    assert r2h(monkeypatch, *given) == 1
    said = capsys.readouterr()
    assert "second: a CAVE scene must have 31 PNGs" in said.err
    assert "NOT scored, as they could not be read: second" in said.out
    found = json.loads((out / "evaluation.json").read_text())
    assert {row["scene"] for row in found["scenes"]} == {"first"}
    assert [*found["failed"]] == ["second"]
    assert "NOT scored" in (out / "evaluation.report.html").read_text()
    next(cave.rglob("first_ms_04.png")).unlink()
    assert r2h(monkeypatch, *given) == 2


def test_an_evaluation_replaces_none_but_its_own(monkeypatch, cave, tmp_path, capsys):
    settings = tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION)
    mine = tmp_path / "evaluation.json"
    mine.write_text('{"mine": 1}')
    given = ("evaluate", "cave", "--root", cave, "--out", tmp_path, "--config", settings)
    assert r2h(monkeypatch, *given) == 2
    assert "only what R2H made" in capsys.readouterr().err
    assert mine.read_text() == '{"mine": 1}'
    # What a full disk left of one of ours is none of others.
    for cut in ("", '{\n  "form', '{\n  "format": 1,\n  "dataset": "cave",\n  "sett'):
        mine.write_text(cut)
        refuse_other(tmp_path)


@pytest.mark.parametrize("option", ["--uncertainty=fast", "--samples=2"])
def test_an_evaluation_with_sigma_keeps_it_beside_the_model_s_cubes(
    monkeypatch, cave, tmp_path, option
):
    out, settings = tmp_path / "out", tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION.replace(', "second"', ""))
    given = ("evaluate", "cave", "--root", cave, "--out", out, "--config", settings)
    assert r2h(monkeypatch, *given, option) == 0
    ours, baseline = (
        SpectralCube.open(str(out / f"first-{method}.zarr")).companion._arrays
        for method in ("r2h-diff", "root-polynomial")
    )
    assert ours["uncertainty"].shape == (31, SIDE, SIDE)
    assert "uncertainty" not in baseline


def test_an_evaluation_says_what_decided_it(monkeypatch, cave, tmp_path):
    out, settings = tmp_path / "out", tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION)
    given = ("evaluate", "cave", "--root", cave, "--out", out, "--config", settings)
    assert r2h(monkeypatch, *given) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert found["checkpoint"]["digest"] == describe()["digest"]
    assert (found["dataset"], found["parameters"]) == ("cave", 585_557)
    assert found["gmac"] > 1
    known = found["settings"]
    keys = ("camera", "rendering", "rgb", "protocol", "tile", "overlap", "start", "seed", "steps")
    assert all(known[key] is not None for key in keys)
    assert found["engine"] in ("torch", "onnxruntime")
    assert found["versions"]["numpy"] == np.__version__
    assert found["trained_on"] == found["untold"] == []
    (row, *_) = figures(found)
    assert (row["digest"], row["mean"]["psnr"]) == (
        describe()["digest"],
        round(found["means"][0]["psnr"], 4),
    )


@pytest.mark.parametrize(("dataset", "told"), [("cave", ["beads"]), ("harvard", [])])
def test_scenes_that_were_trained_on_are_no_test(dataset, told):
    settings = settings_of(EvaluateSettings, "evaluate-cave.toml")
    of = SimpleNamespace(name=dataset, wavelengths=(400.0,))
    known = about(settings, of, load(SHIPPED), ["cloth", "beads"])
    assert (known["trained_on"], known["untold"]) == (told, [])
    assert known["baseline_trained_on"] == told
    said = "\n".join(cautions(known, 2))
    assert said.count("NOT a test of the baseline: it was fitted on beads") == len(told)
    other = settings.model_copy(update={"camera": "nikon-d700"})  # where it is not scored
    assert about(other, of, load(SHIPPED), ["beads"])["baseline_trained_on"] == []


def test_a_scene_is_scored_in_its_own_scale(monkeypatch, cave, tmp_path):
    settings = settings_of(EvaluateSettings, "evaluate-cave.toml")
    settings = settings.model_copy(update={"scenes": ("first",), "split": None})
    reference = open_cave(cave).read("first")
    camera = resampled(load_camera(settings.camera), reference.wavelengths)
    scene = ReferenceScene.rendered(reference, camera, settings.rendering, settings.seed)
    bound = []
    monkeypatch.setattr(
        "flows.evaluate.bind", lambda *given: bound.append(given[-1].scale) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        evaluate(settings, "cave", cave, tmp_path / "out", lambda _: None)
    assert bound == [measured(scene, camera, settings.tile).scale]
    assert bound != [1]


def test_figures_of_cubes_that_are_replaced_are_gone(monkeypatch, cave, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("evaluation.json", "evaluation.csv", "evaluation.report.html"):
        (out / name).write_text(PAGE if name.endswith(".html") else "")
    monkeypatch.setattr("flows.evaluate._Bench.rows", lambda *_: 1 / 0)
    settings = settings_of(EvaluateSettings, "evaluate-cave.toml")
    settings = settings.model_copy(update={"scenes": ("first",), "split": None})
    with pytest.raises(ZeroDivisionError):
        evaluate(settings, "cave", cave, out, lambda _: None)
    assert not list(out.iterdir())


def test_scenes_of_a_start_are_no_test_either(monkeypatch, cave, config, tmp_path, capsys):
    config.write_text(config.read_text().replace('"first", "second"', '"first"'))
    given = ("train", config, "--root", cave, "--iterations", 1, "--out")
    assert r2h(monkeypatch, *given, tmp_path / "a") == 0
    start = tmp_path / "a" / "checkpoint.safetensors"
    config.write_text(config.read_text().replace('"first"', '"second"'))
    assert r2h(monkeypatch, *given, tmp_path / "b", "--init", start) == 0
    (tmp_path / "evaluate.toml").write_text(EVALUATION.replace(', "second"', ""))
    weights = tmp_path / "b" / "checkpoint.safetensors"
    given = ("evaluate", "cave", "--root", cave, "--out", tmp_path / "c", "--checkpoint", weights)
    assert r2h(monkeypatch, *given, "--config", tmp_path / "evaluate.toml") == 0
    assert all("NOT a test: the model was trained on first" in t for t in capsys.readouterr())


@pytest.mark.slow
def test_training_as_a_flow_gives_the_same_checkpoint(monkeypatch, cave, tmp_path, capsys):
    given = ("train", "train-smoke.toml", "--root", cave, "--iterations", "1", "--out")
    assert r2h(monkeypatch, *given, tmp_path / "direct") == 0
    with prefect_test_harness(server_startup_timeout=240):
        assert r2h(monkeypatch, *given, tmp_path / "flow", "--prefect") == 0
    one, other = (describe(tmp_path / f / "checkpoint.safetensors") for f in ("direct", "flow"))
    assert one == other


def test_arad_is_scored_on_its_own_photographs(monkeypatch, tmp_path, capsys):
    (root := tmp_path / "arad").mkdir()
    write_arad(root, {1: cube_of(1), 901: cube_of(2)})
    given = ("evaluate", "arad", "--root", root, "--out", tmp_path / "out", "--steps", "1")
    small = ("--tile", "32", "--overlap", "8", "--protocol", "full")
    assert r2h(monkeypatch, *given) == 2  # 20 pixels have no crop of 128
    page = tmp_path / "out" / "evaluation.report.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text("<html>mine</html>")
    assert r2h(monkeypatch, *given, *small) == 2
    assert not (page.parent / "evaluation.json").exists(), "told before any work"
    page.unlink()
    assert r2h(monkeypatch, *given, *small) == 0
    folder = tmp_path / "out"
    found = json.loads((folder / "evaluation.json").read_text())
    assert {row["scene"] for row in found["scenes"]} == {"ARAD_1K_0901"}
    # Forty-nine of the fifty are not there: these figures are none of the benchmark.
    assert found["missing"] == [f"ARAD_1K_{number:04d}" for number in range(902, 951)]
    told = "1 of 50 scenes of validation are there; missing: ARAD_1K_0902, "
    assert all(told in text for text in capsys.readouterr())
    assert "1 of 50 scenes of validation" in (folder / "evaluation.report.html").read_text()
    assert found["settings"]["rgb"] == "published"
    # What would be passed over, or read another camera's photographs as the Basler's.
    for other in (("--camera", "nikon-d700"), ("--rendering", "ntire2022")):
        assert r2h(monkeypatch, *given, *small, *other) == 2
    assert all(np.isfinite(row["psnr"]) for row in found["scenes"])


@pytest.mark.parametrize("kind", ["r2h-diff", "root-polynomial"])
def test_training_says_what_of_its_split_is_missing(monkeypatch, tmp_path, capsys, kind):
    (root := tmp_path / "arad").mkdir()
    write_arad(root, {1: cube_of(1), 901: cube_of(2)})
    network = "crop = 16\nbatch = 1\n" if kind == "r2h-diff" else ""
    plain = f'kind = "{kind}"\ndataset = "arad"\nsplit = "validation"\niterations = 1\n'
    (tmp_path / "train.toml").write_text(f"{plain}{network}[cameras]\nsrgb = 1\n")
    given = ("train", tmp_path / "train.toml", "--root", root, "--out", tmp_path / "out")
    assert r2h(monkeypatch, *given) == 0
    assert "1 of 50 scenes of validation are there; missing:" in capsys.readouterr().err


def test_harvard_is_scored_at_the_wavelengths_it_shares(monkeypatch, tmp_path, capsys):
    (root := tmp_path / "harvard").mkdir()
    for number in (10, 11):
        write_harvard(root, f"img{number}", cube_of(number, 24, 28))
    given = ("evaluate", "harvard", "--root", root, "--out", tmp_path / "out", "--steps", "1")
    assert r2h(monkeypatch, *given, "--tile", "32", "--overlap", "8") == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["wavelengths_nm"] == [float(w) for w in range(420, 701, 10)]
    # The baseline was fitted with the light of 400 and 410 nm too, which the reference lacks.
    (row,) = found["scenes"]
    assert row["scene"] == "img11"
    assert sum(row["angles"]) == 23 * 28  # the masked row counts nowhere
    assert SpectralCube.open(str(tmp_path / "out" / "img11-r2h-diff.zarr")).sealed


def test_a_file_named_as_the_baseline_s_camera_is_another(monkeypatch, cave, tmp_path, capsys):
    out, settings = tmp_path / "out", tmp_path / "evaluate.toml"
    settings.write_text(EVALUATION.replace(', "second"', ""))
    other = tmp_path / f"{PUBLISHED_BY}.csv"
    write_camera(load_camera("nikon-d700"), other, "another's table")
    given = ("evaluate", "cave", "--root", cave, "--out", out, "--config", settings)
    assert r2h(monkeypatch, *given, "--camera", other) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert [row["method"] for row in found["scenes"]] == ["r2h-diff"]
    assert f"that was fitted for {PUBLISHED_BY}," in capsys.readouterr().err


@pytest.mark.parametrize("camera", ["srgb", "mine.csv"])
def test_noise_of_a_table_of_any_unit_is_refused(monkeypatch, cave, tmp_path, capsys, camera):
    # Nothing would tell: the Basler's table in per cent has a tenth of its noise.
    write_camera(load_camera(PUBLISHED_BY), tmp_path / "mine.csv", "of sums 1")
    monkeypatch.chdir(tmp_path)
    given = ("evaluate", "cave", "--root", cave, "--out", tmp_path / "out", "--camera", camera)
    assert r2h(monkeypatch, *given, "--rendering", "ntire2022") == 2
    assert "choose a measured camera of the library" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
    EvaluateSettings(camera=camera)
    EvaluateSettings(camera="nikon-d700", rendering="ntire2022")


def test_evaluate_refuses_what_is_not_there(monkeypatch, cave, tmp_path, capsys):
    assert r2h(monkeypatch, "evaluate", "cave", "--root", tmp_path / "none") == 2
    assert r2h(monkeypatch, "evaluate", "harvard", "--root", cave) == 2
    assert r2h(monkeypatch, "evaluate", "other", "--root", cave) == 2
    capsys.readouterr()
    assert r2h(monkeypatch, "evaluate", "cave", "--root", cave) == 2
    assert "cloth" in capsys.readouterr().err
    given = ("evaluate", "cave", "--root", cave, "--rgb", "published", "--config")
    (tmp_path / "evaluate.toml").write_text(EVALUATION)
    assert r2h(monkeypatch, *given, tmp_path / "evaluate.toml") == 2
    assert "photographs" in capsys.readouterr().err


def test_every_checkpoint_that_ships_has_a_card_and_is_described(monkeypatch, capsys):
    assert r2h(monkeypatch, "model", "list", "--json") == 0
    for row in json.loads(capsys.readouterr().out):
        card = SHIPPED.with_name(row["name"]).with_suffix(".md").read_text()
        assert row["digest"] in card
        assert "## Where it fails" in card or "**Where it fails**" in card
        assert "docs/images/" in card
        assert r2h(monkeypatch, "model", "info", row["name"]) == 0  # as it is listed
        capsys.readouterr()
        assert (
            r2h(monkeypatch, "model", "info", row["name"].removesuffix(".safetensors"), "--json")
            == 0
        )
        about = json.loads(capsys.readouterr().out)
        assert about["digest"] == row["digest"]
        assert about["parameters"] > 100


def test_the_shipped_checkpoints_are_listed_with_their_figures(monkeypatch, capsys):
    assert r2h(monkeypatch, "model", "list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["r2h-wide.safetensors"]["digest"] == describe()["digest"]
    for row in rows.values():
        assert row["figures"], "the figures are of other weights: python -m benchmarks.figures"
        assert all(30 > figures["mean"]["sam"] > 1 for figures in row["figures"])
    assert r2h(monkeypatch, "model", "list") == 0
    assert "psnr" in capsys.readouterr().out


def test_a_deployed_evaluation_fails_where_scenes_did(monkeypatch):
    for failed in ({}, {"one": "cut"}):
        whole = {"scenes": [], "means": [], "failed": failed}
        monkeypatch.setattr(deploy, "evaluate_task", lambda *_, answer=whole: answer)
        monkeypatch.setattr(deploy, "show_table", lambda *_: None)
        ended = deploy.evaluate_flow.fn(EvaluateSettings(), "cave", "", "")
        assert ended.is_failed() if failed else ended == whole
