"""What a scene of a batch takes beside its own tiles.

    python -m benchmarks.batch --scenes 100 --side 256

Prints seconds a scene by the clock and by the processor: all, its tiles (read, computed, written),
and the rest, which opens, plans, creates, draws sidecars and seals. Model and graph are loaded
before. The clock needs a quiet machine; the processor's time hardly does.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.cluster import raster
from flows.batch import plan_batch, run_batch
from flows.settings import BatchSettings, SceneSettings, load
from pipeline.stream import Stream

Times = np.ndarray[Any, np.dtype[np.float64]]


def now() -> Times:
    """Seconds by the clock, and by the processor for all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def measure(settings: BatchSettings) -> tuple[Times, Times]:
    """Seconds of a batch from its planning to its report, and those of them in tiles."""
    run: Callable[..., None] = Stream.run
    filled = np.zeros(2)

    def timed(*given: Any) -> None:
        nonlocal filled
        start = now()
        run(*given)
        filled += now() - start

    start = now()
    with patch.object(Stream, "run", timed):
        stop = Event()
        rows = run_batch(plan_batch(settings, stop), stop, lambda _: None)
    assert {row["state"] for row in rows} == {"done"}, rows
    return now() - start, filled


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--side", type=int, default=256)
    given = parser.parse_args()
    scene = load(SceneSettings, None)
    with TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.tif" for number in range(given.scenes)]
        for path in paths:
            raster(Path(path), given.side)
        first = BatchSettings(inputs=tuple(paths[:1]), output=f"{folder}/first", scene=scene)
        measure(first)
        every = BatchSettings(inputs=tuple(paths), output=f"{folder}/all", scene=scene)
        whole, filled = (times / given.scenes for times in measure(every))
    print(f"{given.scenes} scenes of {given.side} x {given.side}, seconds a scene")
    for name, (clock, processor) in {
        "all": whole,
        "tiles": filled,
        "rest": whole - filled,
    }.items():
        print(f"{name:<6} clock {clock:.3f}, processor {processor:.3f}")


if __name__ == "__main__":
    main()
