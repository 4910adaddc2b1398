"""What a cube is, whether it is all there, and whether it stays the one that was opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fsspec.core import url_to_fs

from pipeline.chunks import AGAIN
from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.group import is_label
from pipeline.labels import Labels
from pipeline.layout import NOTE
from pipeline.place import SETTINGS, root_attributes
from pipeline.store import storage_errors


def lost(cube: SpectralCube) -> set[tuple[int, int]]:
    """The (chunk row, chunk column) that a sealed cube lacks, as one does whose copy was cut short.

    Lists names once. Where a store lists none, as a web server, it is asked for each.
    """
    if not cube.sealed:
        return set()
    there: set[tuple[int, int]] = set()
    with suppress(*storage_errors()):
        there = cube.finished()
    left = cube.chunks() - there
    return left if there else {at for at in left if not cube.has(*at)}


def unfinished(cube: SpectralCube) -> int:
    """How many chunks an unsealed cube lacks: they look like nodata."""
    return 0 if cube.sealed else len(cube.chunks() - cube.finished())


def lost_beside(cube: SpectralCube) -> int:
    """How many objects the companion of a sealed cube lacks; 0 where it has none at all."""
    there = cube.sealed and Companion.is_there(cube.uri)
    return len(lost_labels(cube)) + (cube.companion.lost() if there else 0)


def lost_labels(cube: SpectralCube) -> list[str]:
    """The labels of a cube, as `x`, whose object is missing: they would read as 0."""
    fs, root = url_to_fs(cube.uri)
    arrays = [(name, array) for name, array in cube.group.arrays() if is_label(name, array)]
    paths = {
        name: f"{root}/{name}/{array.metadata.encode_chunk_key((0,))}" for name, array in arrays
    }
    return [name for name, path in paths.items() if not fs.exists(path)]


def refuse_lost(cube: SpectralCube, *, beside: bool = False) -> None:
    """Raise Refusal where a sealed cube lacks chunks or labels: they would read as nodata, or as 0.

    So would those of layers and overviews, or as pixels without a flag: asked for with ``beside``.
    """
    if missing := len(lost(cube)):
        found = f"{missing} of {len(cube.chunks())} missing in {cube.uri}"
        raise Refusal("a finished cube has all its chunks", found, AGAIN)
    if labels := cube.sealed and lost_labels(cube):
        found = f"no {', '.join(labels)} in {cube.uri}"
        raise Refusal("a finished cube has all its labels", found, AGAIN)
    if beside and (missing := lost_beside(cube)):
        found = f"{missing} of what lies beside it missing in {Companion.uri(cube.uri)}"
        raise Refusal("a finished cube has all its chunks", found, AGAIN)


@contextmanager
def kept(cube: SpectralCube) -> Iterator[None]:
    """Raise Refusal at the end where a run has begun or written the cube since it was opened."""
    stays = watched(cube)
    yield
    if not (cube.sealed and stays()):
        fix = "Do it again when that run has ended."
        raise Refusal("no run writes a cube while it is exported or reported", cube.uri, fix)


def watched(cube: SpectralCube) -> Callable[[], bool]:
    """What tells whether a cube is the one that was opened; an unfinished one by its settings."""
    before = _sealings(cube) if cube.sealed else None

    def stays() -> bool:
        fs, root = url_to_fs(cube.uri)
        same = root_attributes(fs, root).get(SETTINGS) == cube.settings
        return same and (before is None or _sealings(cube) == before)

    return stays


def _sealings(cube: SpectralCube) -> list[Any]:
    """When the objects were written that seal a cube; a web server may not say."""
    fs, root = url_to_fs(cube.uri)
    fs.invalidate_cache()
    found = []
    for name in (".zmetadata", "zarr.json"):
        with suppress(*storage_errors(NotImplementedError)):
            found.append(fs.modified(f"{root}/{name}"))
    return found


def describe_cube(uri: str) -> dict[str, Any]:
    """What a cube is, for people and programs."""
    cube = SpectralCube.open(uri)
    labels = Labels.of(cube)
    chunks, missing = len(cube.chunks()), len(lost(cube))
    there = chunks - missing if cube.sealed else len(cube.finished())
    beside = None
    with suppress(Refusal):  # what lies beside it is gone, or another's
        _ = cube.companion
        beside = lost_beside(cube)
    return {
        "cube": uri,
        "height": cube.height,
        "width": cube.width,
        "transform": list(labels.transform)[:6] if labels.transform else None,
        "crs": labels.crs_wkt,
        "wavelengths_nm": list(cube.wavelengths),
        "finished_chunks": f"{there} of {chunks}",
        "sealed": cube.sealed,
        "lost_chunks": missing,
        "lost_beside": beside,
        "note": NOTE,
        **cube.settings,
    }
