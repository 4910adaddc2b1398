"""The wheel is whole: it runs from an empty directory with nothing of the checkout in reach."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import skimage

ROOT = Path(__file__).parent.parent


def run(*command, cwd, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The commands of a fresh environment with our wheel in it, its dependencies lent by path."""
    folder = tmp_path_factory.mktemp("wheel")
    # Not of the checkout itself: setuptools takes in what an older build left there.
    left = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", ignore=left)
    words = ("build", "--wheel", "--no-isolation", "-o", folder, source)
    run(sys.executable, "-m", *words, cwd=folder)
    fresh = folder / "env"
    venv.create(fresh)
    site = sysconfig.get_path("purelib", vars={"base": str(fresh), "platbase": str(fresh)})
    # Path files inside a lent folder are not read, so the checkout's own install stays out.
    (Path(site) / "lent.pth").write_text(sysconfig.get_path("purelib"))
    python = fresh / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    install = ("-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    run(sys.executable, *install, cwd=folder)
    return fresh / "bin"


FOUND = """
import flows
from flows.view import PAGES
print(flows.__file__, *sorted(page.name for page in PAGES.iterdir()))
"""


def test_runs_from_an_empty_directory(installed, tmp_path):
    place, *pages = run(installed / "python", "-c", FOUND, cwd=tmp_path).split()
    assert str(ROOT / "flows") not in place
    assert pages == ["index.html", "spectra.js", "view.css", "view.js"]
    about = json.loads(run(installed / "r2h", "model", "info", "--json", cwd=tmp_path))
    assert about["steps"] == 5
    photo = Path(skimage.__file__).parent / "data" / "coffee.png"
    command = ("reconstruct", photo, "cup.zarr", "--window", "100,200,40,50", "--tile", "64")
    options = ("--config", "reconstruct.toml", "--steps", "1", "--json")
    record = json.loads(run(installed / "r2h", *command, *options, cwd=tmp_path))
    assert record["provenance"]["checkpoint"] == about["digest"]
    facts = json.loads(run(installed / "r2h", "info", "cup.zarr", "--json", cwd=tmp_path))
    assert (facts["height"], facts["width"], facts["sealed"]) == (40, 50, True)
    run(installed / "r2h", "report", "cup.zarr", cwd=tmp_path)
    assert "not measured" in (tmp_path / "cup.report.html").read_text()
