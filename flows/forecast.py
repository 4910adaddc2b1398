"""What a run will take, told before it begins: the plan's figures and a trial of the model."""

import os
import resource
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from flows.bound import network_of
from flows.job import Job
from flows.settings import ReconstructSettings
from flows.sigma import checkpoint_of
from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal, heed
from pipeline.plan import refuse_too_big

GB = 1e9
BLOCKS = 256e6
"""Most bytes that are kept of blocks: by GDAL (pipeline.remote), or of remote ones by us."""
MARGIN = 1.05
"""What a forecast of memory is raised by, to be within 20 % either way: without it runs took 0.88
to 1.12 times as much, narrow, high scenes and many regions the most."""
FLOATS, FLOATS_IN_TORCH = 8, 6
"""Of a pixel under way in the network, times its wavelengths and its first level's channels: at
least so many values are held at once. Measured: one more tile takes 8 to 16 in ONNX Runtime, and
in torch 7 to 16, the least where it is one more of a batch."""
LOADED = 0.25e9
"""Bytes of a process with all libraries loaded, at least. Measured: 0.32 GB and more."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one run."""

    seconds: float
    """Of the model; what reading and writing take beyond it is not in it."""
    peak_bytes: int
    """Most memory of the process."""


def forecast(job: Job, stop: Event | None = None) -> Forecast:
    """Time the model on as many tiles as are computed at once, twice: the first time warms it up.

    Memory is what the process needed for that, and what the plan says the run puts on top. Raises
    Refusal, without trying, where the least that is known of it is more than the run may take, and
    Stopped a tile after ``stop`` is set.
    """
    # The trial itself may be too much: what is surely too much is told before it.
    refuse_too_big(job.plan, _least(job), job.memory, float("inf"))
    tile, batch = job.grid.tile, job.settings.batch
    fields = job.reconstructor.noises * len(job.reconstructor.wavelengths)
    rgb = torch.full((batch, 3, tile, tile), 0.2, device=job.device)
    noise = torch.zeros((batch, fields, tile, tile), device=job.device)

    def once(_: int) -> None:
        heed(stop)
        job.reconstructor(rgb, noise).cpu()

    with ThreadPoolExecutor(job.workers) as pool:
        for _ in range(2):
            start = time.perf_counter()
            list(pool.map(once, range(job.workers)))
            seconds = time.perf_counter() - start
    each = seconds / (job.workers * batch)
    return Forecast(job.plan.tiles * each, _with_run(job, peak_resident()))


def _least(job: Job) -> int:
    """Bytes that a run surely takes; a GPU's own memory is not counted."""
    config = network_of(checkpoint_of(job.settings), job.device).config
    floats = FLOATS if job.engine == "onnxruntime" else FLOATS_IN_TORCH
    values = floats * (config.bands + config.widths[0]) if job.device == "cpu" else 0
    model = job.workers * job.settings.batch * job.grid.tile**2 * values * 4
    return _with_run(job, max(LOADED + model, peak_resident()))


def _with_run(job: Job, process: float) -> int:
    """Bytes of a process that takes so many with the model, and what the run puts on top."""
    channels = len(job.reconstructor.wavelengths)
    fields, answers = job.reconstructor.noises * channels, (1 + job.reconstructor.spread) * channels
    # Waiting tiles and answers: one more of each than are worked on. Noise waits with tiles that
    # are read and with those that are given to the model, which takes a batch of its own.
    tiles = (job.workers + 1) * job.settings.batch
    noises = 2 * tiles + job.workers * job.settings.batch + 1
    queued = tiles * (3 + 2 * answers) + noises * fields
    blocks = min(BLOCKS, job.scene.height * job.scene.width * 3 * job.scene.dtype.itemsize)
    return int(MARGIN * (process + job.plan.buffer_bytes + queued * job.grid.tile**2 * 4 + blocks))


def refuse_what_does_not_fit(job: Job, known: Forecast) -> None:
    """Raise Refusal where memory or disk would not do, as given or as the machine has them."""
    fs, path = url_to_fs(job.settings.destination)
    disk = float("inf")
    if isinstance(fs, LocalFileSystem):
        folder = next(p for p in Path(path).absolute().parents if p.is_dir())
        # What is there of the cube is either kept or makes room for the new one.
        disk = shutil.disk_usage(folder).free + room_of(job.settings, job.plan.disk_bytes)
    if job.settings.disk is not None:
        disk = min(disk, job.settings.disk * GB)
    refuse_too_big(job.plan, known.peak_bytes, job.memory, disk)


def room_of(settings: ReconstructSettings, needed: int) -> int:
    """Bytes that a cube, of ``needed`` at most, has taken by now, with what lies beside it.

    Where it is gone on with that is the share of it that is there: what is left compresses less,
    perhaps.
    """
    cube = settings.destination
    held = sum(_taken(url_to_fs(uri)[1]) for uri in (cube, Companion.uri(cube)))
    with suppress(Refusal, FileNotFoundError):
        if held and not settings.overwrite:
            there = SpectralCube.open(cube)
            return max(held, int(needed * len(there.finished()) / len(there.chunks())))
    return held


def _taken(folder: str) -> int:
    """Bytes of the files in a folder, but for those that another run deletes meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(root, name).stat().st_size
    return total


def facts(job: Job, known: Forecast) -> dict[str, Any]:
    """What a plan says, for programs."""
    plan = job.plan
    return {
        "assumptions": job.assumptions,
        "tiles": plan.tiles,
        "regions": len(plan.regions),
        "halo": round(plan.halo, 4),
        "seconds": round(known.seconds, 3),
        "peak_bytes": known.peak_bytes,
        "disk_bytes": plan.disk_bytes,
        "read_bytes": plan.read_bytes,
    }


def line(job: Job, known: Forecast) -> str:
    """The same for people."""
    plan = job.plan
    return (
        f"{plan.tiles} tiles in {len(plan.regions)} region(s), {plan.halo:.1%} computed twice; "
        f"about {_duration(known.seconds)} of {job.engine} on {job.device}; "
        f"memory up to {known.peak_bytes / GB:.1f} GB, disk up to {plan.disk_bytes / GB:.2f} GB, "
        f"{plan.read_bytes / GB:.2f} GB of pixels to read"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def peak_resident() -> int:
    """Most memory that this process held so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
