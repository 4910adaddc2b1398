"""A run that is killed again and again must leave the store of one that was not.

`make faults`, or `python -m tests.faults --kills 50 --terms 5`. Prints what happened.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio

from flows.commands.common import STOPPED
from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from tests.toys import objects

TILING = ("--chunk", "64", "--tile", "64", "--overlap", "16")
BEGUN = "tiles in "
"""What a run says when it is about to begin."""


def raster(path: Path, height: int, width: int) -> Path:
    """A raster of blocks with a hole of nodata."""
    blocks = np.random.default_rng(0).integers(20, 230, (4, height // 8, width // 8), np.uint8)
    values = blocks.repeat(8, axis=1).repeat(8, axis=2)
    values[3] = 255
    values[3, 96:180, 40:200] = 0
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 4, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=32632, **profile) as file:
        file.write(values)
    return path


class Run:
    """`r2h reconstruct` in a process of its own."""

    def __init__(self, source: Path, cube: Path, *more: str) -> None:
        code = "from flows.cli import main; main()"
        words = ["reconstruct", str(source), str(cube), *TILING, *more]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True
        )

    def begun(self) -> bool:
        """Wait until work begins; False where the run ended before."""
        assert self.process.stderr is not None
        return any(BEGUN in line for line in self.process.stderr)

    def end(self) -> int:
        """Wait for the end; the exit code."""
        self.process.communicate()
        return self.process.returncode

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; the exit code, and how long the process took to end."""
        self.process.send_signal(number)
        start = time.perf_counter()
        return self.end(), time.perf_counter() - start


def disturb(source: Path, cube: Path, number: signal.Signals, times: int, most: float) -> int:
    """Begin, end by a signal and resume; returns how often it was still running."""
    hits, more = 0, ()
    for _ in range(times):
        run, more = Run(source, cube, *more), ("--resume",)
        if run.begun():
            time.sleep(random.uniform(0, most))
            alive = run.process.poll() is None
            code, seconds = run.stop(number)
            if number == signal.SIGTERM and alive:
                assert code in (STOPPED, 0), code
                assert seconds < 30, seconds
            hits += alive and code != 0
        else:
            assert run.end() == 0
        chunks = len(SpectralCube.open(str(cube)).finished())
        print(f"{number.name}: {chunks} chunks finished", flush=True)
    assert Run(source, cube, "--resume").end() == 0
    return hits


def main() -> None:
    """Run both kinds and compare with an undisturbed run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--terms", type=int, default=5)
    parser.add_argument("--rows", type=int, default=6400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    with TemporaryDirectory() as folder:
        source = raster(Path(folder) / "source.tif", given.rows, 256)
        plain = Path(folder) / "plain.zarr"
        start = time.perf_counter()
        assert Run(source, plain).end() == 0
        print(f"undisturbed: {time.perf_counter() - start:.1f} s")
        for number, times in ((signal.SIGKILL, given.kills), (signal.SIGTERM, given.terms)):
            cube = Path(folder) / f"{number.name}.zarr"
            hits = disturb(source, cube, number, times, most=1.0)
            for one, other in ((plain, cube), (aux(plain), aux(cube))):
                assert objects(one) == objects(other), f"{other} differs"
            print(f"{number.name}: {hits} of {times} met a running job; stores identical")
            assert hits == times, "a signal met a finished run: give more --rows"


def aux(cube: Path) -> Path:
    return Path(Companion.uri(str(cube)))


if __name__ == "__main__":
    main()
