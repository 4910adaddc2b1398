"""Whether other software sees a stored cube as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from rasterio.crs import CRS

from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.labels import Labels
from pipeline.readers import CLOSE, READERS, Sample, Seen, Unfit, near, same_place
from pipeline.view import CubeView
from pipeline.whole import refuse_lost

_SIDE = 64


class Finding(NamedTuple):
    """What came of a reader."""

    reader: str
    version: str | None
    good: bool | None
    """None where it was not asked."""
    reason: str


def examine(uri: str) -> list[Finding]:
    """Open a sealed cube with each reader that is installed. Raises Refusal where it is not whole.

    Reads one chunk or four a reader, whatever the cube's size.
    """
    cube = SpectralCube.open(uri)
    if not cube.sealed:
        raise Refusal("only a finished cube is examined", uri, "Finish it with --resume.")
    height, width = min(_SIDE, cube.height), min(_SIDE, cube.width)
    window = Window((cube.height - height) // 2, (cube.width - width) // 2, height, width)
    sample = Sample(uri, Labels.of(cube), window, cube)
    asked = [_ask(name, package, read, sample) for name, (package, read) in READERS.items()]
    return [*_faults(cube), *asked]


def _faults(cube: SpectralCube) -> Iterator[Finding]:
    """What no reader would say: it takes a hole for nodata, and another's layers for the cube's."""
    try:
        refuse_lost(cube, beside=True)
    except Refusal as reason:
        yield Finding("its chunks", None, False, str(reason))
    try:
        CubeView.open(cube.uri)
    except Refusal as reason:
        yield Finding("what lies beside it", None, False, str(reason))


def _ask(name: str, package: str, read: Callable[[Sample], Seen], sample: Sample) -> Finding:
    try:
        installed = version(package)
    except PackageNotFoundError:
        return Finding(name, None, None, "not installed")
    try:
        seen = read(sample)
        wrong = list(differences(seen, sample.truth))
    except Unfit as reason:
        return Finding(name, installed, None, str(reason))
    except Exception as error:
        return Finding(
            name, installed, False, f"{type(error).__name__}: {error.__cause__ or error}"
        )
    stored = f"as it is stored, but for {seen['lacks']}" if "lacks" in seen else "as it is stored"
    return Finding(name, installed, not wrong, "; ".join(wrong) or stored)


def differences(seen: Seen, truth: Seen) -> list[str]:
    """In words, what a reader sees that is not so."""
    same: dict[str, Callable[[Any, Any], bool]] = {
        "values": lambda a, b: near(a, b, CLOSE),
        "spectrum": lambda a, b: near(a, b, CLOSE),
        "wavelengths": lambda a, b: near(a, b, CLOSE),
        "transform": same_place,
        "crs": lambda a, b: (CRS.from_user_input(a) if a else None) == b,
        "nodata": lambda a, b: near(a, b, 0),
    }
    wrong = [key for key in same if key in seen and not same[key](seen[key], truth[key])]
    return [
        f"{key} differ"
        if key in ("values", "spectrum")
        else f"{key} is {seen[key]!r}, not {truth[key]!r}"
        for key in wrong
    ]
