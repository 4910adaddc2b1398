"""Disturb runs in every way and compare with one that was left alone; prints what happened."""

import argparse
import random
import shutil
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import ways
from tests.faults.run import Run, raster

START = time.perf_counter()


def main() -> None:
    """Each way so many times; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=175)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--others", type=int, default=20, help="truncations, full disks, rivals")
    parser.add_argument("--workers", type=int, default=20, help="kills of Dask workers")
    parser.add_argument("--servers", type=int, default=5, help="kills of Prefect servers")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    with TemporaryDirectory() as folder:
        source, plain = raster(Path(folder) / "source.tif"), Path(folder) / "plain.zarr"
        Run(source, plain).end()  # warms the disk's cache up, so that the next one is timed
        start = time.perf_counter()
        code, said = Run(source, plain, "--overwrite").end()
        most = time.perf_counter() - start
        assert code == 0, said
        print(f"undisturbed: {most:.1f} s", flush=True)
        for number, times in ((signal.SIGKILL, given.kills), (signal.SIGTERM, given.terms)):
            tell(number.name, ways.signals(source, plain, number, times, most))
        tell("truncated", ways.truncations(source, plain, given.others))
        tell("two at once", ways.rivals(source, plain, given.others))
        tell("Dask worker killed", ways.workers(source, plain, given.workers, most))
        tell("Prefect server killed", ways.servers(source, plain, given.servers, most))
        if shutil.which("mount") is None or not may_mount(Path(folder)):
            print("disk full, read-only: not tried, no right to mount a small disk")
            return
        tell("disk full", ways.full_disk(source, plain, given.others, most))
        tell("read-only", ways.read_only(source, plain))


def may_mount(folder: Path) -> bool:
    """Whether a small disk can be had here."""
    try:
        with ways.small_disk(folder / "trial"):
            return True
    except ways.subprocess.CalledProcessError:
        return False


def tell(what: str, times: int) -> None:
    """What was tried, how often it disturbed a run, and when since the start it was done."""
    since = time.perf_counter() - START
    print(f"{what}: {times} times; stores identical ({since:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
