"""Whether what is stored is whole: all of it there, decoded, within its range."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import fsspec
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.grid import Window
from pipeline.group import open_group
from pipeline.layout import ARRAY, NODATA, SCALE
from pipeline.overview import level_of, owned
from pipeline.store import is_local

_THREADS = 4
Chunk = tuple[int, int]
Index = tuple[int, ...]
Mask = NDArray[np.bool_]
Look = Callable[[Window, NDArray[Any]], Iterable[str]]
"""What is wrong with a chunk, its window of the cube and what is stored there."""


class Fault(NamedTuple):
    """Something of a stored cube that is not as it must be."""

    what: str
    chunks: frozenset[Chunk] = frozenset()
    """Chunks of the cube (row, col) that have to be made again for it."""


def mend(cube: SpectralCube) -> list[Fault]:
    """Delete the chunks of a local cube that a power loss cut, so that they are made again.

    Every chunk that exists is read, as are its companions. In an object store an object is there
    wholly or not at all, so nothing is read. Coarser overviews are made again when it is sealed.
    """
    if not is_local(cube.uri):
        return []
    faults = damage(cube, cube.finished())
    broken = sorted(set().union(*(fault.chunks for fault in faults)))
    if faults and cube.sealed:
        cube.unseal()
    for chunk in broken:
        cube.drop(*chunk)
    if not cube.sealed:
        cube.companion.forget()
    return faults


def damage(cube: SpectralCube, chunks: Iterable[Chunk], *, beside: bool = True) -> list[Fault]:
    """What is missing or cannot be read of the cube's ``chunks``, and of what is ``beside`` them.

    Raises Refusal where what is beside the cube is gone, or another's.
    """
    wanted = frozenset(chunks)
    faults: list[Fault] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        stores = {cube.uri: cube.group}
        if beside:
            stores[Companion.uri(cube.uri)] = cube.companion.group
        for uri, group in stores.items():
            for name, array in sorted(group.arrays()):
                of = {index: _above(cube, name, array, index) & wanted
                      for index in np.ndindex(*array.cdata_shape)}  # fmt: skip
                looked = [index for index, above in of.items() if above]
                if _coarser(cube, name):  # made again from others, not from the cube's chunks
                    of = dict.fromkeys(of, frozenset())
                reasons = pool.map(Reading(uri, name, array).reason, looked)
                faults += _alike(name, of, zip(looked, reasons, strict=True))
    return faults


def _alike(
    name: str, of: Mapping[Index, frozenset[Chunk]], told: Iterable[tuple[Index, str | None]]
) -> Iterator[Fault]:
    """A fault a reason: of a run that was stopped thousands of chunks are missing."""
    found: dict[str, list[Index]] = {}
    for index, reason in told:
        if reason:
            found.setdefault(reason, []).append(index)
    for reason, those in found.items():
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        again = frozenset[Chunk]().union(*(of[index] for index in those))
        yield Fault(f"{name} chunk {those[0]}{more}: {reason}", again)


class Reading:
    """The stored chunks of one array."""

    def __init__(self, uri: str, name: str, array: zarr.Array[Any]) -> None:
        fs, root = fsspec.core.url_to_fs(f"{uri.rstrip('/')}/{name}")
        self.array = array
        self.keys = {path[len(root) + 1 :] for path in fs.find(root)}

    def reason(self, index: tuple[int, ...]) -> str | None:
        """Why a chunk is no good; None where it is."""
        if self.array.metadata.encode_chunk_key(index) not in self.keys:
            return "missing"
        sides = zip(index, self.array.chunks, strict=True)
        try:
            self.array[*(slice(i * side, (i + 1) * side) for i, side in sides)]
        except (RuntimeError, ValueError) as error:
            return f"unreadable, {error}"
        return None


def _above(
    cube: SpectralCube, name: str, array: zarr.Array[Any], index: tuple[int, ...]
) -> frozenset[Chunk]:
    """The chunks of the cube that a chunk of an array is made of; none for a coordinate."""
    if array.ndim < 2:
        return frozenset()
    if _coarser(cube, name) and not cube.sealed:
        return frozenset()  # they may be missing until then
    if array.chunks[:2] == (1, 1) and array.ndim == 3:
        return frozenset([(index[0], index[1])])  # a record a chunk
    times = _factor(name)
    rows, cols = (
        range(i * side * times // cube.chunk, -(-(i + 1) * side * times // cube.chunk))
        for i, side in zip(index[-2:], array.chunks[-2:], strict=True)
    )
    return frozenset((row, col) for row in rows for col in cols) & cube.chunks()


def _factor(name: str) -> int:
    level = level_of(name)
    return level[1] if level else 1


def _coarser(cube: SpectralCube, name: str) -> bool:
    """Whether an array is an overview that is made from others, not from the cube's chunks."""
    level = level_of(name)
    own = owned(cube.height, cube.width, cube.chunk)
    return level is not None and (level[0] != "" or level[1] not in own)


