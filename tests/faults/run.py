"""`r2h reconstruct` in a process of its own, forked from one that has imported everything."""

import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import rasterio

from pipeline.companion import Companion
from tests.toys import objects

TILING = ("--chunk", "32", "--tile", "32", "--overlap", "8", "--threads", "2")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["flows.cli", "flows.progress", "flows.verify", "model.folded"])


def raster(path: Path, height: int = 192, width: int = 192) -> Path:
    """A raster of blocks with a hole of nodata."""
    blocks = np.random.default_rng(0).integers(20, 230, (4, height // 8, width // 8), np.uint8)
    values = blocks.repeat(8, axis=1).repeat(8, axis=2)
    values[3] = 255
    values[3, 20:80, 40:100] = 0
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 4, "dtype": "uint8"}
    place = rasterio.Affine(0.5, 0, 350000, 0, -0.5, 4060000)
    with rasterio.open(path, "w", crs=32632, transform=place, **profile) as file:
        file.write(values)
    return path


class Run:
    """A run under way."""

    def __init__(self, source: Path, cube: Path, *more: str, **environment: str) -> None:
        self.log = source.parent / f"{cube.stem}.{time.monotonic_ns()}.log"
        words = ["r2h", "reconstruct", str(source), str(cube), *TILING, *more]
        self.process = _context.Process(target=_work, args=(words, str(self.log), environment))
        self.process.start()

    @property
    def alive(self) -> bool:
        return self.process.exitcode is None

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for the end; exit code and what was said."""
        self.process.join(300)
        assert not self.alive, "a run hangs"
        said = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return self.process.exitcode, said


def _work(words: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ |= environment  # before Prefect is imported
    from flows.cli import main  # noqa: PLC0415

    sys.argv = words
    with open(log, "w", buffering=1) as sys.stderr:  # noqa: PTH123
        main()


def go_on(source: Path, cube: Path) -> str:
    """Resume to the end, whatever was left; returns what was said."""
    code, said = Run(source, cube, "--resume").end()
    assert code == 0, said
    return said


def assert_same(plain: Path, cube: Path) -> None:
    """Both stores, byte by byte."""
    for one, other in ((plain, cube), (aux(plain), aux(cube))):
        assert objects(one) == objects(other), f"{other} differs"


def aux(cube: Path) -> Path:
    return Path(Companion.uri(str(cube)))


def clear(cube: Path) -> None:
    """Delete a cube with all that is beside it."""
    for folder in (cube, aux(cube)):
        shutil.rmtree(folder, ignore_errors=True)
    cube.with_suffix(".run.json").unlink(missing_ok=True)
