"""Whether what is in a cube's place is R2H's: by a mark that is written first and deleted last."""

from __future__ import annotations

import glob
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import Refusal
from pipeline.store import put, storage_errors
from pipeline.uri import local_path

SETTINGS = "r2h"
"""The root attribute that holds the provenance: of a cube that was wholly created."""
BEGUN = "r2h_begun"
"""The root attribute of one that is being created, or deleted: it has no values."""
COMPANION = "r2h_companion"
"""The root attribute of what lies beside a cube."""
_ROOTS = (".zattrs", "zarr.json")  # where Zarr keeps a group's attributes, in version 2 and 3
_PARTIAL = re.compile(r"(\.zattrs|zarr\.json)\.[0-9a-f]{32}\.partial")
_FIX = "Delete it yourself, or choose another name."
Mode = Literal["r", "r+"]
"""To read, also where nothing may be written, or to write too."""


def refuse_mode(mode: str) -> None:
    """Raise Refusal for another mode of opening: Zarr's own would delete what is there."""
    if mode not in get_args(Mode):
        fix = 'Take SpectralCube.create for a new one, "r+" to write to one that is there.'
        raise Refusal('a cube is opened to read ("r") or to write ("r+")', mode, fix)


def is_free(uri: str) -> bool:
    """Whether a cube can be created: nothing is there, or what is left of one without values.

    Raises Refusal where something is there that is not known for R2H's.
    """
    fs, root = fsspec.core.url_to_fs(uri)
    fs.invalidate_cache()
    if not fs.exists(root):
        return True
    marks = root_attributes(fs, root)
    if SETTINGS in marks:
        return False
    if BEGUN in marks or is_vacant(fs, root):
        return True
    raise Refusal("only a cube is resumed or replaced", uri, _FIX)


def beside(cube: str) -> str:
    """Where the companion of a cube is."""
    stem = cube.rstrip("/")
    bare = stem.removesuffix(".zarr")
    # The same ending, so that cubes `x` and `x.zarr` in one folder have one each.
    return f"{bare}_aux{stem[len(bare) :]}"


def refuse_inside(uri: str) -> None:
    """Raise Refusal for a local place in a cube, or in what lies beside one.

    Whoever replaces a cube deletes what is in its folder, and readers take it for a part of it.
    """
    place = local_path(uri)
    for folder in place.absolute().parents if place else ():
        if {SETTINGS, COMPANION} & root_attributes(*fsspec.core.url_to_fs(str(folder))).keys():
            raise Refusal("nothing else lies in a cube", uri, f"Put it beside {folder}.")


def refuse_foreign(uri: str) -> None:
    """Raise Refusal where something else than a cube, whole or begun, has a cube's place.

    A whole one has its companion beside it: what others derive from a cube inherits attributes.
    """
    fs, root = fsspec.core.url_to_fs(uri)
    marks = root_attributes(fs, root)
    if BEGUN in marks or is_vacant(fs, root):
        return
    if SETTINGS not in marks:
        raise Refusal("only a cube is replaced", uri, _FIX)
    if COMPANION not in root_attributes(*fsspec.core.url_to_fs(beside(uri))):
        found = f"{uri} without {beside(uri)}, as a copy or a part of a cube is"
        raise Refusal("only a cube that has its companion beside it is replaced", found, _FIX)


def is_vacant(fs: fsspec.AbstractFileSystem, root: str) -> bool:
    """Whether a folder is empty, but for a mark that was being written."""
    return fs.isdir(root) and all(_PARTIAL.fullmatch(Path(name).name) for name in _in(fs, root))


def root_attributes(fs: fsspec.AbstractFileSystem, root: str) -> dict[str, Any]:
    """What a group says of itself as it is stored now; empty where none says anything."""
    for name in _ROOTS:
        if fs.exists(f"{root}/{name}"):
            with suppress(ValueError, IsADirectoryError):  # a power loss cut it
                found = json.loads(fs.cat_file(f"{root}/{name}"))
                if name == "zarr.json" and isinstance(found, dict):
                    found = found.get("attributes")
                return found if isinstance(found, dict) else {}
    return {}


def disown(uri: str) -> None:
    """Say of a cube that it is being deleted, so that a kill leaves none that looks like one."""
    fs, root = fsspec.core.url_to_fs(uri)
    if BEGUN in root_attributes(fs, root):
        return
    marks: dict[str, Any] = {BEGUN: True}
    for name in _ROOTS:
        if fs.exists(f"{root}/{name}"):
            v3 = {"zarr_format": 3, "node_type": "group", "attributes": marks}
            about = marks if name == ".zattrs" else v3
            with suppress(*storage_errors()):  # a full disk is why it may be deleted
                put(f"{uri.rstrip('/')}/{name}", json.dumps(about, indent=2).encode())


def remove(fs: fsspec.AbstractFileSystem, folder: str) -> None:
    """Delete a folder with all that is in it, and no other that its name would match.

    The attributes of its root go last: what a kill leaves is known by them.
    """
    fs.invalidate_cache()
    last = [f"{folder}/{name}" for name in _ROOTS]
    if isinstance(fs, LocalFileSystem):
        paths = sorted(Path(folder).iterdir(), key=lambda path: (str(path) in last, path))
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if not Path(folder).is_symlink():
            Path(folder).rmdir()
        return
    for name in sorted(set(_in(fs, folder)) - set(last)):
        fs.rm(glob.escape(name), recursive=True)
    with suppress(FileNotFoundError):
        fs.rm(glob.escape(folder), recursive=True)


def _in(fs: fsspec.AbstractFileSystem, root: str) -> list[str]:
    """Paths in a folder; of a bucket also lists the folder itself, where it has an object."""
    names = (str(name).rstrip("/") for name in fs.ls(root, detail=False))
    return [name for name in names if name != root.rstrip("/")]


def no_cube(uri: str, attributes: Mapping[str, Any]) -> Refusal:
    """What to say of a store that cannot be opened as a cube, by its root's attributes."""
    if {SETTINGS, BEGUN} & attributes.keys():
        return Refusal("the URI is a cube, wholly created", uri, "Begin again with --overwrite.")
    fix = "Check the path; to make a cube there, delete it yourself."
    if COMPANION in attributes:
        fix = "Give the cube that it lies beside."
    return Refusal("the URI is a cube, which says so", uri, fix)
