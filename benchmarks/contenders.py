"""Jobs that do the pipeline's work by other tools: same network, tiles, overlap and stored chunks.

All read the same scene, decode it by the same table, and store uint16 counts of 1e-4 in chunks of
(31, 256, 256) under zstd 1.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.codecs import BytesCodec, ZstdCodec

from benchmarks.case import Case, Steps
from benchmarks.networks import WAVELENGTHS, plain
from benchmarks.ours import CHUNK, grid
from benchmarks.scenes import Repeated, camera, photograph
from benchmarks.seams import seam
from pipeline.grid import Axis, Window

Floats = NDArray[np.float32]
Forward = Callable[[Tensor], Tensor]
_PEAK = 65534


def loop(case: Case, folder: Path) -> Steps:
    """The loop one writes by hand: sum and count in memory, divide, store."""
    scene, forward, array = _prepared(case, folder)
    yield
    rgb, sums = _linear(scene), torch.zeros(len(WAVELENGTHS), case.size, case.size)
    count = torch.zeros(case.size, case.size)
    lattice = grid(case)
    for index in lattice.covering(Window(0, 0, case.size, case.size)):
        rows, cols = lattice.window(index).slices
        sums[:, rows, cols] += _answer(forward, rgb[:, rows, cols], case.tile)
        count[rows, cols] += 1
    sums /= count
    _store(sums, array)
    yield
    return {"seam": seam(folder / "cube.zarr", case)}


def monai(case: Case, folder: Path) -> Steps:
    """MONAI's SlidingWindowInferer, as it comes: blended in memory with equal weights."""
    from monai.inferers import SlidingWindowInferer  # noqa: PLC0415

    scene, forward, array = _prepared(case, folder)
    share = case.overlap / case.tile
    infer = SlidingWindowInferer((case.tile, case.tile), case.batch, share)
    yield
    with torch.inference_mode():
        answer = infer(_linear(scene)[None], forward)
    assert isinstance(answer, Tensor)
    _store(answer[0], array)
    yield
    return {"seam": seam(folder / "cube.zarr", case)}


def monai_zarr(case: Case, folder: Path) -> Steps:
    """MONAI's PatchInferer with ZarrAvgMerger, which keeps sums and counts in Zarr."""
    from monai.inferers import PatchInferer, SlidingWindowSplitter, ZarrAvgMerger  # noqa: PLC0415

    scene, forward, _ = _prepared(case, folder)
    infer = PatchInferer(
        SlidingWindowSplitter(case.tile, case.overlap, pad_mode="reflect"),
        ZarrAvgMerger,
        batch_size=case.batch,
        # It casts sums / counts to the stored type, which cuts: half a count more rounds.
        postprocessing=lambda cube: (cube * 1e4).clamp_(0, _PEAK).add_(0.5),
        store=str(folder / "merged.zarr"),
        value_store=str(folder / "values.zarr"),
        count_store=str(folder / "counts.zarr"),
        dtype="uint16",
        chunks=(1, len(WAVELENGTHS), CHUNK, CHUNK),
        codecs=[BytesCodec(), ZstdCodec(level=1)],
    )
    yield
    with torch.inference_mode():
        infer(_linear(scene)[None], forward)
    yield
    return {"seam": seam(folder / "merged.zarr", case)}


def dask(case: Case, folder: Path) -> Steps:
    """Dask's map_overlap into Zarr: tiles are cut in the middle of what they share."""
    scheduler, blocks = (import_module(name) for name in ("dask.config", "dask.array"))
    scene, forward, array = _prepared(case, folder)
    half = case.overlap // 2
    cuts = _cuts(Axis(case.size, case.tile, case.overlap))
    seen = tuple(cut + half * (k > 0) + half * (k < len(cuts) - 1) for k, cut in enumerate(cuts))

    def read(block_info: Any = None) -> Floats:
        (_, (row, row_stop), (col, col_stop)) = block_info[None]["array-location"]
        return _linear(scene, Window(row, col, row_stop - row, col_stop - col)).numpy()

    def tile(part: Floats) -> NDArray[np.uint16]:
        return _counts(_answer(forward, torch.from_numpy(part), case.tile))

    yield
    cube = blocks.map_overlap(
        tile,
        blocks.map_blocks(read, chunks=((3,), cuts, cuts), dtype=np.float32),
        depth=(0, half, half),
        boundary="none",
        chunks=((len(WAVELENGTHS),), seen, seen),
        meta=np.empty((0, 0, 0), np.uint16),
    )
    with scheduler.set(scheduler="threads", num_workers=case.workers):
        blocks.store(cube.rechunk((-1, CHUNK, CHUNK)), array, lock=False)
    yield
    return {"seam": seam(folder / "cube.zarr", case)}


def _cuts(axis: Axis) -> tuple[int, ...]:
    """Blocks along one axis that, with half an overlap on each side, are the lattice's tiles."""
    starts = [axis.start(i) + (axis.overlap // 2 if i else 0) for i in range(axis.count)]
    return tuple(np.diff([*starts, axis.size]).tolist())


def _prepared(case: Case, folder: Path) -> tuple[Repeated, Forward, zarr.Array[Any]]:
    """Scene, warm network and empty array."""
    scene = photograph(case.size)
    forward = plain(case, scene)
    forward(torch.rand(case.batch, 3, case.tile, case.tile))
    layout: dict[str, Any] = {
        "shape": (len(WAVELENGTHS), case.size, case.size),
        "chunks": (len(WAVELENGTHS), CHUNK, CHUNK),
        "compressors": {"id": "zstd", "level": 1},
    }
    array = zarr.create_array(folder / "cube.zarr", dtype="uint16", zarr_format=2, **layout)
    return scene, forward, array


def _linear(scene: Repeated, window: Window | None = None) -> Tensor:
    """Linear RGB (3, h, w) of a window, or of the whole scene."""
    values, _ = scene.read(window or Window(0, 0, scene.height, scene.width))
    return torch.from_numpy(camera(WAVELENGTHS).decode(values))


def _answer(forward: Forward, part: Tensor, tile: int) -> Tensor:
    """The cube (C, h, w) of a tile (3, h, w) that the scene's edge may cut short."""
    _, height, width = part.shape
    # torch's own reflection refuses a pad as large as the part.
    pad = ((0, 0), (0, tile - height), (0, tile - width))
    whole = torch.from_numpy(np.pad(part.numpy(), pad, mode="reflect"))
    return forward(whole[None])[0, :, :height, :width]


def _counts(cube: Tensor) -> NDArray[np.uint16]:
    return (cube * 1e4).clamp_(0, _PEAK).round_().numpy().astype(np.uint16)


def _store(cube: Tensor, array: zarr.Array[Any]) -> None:
    """A row of chunks at a time, so that counts take little memory beside the cube."""
    for row in range(0, cube.shape[1], CHUNK):
        array[:, row : row + CHUNK] = _counts(cube[:, row : row + CHUNK])
