"""Jobs on the pipeline: whole, without its writing, its stages alone, and the model alone."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor

from benchmarks.case import Case, Steps
from benchmarks.networks import WAVELENGTHS, counts, reconstructor, seen
from benchmarks.scenes import Repeated
from benchmarks.seams import seam
from pipeline.closure import Closure
from pipeline.cube import CubeSpec, SpectralCube, quantise
from pipeline.grid import TileGrid, Window, regions
from pipeline.noise import noise
from pipeline.store import keep
from pipeline.stream import Stream

CHUNK = 256


class Unwritten(SpectralCube):
    """A cube that forgets what it is given."""

    def store(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def note(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


def pipeline(case: Case, folder: Path) -> Steps:
    """The whole: scene to sealed cube."""
    stream = _stream(case, SpectralCube, folder / "cube.zarr")
    yield
    _run(stream, case)
    stream.cube.seal()
    yield
    return {"seam": seam(folder / "cube.zarr" / "reflectance", case)}


def unwritten(case: Case, folder: Path) -> Steps:
    """The same, but nothing is written."""
    stream = _stream(case, Unwritten, folder / "cube.zarr")
    yield
    _run(stream, case)
    yield
    return {}


def _stream(case: Case, kind: type[SpectralCube], path: Path) -> Stream:
    scene, lens = seen(case)
    cube = kind.create(str(path), CubeSpec(case.height, case.size, WAVELENGTHS, CHUNK))
    network = reconstructor(case, scene)
    _warm(network, case, scene)
    whole = Window(0, 0, case.height, case.size)
    return Stream(
        scene,
        lens,
        grid(case),
        network,
        cube,
        whole,
        batch=case.batch,
        workers=case.workers,
        closure=Closure(lens.sensitivities),
    )


def _run(stream: Stream, case: Case) -> None:
    stream.run(Window(0, 0, case.height, case.size))


def grid(case: Case) -> TileGrid:
    """A case's lattice."""
    return TileGrid(case.height, case.size, case.tile, case.overlap)


def inputs(case: Case, scene: Repeated) -> tuple[Tensor, Tensor]:
    """The first tile's linear RGB (batch, 3, T, T), and start noise."""
    window = Window(0, 0, case.tile, case.tile)
    rgb = torch.from_numpy(seen(case)[1].decode(scene.read(window)[0]))
    field = torch.from_numpy(noise(window, len(WAVELENGTHS), 0))
    return torch.stack([rgb] * case.batch), torch.stack([field] * case.batch)


def _warm(network: Callable[[Tensor, Tensor], Tensor], case: Case, scene: Repeated) -> None:
    network(*inputs(case, scene))


def model_alone(case: Case, _folder: Path) -> Steps:
    """As many calls as the scene has tiles, as many at once as there are workers."""
    scene, _ = seen(case)
    network = reconstructor(case, scene)
    rgb, field = inputs(case, scene)
    network(rgb, field)
    calls = -(-len(list(_windows(case))) // case.batch)

    def call(_: int) -> int:
        return len(network(rgb, field))

    with ThreadPoolExecutor(case.workers) as pool:
        yield
        tiles = sum(pool.map(call, range(calls)))
        yield
    return {"tiles": tiles}


def _windows(case: Case) -> Iterator[Window]:
    lattice, whole = grid(case), Window(0, 0, case.height, case.size)
    for index in lattice.covering(whole):
        tile = lattice.window(index).intersection(whole)
        assert tile is not None
        yield tile


def zarr_alone(case: Case, folder: Path) -> Steps:
    """Zarr writes the bytes that the pipeline writes for `constant` and `texture`, to the disk."""
    spec = CubeSpec(case.size, case.size, WAVELENGTHS, CHUNK)
    SpectralCube.create(str(folder / "cube.zarr"), spec)
    opened = zarr.open_group(str(folder / "cube.zarr"), mode="r+")["reflectance"]
    assert isinstance(opened, zarr.Array)
    # As the pipeline's: chunks are not compared with the fill value.
    array = opened.with_config({"write_empty_chunks": True})
    values = counts(case, case.size)
    yield
    array[...] = values
    keep(str(folder))
    yield
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"raw": values.nbytes, "stored": size}


def zarr_all(case: Case, folder: Path) -> Steps:
    """Zarr writes all that the pipeline writes: the cube's chunks, its layers' and overviews'."""
    for _ in pipeline(case, folder):
        pass
    stores = [str(folder / name) for name in ("cube.zarr", "cube_aux.zarr")]
    arrays = [array for store in stores for _, array in zarr.open_group(store).arrays()]
    held = [(a.with_config({"write_empty_chunks": True}), a[...]) for a in arrays if a.ndim > 1]
    yield
    for array, values in held:
        array[...] = values
    keep(str(folder))
    yield
    return {}


def read(case: Case, _folder: Path) -> Steps:
    """Every tile's pixels, undecoded."""
    scene, _ = seen(case)
    yield
    for window in _windows(case):
        scene.read(window)
    yield
    return {}


def decode(case: Case, _folder: Path) -> Steps:
    """Pixel values to linear RGB, as often as there are tiles."""
    scene, lens = seen(case)
    values, _ = scene.read(Window(0, 0, case.tile, case.tile))
    times = len(list(_windows(case)))
    yield
    for _ in range(times):
        lens.decode(values)
    yield
    return {}


def quantising(case: Case, _folder: Path) -> Steps:
    """Every chunk's values to stored counts."""
    values = np.full((len(WAVELENGTHS), CHUNK, CHUNK), np.float32(0.25))
    valid = np.ones((CHUNK, CHUNK), bool)
    times = len(regions(case.size, case.size, CHUNK, CHUNK))
    quantise(values, valid, np.dtype(np.uint16))
    yield
    for _ in range(times):
        quantise(values, valid, np.dtype(np.uint16))
    yield
    return {}


def drawing(case: Case, _folder: Path) -> Steps:
    """Start noise of one tile of 31 wavelengths, 20 times."""
    window = Window(1000, 1000, case.tile, case.tile)
    values = noise(window, len(WAVELENGTHS), 0).size
    yield
    for _ in range(20):
        noise(window, len(WAVELENGTHS), 0)
    yield
    return {"values": 20 * values}
