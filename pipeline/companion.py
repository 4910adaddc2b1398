"""What is kept beside a cube, chunk by chunk: the store `NAME_aux.zarr`."""

from __future__ import annotations

from typing import Any

import fsspec
import numpy as np
import zarr

from pipeline.errors import Refusal
from pipeline.layout import CubeSpec, add_array
from pipeline.seam import FIELDS, Counts, empty
from pipeline.store import open_store

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
        return cube.rstrip("/").removesuffix(".zarr") + "_aux.zarr"

    @classmethod
    def create(cls, cube: str, spec: CubeSpec) -> Companion:
        """Write metadata. Raises Refusal where something else has the place."""
        cls.remove(cube)
        group = zarr.create_group(open_store(cls.uri(cube)), zarr_format=spec.zarr_format)
        group.attrs[_MARK] = 1
        shape = (-(-spec.height // spec.chunk), -(-spec.width // spec.chunk), FIELDS)
        about = {"long_name": "how tiles meet, in counts of 1e-4: see pipeline.seam"}
        layout: dict[str, Any] = {"shape": shape, "chunks": (1, 1, FIELDS), "dtype": "int64"}
        add_array(group, SEAM, ("chunk_row", "chunk_col", "field"), about, fill_value=0, **layout)
        return cls(group)

    @classmethod
    def open(cls, cube: str) -> Companion:
        """Open what `create` made. Raises Refusal where it is gone."""
        if not _is_companion(cls.uri(cube)):
            rule, fix = "a cube that is written has its companion", "Begin again with --overwrite."
            raise Refusal(rule, f"no {cls.uri(cube)}", fix)
        return cls(zarr.open_group(open_store(cls.uri(cube)), mode="r+", use_consolidated=False))

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
        if fs.exists(root) and not _is_companion(cls.uri(cube)):
            fix = "Delete it yourself, or choose another name for the cube."
            raise Refusal("only a cube's companion is replaced", cls.uri(cube), fix)

    def note(self, row: int, col: int, record: Counts) -> None:
        """Write the seam record (FIELDS,) of a chunk."""
        self._seam[row, col] = record

    def total(self) -> Counts:
        """The sum of all seam records (FIELDS,)."""
        rows = (np.asarray(self._seam[row]).sum(axis=0) for row in range(self._seam.shape[0]))
        return sum(rows, start=empty())


def _is_companion(uri: str) -> bool:
    try:
        return _MARK in zarr.open_group(open_store(uri), mode="r").attrs
    except (FileNotFoundError, ValueError):
        return False
