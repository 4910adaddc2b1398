"""What is kept beside a cube, chunk by chunk: the store `NAME_aux.zarr`."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import fsspec
import numpy as np
import zarr

from pipeline.errors import Refusal
from pipeline.layout import CubeSpec, add_array
from pipeline.seam import FIELDS, Counts, empty
from pipeline.store import names_in, open_store

SEAM = "seam"
_MARK = "r2h_companion"


class Companion:
    """Records that are written before their chunk: whatever chunk exists has one."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group
        array = group[SEAM]
        assert isinstance(array, zarr.Array)
        self._seam: zarr.Array[Any] = array.with_config({"write_empty_chunks": True})

    @staticmethod
    def uri(cube: str) -> str:
        """Where the companion of a cube is."""
        stem = cube.rstrip("/")
        bare = stem.removesuffix(".zarr")
        # The same ending, so that cubes `x` and `x.zarr` in one folder have one each.
        return f"{bare}_aux{stem[len(bare) :]}"

    @classmethod
    def create(cls, cube: str, spec: CubeSpec) -> Companion:
        """Write metadata. Raises Refusal where something else has the place."""
        cls.remove(cube)
        store, marks = open_store(cls.uri(cube)), {_MARK: 1}
        # The mark goes in with the group, so that no kill leaves one without.
        group = zarr.create_group(store, zarr_format=spec.zarr_format, attributes=marks)
        shape = (-(-spec.height // spec.chunk), -(-spec.width // spec.chunk), FIELDS)
        about = {"long_name": "how tiles meet, in counts of 1e-4: see pipeline.seam"}
        layout: dict[str, Any] = {"shape": shape, "chunks": (1, 1, FIELDS), "dtype": "int64"}
        add_array(group, SEAM, ("chunk_row", "chunk_col", "field"), about, fill_value=0, **layout)
        return cls(group)

    @classmethod
    def open(cls, cube: str) -> Companion:
        """Open what `create` made. Raises Refusal where it is gone or not whole."""
        try:
            store = open_store(cls.uri(cube))
            return cls(zarr.open_group(store, mode="r+", use_consolidated=False))
        except (FileNotFoundError, KeyError, ValueError) as error:
            rule, fix = "a cube that is written has its companion", "Begin again with --overwrite."
            raise Refusal(rule, f"no {cls.uri(cube)}", fix) from error

    def refuse_other_shape(self, height: int, width: int, chunk: int) -> None:
        """Raise Refusal where it is not of a cube of this size."""
        wanted = (-(-height // chunk), -(-width // chunk), FIELDS)
        if self._seam.shape != wanted:
            rule, fix = f"the cube's companion holds {wanted}", "Begin again with --overwrite."
            raise Refusal(rule, self._seam.shape, fix)

    @classmethod
    def remove(cls, cube: str) -> None:
        """Delete the companion of a cube, where there is one. Raises Refusal for anything else."""
        cls.refuse_foreign(cube)
        fs, root = fsspec.core.url_to_fs(cls.uri(cube))
        if fs.exists(root):
            fs.rm(root, recursive=True)

    @classmethod
    def refuse_foreign(cls, cube: str) -> None:
        """Raise Refusal where something else has the companion's place."""
        fs, root = fsspec.core.url_to_fs(cls.uri(cube))
        if fs.exists(root) and not _is_companion(fs, root):
            fix = "Delete it yourself, or choose another name for the cube."
            raise Refusal("only a cube's companion is replaced", cls.uri(cube), fix)

    def note(self, row: int, col: int, record: Counts) -> None:
        """Write the seam record (FIELDS,) of a chunk."""
        self._seam[row, col] = record

    def total(self) -> Counts:
        """The sum of all seam records (FIELDS,)."""
        rows = (np.asarray(self._seam[row]).sum(axis=0) for row in range(self._seam.shape[0]))
        return sum(rows, start=empty())


def _is_companion(fs: fsspec.AbstractFileSystem, root: str) -> bool:
    """Whether a folder is a cube's companion: marked so, or what a kill left of one."""
    if not fs.isdir(root):
        return False
    for name in (".zattrs", "zarr.json"):
        if fs.exists(f"{root}/{name}"):
            with suppress(ValueError):
                found = json.loads(fs.cat_file(f"{root}/{name}"))
                return _MARK in found.get("attributes", found)
    return names_in(fs, root) <= {".zgroup", SEAM}
