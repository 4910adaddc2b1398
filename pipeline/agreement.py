"""Whether a cube, what lies beside it and its input agree; and labels that a power loss took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.companion import SEAM, TALLY, Companion
from pipeline.cube import SpectralCube
from pipeline.grid import Window
from pipeline.group import is_label, open_group
from pipeline.layers import CLOSURE
from pipeline.layout import CubeSpec
from pipeline.overview import halved, known, owned
from pipeline.store import is_local, put
from pipeline.verify import Fault, Reading

_MOST = 65534
"""Counts of the layer `closure` at most."""


def disagreeing(
    cube: SpectralCube, window: Window, raw: NDArray[Any], off: NDArray[np.float32]
) -> Iterator[str]:
    """Whether a chunk and what lies beside it disagree: the mask, overviews, and how far it is off.

    By how far it is ``off`` (h, w) its input other spectra are found, and those of other pixels.
    """
    yield from _unlike(cube, window, raw)
    yield from _misrendered(cube, window, raw, off)


def _beside(cube: SpectralCube, name: str, window: Window) -> NDArray[Any]:
    array = cube.companion.group[name]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[..., *window.slices])


def _misrendered(
    cube: SpectralCube, window: Window, raw: NDArray[Any], off: NDArray[np.float32]
) -> Iterator[str]:
    told = _beside(cube, "closure", window).astype(np.float64)
    apart = np.abs(np.minimum(off / CLOSURE, _MOST) - told)[known(raw).astype(bool)]
    # Half a count is rounding; float32 adds to it where residuals are large.
    if apart.max(initial=0) > 1:
        pixels = int((apart > 1).sum())
        yield f"does not render to its input as its closure says, at {pixels} pixels"


def _unlike(cube: SpectralCube, window: Window, raw: NDArray[Any]) -> Iterator[str]:
    if (_beside(cube, "valid", window) != known(raw)).any():
        yield "and its valid mask differ"
    stored = raw
    for factor in owned(cube.height, cube.width, cube.chunk):
        stored = halved(stored)
        rows, cols = (
            slice(s.start // factor, s.start // factor + n)
            for s, n in zip(window.slices, stored.shape[1:], strict=True)
        )
        found = np.asarray(cube.companion.overviews[factor][:, rows, cols])
        if not np.array_equal(found, stored, equal_nan=stored.dtype.kind == "f"):
            yield f"and its overview of {factor} pixels differ"


def consolidated(cube: SpectralCube) -> Iterator[Fault]:
    """Whether the copy of all metadata that seals a cube is what the single ones say.

    And whether the labels are there that readers find by them.
    """
    if not cube.sealed:
        yield Fault("the cube is not sealed")
        return
    yield from _copied(cube.uri)
    _ = cube.companion  # raises Refusal where it is gone
    yield from _copied(Companion.uri(cube.uri))
    for uri, group in ((cube.uri, cube.group), (Companion.uri(cube.uri), cube.companion.group)):
        for name, array in sorted(group.arrays()):
            if is_label(name, array) and (reason := Reading(uri, name, array).reason((0,))):
                yield Fault(f"{name} of {uri}: {reason}")


def _copied(uri: str) -> Iterator[Fault]:
    all_ = open_group(uri)
    if all_.metadata.consolidated_metadata is None:
        yield Fault(f"{uri} has no consolidated metadata")
        return
    try:
        one = zarr.open_group(all_.store, mode="r", use_consolidated=False)
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        yield Fault(f"{uri} has metadata that cannot be read ({error})")
        return
    if one.attrs.asdict() != all_.attrs.asdict():
        yield Fault("the consolidated attributes are others")
    for name in sorted(all_.array_keys()):
        if _said_of(name, one) != _said_of(name, all_):
            yield Fault(f"the consolidated metadata of {name} are others")


def _said_of(name: str, group: zarr.Group) -> dict[str, Any] | None:
    """Metadata of an array as they are written: there NaN, the nodata of floats, equals itself."""
    with suppress(ValueError, TypeError, KeyError):  # cut, or gone
        return group[name].metadata.to_dict()
    return None


def codes_apart(cube: SpectralCube, window: Window, again: SpectralCube) -> int:
    """At how many values what is beside a chunk differs from what is made again.

    Of quality and uncertainty, and of its records of seams and of the census.
    """
    whole = Window(0, 0, again.height, again.width)
    names = [name for name in ("quality", "uncertainty") if name in again.companion.group]
    pairs = [(_beside(cube, name, window), _beside(again, name, whole)) for name in names]
    at = (window.row // cube.chunk, window.col // cube.chunk)
    for name in (SEAM, TALLY):
        rows: list[Any] = [of.companion.group[name] for of in (cube, again)]
        pairs.append((np.asarray(rows[0][at]), np.asarray(rows[1][0, 0])))
    return sum(int((one != other).sum()) for one, other in pairs)


def relabel(uri: str, spec: CubeSpec) -> list[str]:
    """Write again the metadata and labels of a local cube that are missing or cut; their names.

    A label that is missing reads as 0. In an object store an object is there wholly or not at all.
    """
    if not is_local(uri):
        return []
    expected = f"memory://{uuid4()}/expected.zarr"
    SpectralCube.create(expected, spec)
    found = []
    try:
        for right, stored in ((expected, uri), (Companion.uri(expected), Companion.uri(uri))):
            fs, root = fsspec.core.url_to_fs(right)
            for path in fs.find(root):
                name, data = path[len(root) + 1 :], fs.cat_file(path)
                place = f"{stored.rstrip('/')}/{name}"
                # The root's own say whether it is a cube, and whose.
                if "/" in name and not _is_whole(place, data):
                    put(place, data)
                    found.append(name)
    finally:
        SpectralCube.remove(expected)
    return found


def _is_whole(place: str, expected: bytes) -> bool:
    fs, path = fsspec.core.url_to_fs(place)
    with suppress(FileNotFoundError):
        data = fs.cat_file(path)
        if place.rpartition("/")[2] not in (".zarray", ".zattrs", ".zgroup", "zarr.json"):
            return bool(data == expected)
        with suppress(ValueError):
            return json.loads(data) is not None
    return False