def contents(cube: SpectralCube, chunks: Iterable[Chunk], look: Look) -> Iterator[Fault]:
    """Chunks whose values leave the range written at creation, and what a ``look`` at each finds.

    A pixel has nodata at all wavelengths or at none.
    """
    array = _array(cube.uri)
    windows = [window_of(cube, chunk) for chunk in sorted(chunks)]

    def reasons(window: Window) -> list[str]:
        raw: NDArray[Any] = np.asarray(array[:, *window.slices])
        return [*_misfits(raw, array.attrs["valid_range"]), *look(window, raw)]

    with ThreadPoolExecutor(_THREADS) as pool:
        for window, found in zip(windows, pool.map(reasons, windows), strict=True):
            place = (window.row // cube.chunk, window.col // cube.chunk)
            for reason in found:
                yield Fault(f"chunk {place} {reason}", frozenset([place]))


def window_of(cube: SpectralCube, chunk: Chunk) -> Window:
    """The pixels of a chunk (row, col) of a cube."""
    row, col = (index * cube.chunk for index in chunk)
    height, width = min(cube.chunk, cube.height - row), min(cube.chunk, cube.width - col)
    return Window(row, col, height, width)


def _nodata(raw: NDArray[Any]) -> Mask:
    nodata: Mask = np.isnan(raw) if raw.dtype.kind == "f" else raw == NODATA[raw.dtype.name]
    return nodata


def _misfits(raw: NDArray[Any], valid_range: Any) -> Iterator[str]:
    nodata = _nodata(raw)
    if (nodata.any(axis=0) != nodata.all(axis=0)).any():
        yield "has nodata at some wavelengths of a pixel"
    least, most = (raw.dtype.type(bound) for bound in valid_range)
    if (((raw < least) | (raw > most)) & ~nodata).any():
        yield f"has values outside {valid_range}"


def misplaced(raw: NDArray[Any], valid: Mask) -> Iterator[str]:
    """Whether nodata of a chunk is not where its input is not ``valid`` (height, width)."""
    if wrong := int((_nodata(raw[0]) == valid).sum()):
        yield f"has nodata where the input has none, or none where it has some: {wrong} pixels"


def _array(uri: str) -> zarr.Array[Any]:
    array = open_group(uri)[ARRAY]
    assert isinstance(array, zarr.Array)
    return array


def differences(uri: str, window: Window, part: str, share: float = 1.0) -> tuple[float, int]:
    """How a cube's window differs from a cube of just that window.

    What a ``share`` of stored values differ by at most, in counts of 1e-4, and at how many values
    only one of them is nodata.
    """
    left, right = np.asarray(_array(uri)[:, *window.slices]), np.asarray(_array(part)[...])
    bad = [_nodata(v) for v in (left, right)]
    both = ~(bad[0] | bad[1])
    scale = SCALE if left.dtype.kind == "f" else 1
    apart = np.abs(left[both].astype(np.float64) - right[both]) / scale
    most = float(np.quantile(apart, share)) if apart.size else 0.0
    return most, int((bad[0] != bad[1]).sum())


def metadata(stored: str, expected: str) -> Iterator[Fault]:
    """Metadata and coordinates of a store that are not those of another, chunk values aside."""
    here, there = (_described(uri) for uri in (stored, expected))
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            yield Fault(f"{name} is not as it was created")


def _described(uri: str) -> dict[str, Any]:
    """Of a store, each metadata object as JSON and the values of each coordinate."""
    fs, root = fsspec.core.url_to_fs(uri)
    found: dict[str, Any] = {}
    for path in fs.find(root):
        name = path[len(root) + 1 :]
        if name.rsplit("/", 1)[-1] in (".zgroup", ".zattrs", ".zarray", "zarr.json"):
            found[name] = "cannot be read"
            with suppress(ValueError, AttributeError):
                told = json.loads(fs.cat_file(path))
                told.pop("consolidated_metadata", None)
                found[name] = told
    group = open_group(uri)
    for name, array in group.arrays():
        if array.ndim < 2:
            try:
                found[f"{name}, its values,"] = np.asarray(array[...]).tobytes()
            except (RuntimeError, ValueError):
                found[f"{name}, its values,"] = "cannot be read"
    return found
