"""Training and evaluation by their commands, on a small data set in CAVE's own layout."""

import csv
import json
import sys

import numpy as np
import pytest

from flows import cli
from model.checkpoint import describe, load
from model.train import Trainer
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


def test_evaluate_scores_both_methods(monkeypatch, cave, config, tmp_path, capsys):
    out = tmp_path / "out"
    settings = tmp_path / "evaluate.toml"
    settings.write_text('scenes = ["first", "second"]\ntile = 32\noverlap = 8\nsteps = 1\n')
    given = ("evaluate", "cave", "--root", cave, "--out", out, "--config", settings)
    assert r2h(monkeypatch, *given) == 0
    assert "root-polynomial" in capsys.readouterr().out
    rows = json.loads((out / "evaluation.json").read_text())
    assert len(rows) == 6
    assert {"psnr", "mrae", "rmse", "sam", "ssim"} <= rows[0].keys()
    of = {(row["scene"], row["method"]): row for row in rows}
    mean = (of["first", "r2h-diff"]["psnr"] + of["second", "r2h-diff"]["psnr"]) / 2
    assert abs(of["mean", "r2h-diff"]["psnr"] - mean) < 1e-9
    with (out / "evaluation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6


def test_evaluate_refuses_what_is_not_there(monkeypatch, cave, tmp_path, capsys):
    assert r2h(monkeypatch, "evaluate", "cave", "--root", tmp_path / "none") == 2
    assert r2h(monkeypatch, "evaluate", "harvard", "--root", cave) == 2
    assert r2h(monkeypatch, "evaluate", "cave", "--root", cave) == 2
    assert "cloth" in capsys.readouterr().err
