"""A finished cube looked through end to end: what is stored, and a sample of it made again."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from flows.environment import environment
from flows.job import FORMAT, Job, open_job
from flows.record import environments, record_path, recorded
from flows.settings import ReconstructSettings, load
from model.engine import GRAPHS
from pipeline import sidecar, verify
from pipeline.agreement import codes_apart, consolidated, disagreeing
from pipeline.closure import Closure
from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.redact import HIDDEN, redacted
from pipeline.source import known
from pipeline.verify import Chunk

ELSEWHERE = {"float32": (20, 1.0), "bfloat16": (100, 0.9999)}
"""Counts of 1e-4 by which values may differ where something of the environment does, and what share
of them, by what the network's products are: 0.002, and 0.01 of all but one in 10,000. Two libraries
that round to bfloat16 differ by 0.0001 (root mean square), at single values by 0.026."""
Report = dict[str, Any]


def verify_cube(uri: str, source: str | None, with_input: bool, sample: int) -> Report:
    """What is wrong with a cube (``faults``, lines), and how it was looked at.

    With its input: nodata is compared with the input's mask, metadata with those that its settings
    make, and ``sample`` chunks are reconstructed again; but of a cube of another version's format
    nothing that this one would make otherwise. Raises Refusal where there is no cube, no record of
    its run, or another input.
    """
    cube = SpectralCube.open(uri)
    report: Report = {"cube": uri, "chunks": len(cube.chunks()), "input": "not looked at"}
    try:
        faults = [*consolidated(cube), *verify.damage(cube, cube.chunks())]
    except Refusal as error:  # what belongs beside it is gone, or another's
        alone = verify.damage(cube, cube.chunks(), beside=False)
        return report | {"faults": [f"{error}", *(fault.what for fault in alone)]}
    # What cannot be read cannot be looked at further.
    whole = cube.chunks() - set().union(*(fault.chunks for fault in faults))
    if not faults and cube.sealed and cube.settings.get("format") == FORMAT:
        faults += map(verify.Fault, sidecar.untrue(cube))
    if not with_input:
        faults += verify.contents(cube, whole, lambda *_: ())
        return report | {"faults": [fault.what for fault in faults]}
    if (record := recorded(uri)) is None:
        rule, fix = "a cube has the record of its run beside it", "Look at it with --no-input."
        raise Refusal(rule, f"no {record_path(uri)}", fix)
    job = _opened(record, uri, source)
    faults += verify.contents(cube, whole, partial(_look, job, cube))
    if (written := cube.settings.get("format")) != FORMAT:
        other = f"not with what this version makes: the cube is of format {written}, not {FORMAT}"
        about = {"input": job.settings.source, "made_again": 0, "compared": other}
        return report | about | {"faults": [fault.what for fault in faults]}
    faults += _metadata(job, cube)
    if record["provenance"] != redacted(cube.settings):
        faults.append(verify.Fault(f"{record_path(uri)} has another provenance than the cube"))
    here = environment(job)
    changed = sorted(set().union(*(_changed(one, here) for one in environments(record))))
    again = _sample(sorted(whole), sample)
    elsewhere, share = ELSEWHERE[cube.settings["precision"]]
    faults += _apart(job, cube, again, *((elsewhere, share) if changed else (0, 1.0)))
    some = "" if share == 1 else f" for {share:.2%} of values"
    return report | {
        "input": job.settings.source,
        "made_again": len(again),
        "compared": f"within {elsewhere * 1e-4:g}{some}, as of a recorded environment there differ "
        f"{', '.join(changed)}" if changed else "exactly, in the recorded environment",
        "faults": [fault.what for fault in faults],
    }  # fmt: skip


def _opened(record: dict[str, Any], uri: str, source: str | None) -> Job:
    found = record["settings"]["source"]
    if HIDDEN in found and not source:
        rule, fix = "an input is found by its address", "Give it with --source, or --no-input."
        raise Refusal(rule, f"{found}, whose secret was not kept", fix)
    # What computed it, not what would today: `auto` may choose another engine here, and --device
    # ask for what this machine lacks.
    engine = record["provenance"]["engine"]
    changes = {"engine": engine, "device": "cpu" if engine in GRAPHS else "auto"}
    changes |= {"destination": uri, "resume": True, "overwrite": False, "source": source or found}
    try:
        job = open_job(load(ReconstructSettings, None, **(record["settings"] | changes)))
    except Refusal as error:
        rule, value, fix = error.args
        here = "" if source else " Or say with --source where it is now, or look with --no-input."
        raise Refusal(rule, value, f"{fix}{here}") from error
    known(record["input"], job.input, job.scene.files)
    return job


def _metadata(job: Job, cube: SpectralCube) -> list[verify.Fault]:
    expected = f"memory://{uuid4()}/expected.zarr"
    SpectralCube.create(expected, job.spec)
    try:
        pairs = ((cube.uri, expected), (Companion.uri(cube.uri), Companion.uri(expected)))
        return [fault for pair in pairs for fault in verify.metadata(*pair)]
    finally:
        SpectralCube.remove(expected)


def _look(job: Job, cube: SpectralCube, window: Window, raw: NDArray[Any]) -> Iterator[str]:
    """What a chunk, as it is stored, has that does not follow from its input."""
    inside = window.shifted(job.plan.place.row, job.plan.place.col)
    values, valid = job.scene.read(inside)
    yield from verify.misplaced(raw, valid if job.area is None else valid & job.area(inside))
    if cube.settings.get("format") == FORMAT:
        linear = job.camera.decode(np.where(valid, values, 0))
        off = Closure(job.camera.sensitivities).off(raw, linear)
        yield from disagreeing(cube, window, raw, off)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    return {key for key, value in now.items() if before.get(key) != value}


def _sample(chunks: list[Chunk], count: int) -> list[Chunk]:
    places = np.linspace(0, len(chunks) - 1, min(count, len(chunks))).round().astype(int)
    return [chunks[place] for place in dict.fromkeys(places.tolist())]


def _apart(
    job: Job, cube: SpectralCube, chunks: list[Chunk], most: int, share: float
) -> Iterator[verify.Fault]:
    """Chunks that differ made again: a share of values by over ``most``, codes where that is 0."""
    for chunk in chunks:
        apart, holes, codes = _again(job, cube, chunk, share)
        if apart > most or holes or (codes and not most):
            what = f"chunk {chunk} made again differs by {apart * 1e-4:.4f}, nodata at {holes}"
            what += f", codes beside it at {codes}"
            yield verify.Fault(what, frozenset([chunk]))


def _again(job: Job, cube: SpectralCube, chunk: Chunk, share: float) -> tuple[float, int, int]:
    """How far a ``share`` of the values of a chunk made again are from the stored ones.

    In counts of 1e-4; at how many values in nodata, and in codes of what lies beside it.
    """
    window = verify.window_of(cube, chunk)
    place = window.shifted(job.plan.place.row, job.plan.place.col)
    uri = f"memory://{uuid4()}/again.zarr"
    height, width = window.height, window.width
    spec = replace(job.spec, height=height, width=width, row0=place.row, col0=place.col)
    one = SpectralCube.create(uri, spec)
    try:
        replace(job.connect(one), place=place).run(Window(0, 0, height, width))
        return *verify.differences(cube.uri, window, uri, share), codes_apart(cube, window, one)
    finally:
        SpectralCube.remove(uri)
