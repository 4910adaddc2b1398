"""The house rules: imports run one way, and heavy packages stay in their rooms."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("pipeline", "model", "flows")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_run_one_way(path):
    room, used = path.parent.name, rooms(path)
    forbidden = {"pipeline": {"model", "flows"}, "model": {"pipeline", "flows"}, "flows": set()}
    assert not used & forbidden[room]
    assert not (used & {"prefect", "pydantic", "typer"} and room != "flows")
    assert not (
        "torch" in used and room == "pipeline" and path.stem not in ("stream", "sums", "device")
    )


def test_grid_knows_nothing_of_ours_but_the_error():
    assert {n for n in imported(ROOT / "pipeline/grid.py") if n.startswith(ROOMS)} == {
        "pipeline.errors",
        "pipeline.errors.Refusal",
    }


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = [line for name in extras if name not in ("dev", "bench") for line in extras[name]]
    lines = project["dependencies"] + optional
    declared = {re.match(r"[\w-]+", line)[0] for line in lines}
    named = {
        "colour": "colour-science",
        "napari_builtins": "napari",
        "PIL": "pillow",
        "lazy_loader": "lazy-loader",
        "odc": "odc-geo",
        "prometheus_client": "prometheus-client",
        "pythonjsonlogger": "python-json-logger",
        "rio_tiler": "rio-tiler",
        "skimage": "scikit-image",
    }
    ours = {*ROOMS, *sys.stdlib_module_names}
    used = set().union(*map(rooms, FILES)) - ours
    assert {named.get(name, name) for name in used} <= declared


def test_nothing_is_unpickled():
    for path in FILES:
        assert not rooms(path) & {"pickle", "cloudpickle", "dill", "joblib"}
        assert "torch.load" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_stay_small(path):
    assert path.read_text().count("\n") <= 250


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/reliability.md", "ARCHITECTURE.md"])
def test_every_test_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"`(?:tests/)?(test_\w+\.py)(?:::(\w+))?`", text)
    assert named
    for file, test in named:
        assert f"def {test}" in (ROOT / "tests" / file).read_text()
    for way in re.findall(r"`ways\.(\w+)`", text):
        assert f"def {way}(" in (ROOT / "tests/faults/ways.py").read_text()
