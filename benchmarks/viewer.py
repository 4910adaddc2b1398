"""How long a person waits for `r2h view` of a large cube: `python -m benchmarks.viewer`.

The cube is sealed and not reconstructed: each array holds one random chunk of its own, linked to
every place. Both figures are medians of requests to the server in this process, in seconds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from starlette.testclient import TestClient

from flows.view import application
from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.group import consolidate
from pipeline.view import CubeView

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
ROUNDS = 9
SCREEN = 700
"""Pixels a side of the first picture."""


def synthetic(uri: str, side: int) -> None:
    """A sealed cube of side x side pixels with every layer, whose chunks are all the same."""
    spec = CubeSpec(side, side, WAVELENGTHS, spread=True, settings={"model": "none"})
    SpectralCube.create(uri, spec)
    for store in (uri, Companion.uri(uri)):
        group = zarr.open_group(store, mode="r+", use_consolidated=False)
        for name, array in group.arrays():
            if array.ndim > 1:
                _repeat(Path(store) / name, array)
        consolidate(group)


def _repeat(folder: Path, array: zarr.Array) -> None:  # type: ignore[type-arg]
    random = np.random.default_rng(0)
    tops = {"quality": 16, "valid": 2, "uncertainty": 250, "closure": 40}
    top = tops.get(folder.name.partition("_")[0], 9000)
    shape = tuple(map(min, array.chunks, array.shape))
    first = tuple(slice(0, side) for side in shape)
    array[first] = random.integers(0, top, shape).astype(array.dtype)
    keys = [array.metadata.encode_chunk_key(i) for i in np.ndindex(*array.cdata_shape)]
    for key in keys[1:]:
        (folder / key).hardlink_to(folder / keys[0])


def waits(uri: str) -> dict[str, float]:
    """Seconds to open the cube, for the first view of all of it, and for a click."""
    start = time.perf_counter()
    view = CubeView.open(uri)
    app = application(view, "t")
    opened = time.perf_counter() - start
    side = view.whole.height
    query = {"row": 0, "col": 0, "height": side, "width": side, "down": SCREEN, "across": SCREEN}
    places = np.random.default_rng(1).integers(0, side, (ROUNDS, 2)).tolist()
    with TestClient(app, "http://127.0.0.1") as client:

        def timed(path: str, asked: dict[str, int]) -> float:
            start = time.perf_counter()
            answer = client.get(f"/t/{path}", params=asked)
            assert answer.status_code == 200, answer.text
            return time.perf_counter() - start

        pages = ("", "bokeh.js", "plots.json", "facts.json")
        first = [
            sum(timed(page, {}) for page in pages) + timed("picture.png", query)
            for _ in range(ROUNDS)
        ]
        clicks = [timed("pixel.json", {"row": row, "col": col}) for row, col in places]
    return {
        "open": opened,
        "first view, first time": first[0],
        "first view, again": statistics.median(first[1:]),
        "click, median": statistics.median(clicks),
        "click, slowest": max(clicks),
    }


def main() -> None:
    """Print what a person waits for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--side", type=int, default=16384, help="pixels a side (16384)")
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/large.zarr"
        synthetic(uri, side)
        print(f"{side} x {side} pixels, seconds:")
        for what, seconds in waits(uri).items():
            print(f"{what:24} {seconds:.3f}")


if __name__ == "__main__":
    main()
