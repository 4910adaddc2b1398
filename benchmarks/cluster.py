"""One and two worker processes on one scene, and what a region costs beside its work.

    python -m benchmarks.cluster --side 2048 --rounds 3

Prints a line a measurement. Rounds are interleaved, so that what else the machine does is shared;
each worker has one thread, so that two have twice the cores of one. Needs a quiet machine.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio

from flows.client import connect
from flows.cluster import reconstruct_on
from flows.settings import ReconstructSettings, load

EMPTY = 500
"""Regions that do nothing, to time what Dask takes for each."""


def raster(path: Path, side: int) -> Path:
    """A raster of blocks of colour."""
    blocks = np.random.default_rng(0).integers(20, 230, (3, side // 8, side // 8), np.uint8)
    shape: dict[str, Any] = {"height": side, "width": side, "count": 3, "dtype": "uint8"}
    place = {"crs": 32632, "transform": rasterio.Affine(1, 0, 500_000, 0, -1, 4_000_000)}
    with rasterio.open(path, "w", driver="GTiff", photometric="RGB", **shape, **place) as file:
        file.write(blocks.repeat(8, axis=1).repeat(8, axis=2))
    return path


def nothing(_ask: ReconstructSettings, _region: int) -> dict[str, int]:
    """A region without work."""
    return {"peak_bytes": 0}


def overhead(settings: ReconstructSettings) -> float:
    """Seconds a region takes that does nothing, on two workers."""
    with connect("local:2") as client:
        start = time.perf_counter()
        futures = [client.submit(nothing, settings, n, pure=False) for n in range(EMPTY)]
        client.gather(futures)
        return (time.perf_counter() - start) / EMPTY


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        source = raster(Path(folder) / "scene.tif", given.side)
        cube = str(Path(folder) / "scene.zarr")
        job = {"source": str(source), "destination": cube, "threads": 1, "overwrite": True}
        settings = load(ReconstructSettings, None, **job)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(given.rounds):
            for workers, taken in seconds.items():
                taken.append(reconstruct_on(f"local:{workers}", settings)["seconds"])
                print(f"{workers} worker(s): {taken[-1]:.1f} s", flush=True)
        one, two = (median(taken) for taken in seconds.values())
        print(f"{given.side**2 / 1e6:.1f} Mpx, medians: {one:.1f} s, {two:.1f} s, x{one / two:.2f}")
        print(f"a region without work: {overhead(settings) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
