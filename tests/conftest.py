"""What all tests share."""

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from flows import cli
from tests.model_fixtures import small_checkpoint

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection need look at its million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Checkpoint of a small network of 31 wavelengths."""
    return str(small_checkpoint(tmp_path_factory.mktemp("model") / "small.safetensors"))


@pytest.fixture
def command(monkeypatch: Any, capsys: Any) -> Callable[..., tuple[int, str, str]]:
    """Run `r2h` with these words; returns its exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["r2h", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def data_root() -> Path:
    """The project's shared data; a test that needs it is skipped where it is absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    root = Path(os.environ.get("R2H_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no data at {root}; set R2H_DATA")
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; a test that needs one is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    path = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    with playwright.sync_playwright() as driver:
        if not (path or Path(driver.chromium.executable_path).exists()):
            pytest.skip("no Chromium on this machine")
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
