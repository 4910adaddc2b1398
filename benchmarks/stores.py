"""obstore against s3fs: chunks of a cube to S3 and back.

    python -m tests.servers s3                      # a server on loopback; prints its address
    AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x python -m benchmarks.stores ADDRESS

Prints medians a chunk over interleaved rounds, by the clock and by this process's processor time.
The clock holds the server's time too and needs a quiet machine; it is the same server for both.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import fsspec
import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore

from pipeline.store import open_store, use_endpoint

CHUNKS = 16
"""A side: of an array of so many chunks, which are written one by one as a run does."""
STORES: dict[str, Callable[[str], Store]] = {"s3fs": FsspecStore.from_url, "obstore": open_store}


def once(store: Store, side: int) -> dict[str, tuple[float, float]]:
    """Seconds a chunk of (31, side, side) to write and to read, by clock and processor."""
    values = np.random.default_rng(0).integers(0, 10_000, (31, side, side), np.uint16)
    shape = (31, side, side * CHUNKS)
    made = zarr.create_array(
        store, shape=shape, chunks=values.shape, dtype=values.dtype, zarr_format=2, overwrite=True
    )

    def write(number: int) -> None:
        made[:, :, number * side : (number + 1) * side] = values

    def read(number: int) -> Any:
        return made[:, :, number * side : (number + 1) * side]

    taken = {}
    for name, act in {"write": write, "read": read}.items():
        clock, processor = time.perf_counter(), time.process_time()
        for number in range(CHUNKS):
            act(number)
        seconds = time.perf_counter() - clock, time.process_time() - processor
        taken[name] = (seconds[0] / CHUNKS, seconds[1] / CHUNKS)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint", help="URL of an S3 service; a bucket `chunks` is made there")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    use_endpoint(given.endpoint)
    fsspec.filesystem("s3").mkdir("chunks")
    for side in given.sides:
        rounds = [
            {name: once(make(f"s3://chunks/{name}"), side) for name, make in STORES.items()}
            for _ in range(given.rounds)
        ]
        for act in ("write", "read"):
            for name in STORES:
                clock, processor = (
                    median(one[name][act][place] * 1e3 for one in rounds) for place in (0, 1)
                )
                about = f"clock {clock:.1f} ms, processor {processor:.1f} ms"
                print(f"{act} 31 x {side} x {side}, {name}: {about}", flush=True)


if __name__ == "__main__":
    main()
