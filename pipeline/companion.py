"""What is kept beside a cube, chunk by chunk: the store `NAME_aux.zarr`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import fsspec
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline import layers, overview
from pipeline.chunks import write_chunk
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.group import consolidate, is_label, new_group, open_group
from pipeline.layers import CENSUS, Layers
from pipeline.layout import CubeSpec, add_array, add_labels
from pipeline.place import COMPANION, Mode, beside, is_vacant, refuse_mode, remove, root_attributes
from pipeline.seam import FIELDS, Counts

SEAM, TALLY = "seam", "census"


class Companion:
    """Records that are written before their chunk: whatever chunk exists has one."""

    def __init__(self, uri: str, group: zarr.Group) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(uri)
        self.group = group
        self._arrays: dict[str, zarr.Array[Any]] = {
            name: array.with_config({"write_empty_chunks": True}) for name, array in group.arrays()
        }
        self._seam, self._tally = self._arrays[SEAM], self._arrays[TALLY]
        valid = self._arrays["valid"]
        (height, width), self._chunk = valid.shape, valid.chunks[0]
        self._owned = overview.owned(height, width, self._chunk)
        self._factors = overview.factors(height, width, self._chunk)
        levels = {factor: self._arrays[overview.name(factor)] for factor in self._factors}
        coarser = {factor: array for factor, array in levels.items() if factor not in self._owned}
        self._pyramids = {"": overview.Pyramid(levels, coarser, overview.halved)}
        self._pyramids |= {name: self._pyramid(name) for name in layers.COARSER}
        self._gatherings: dict[str, overview.Gathering] = {}

    def _pyramid(self, layer: str) -> overview.Pyramid:
        """Of a layer; without levels where it is not there, or was written before they were."""
        names = {factor: overview.name(factor, layer) for factor in self._factors}
        coarser = {f: self._arrays[name] for f, name in names.items() if name in self._arrays}
        finest = {1: self._arrays[layer]} if coarser else {}
        return overview.Pyramid(finest | coarser, coarser, layers.COARSER[layer])

    @staticmethod
    def uri(cube: str) -> str:
        """Where the companion of a cube is."""
        return beside(cube)

    @classmethod
    def is_there(cls, cube: str) -> bool:
        """Whether a cube has anything in the companion's place."""
        fs, root = fsspec.core.url_to_fs(cls.uri(cube))
        return bool(fs.exists(root))

    @classmethod
    def create(cls, cube: str, spec: CubeSpec) -> None:
        """Write metadata. Raises Refusal where something else has the place."""
        cls.remove(cube)
        # The mark goes in with the group, so that no kill leaves one without.
        kind = {"zarr_format": spec.zarr_format, "attributes": {COMPANION: _digest(spec.settings)}}
        rows, cols = -(-spec.height // spec.chunk), -(-spec.width // spec.chunk)
        with new_group(cls.uri(cube), **kind) as group:
            for name, fields, about in (
                (SEAM, FIELDS, "how tiles meet, in counts of 1e-4: see pipeline.seam"),
                (TALLY, CENSUS, "pixels of each quality, and their closure: see pipeline.layers"),
            ):
                array: dict[str, Any] = {"shape": (rows, cols, fields), "chunks": (1, 1, fields)}
                # In v2 readers take any fill value for nodata, and a count of 0 is none.
                array |= {"dtype": "int64", "fill_value": None if spec.zarr_format == 2 else 0}
                axes = ("chunk_row", "chunk_col", f"{name}_field")
                add_array(group, name, axes, {"long_name": about}, **array)
            add_labels(group, spec)
            overview.lay_out(group, spec)
            layers.lay_out(group, spec)

    @classmethod
    def open(cls, cube: str, mode: Mode = "r") -> Companion:
        """Open what `create` made, to read or to write. Raises Refusal where it is not whole."""
        refuse_mode(mode)
        try:
            return cls(cls.uri(cube), open_group(cls.uri(cube), mode))
        except (FileNotFoundError, KeyError, ValueError) as error:
            rule, fix = "a cube that is written has its companion", "Begin again with --overwrite."
            if not cls.is_there(cube):
                fix = "Put it back beside the cube, or delete the cube and begin again."
            raise Refusal(rule, f"no {cls.uri(cube)}", fix) from error

    def refuse_other(
        self, settings: Mapping[str, Any], height: int, width: int, chunk: int
    ) -> None:
        """Raise Refusal where it is not of a cube of these settings and this size."""
        refuse_another(self._root, self.group, settings)
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
            remove(fs, root)

    @classmethod
    def refuse_foreign(cls, cube: str) -> None:
        """Raise Refusal where something else has the companion's place."""
        fs, root = fsspec.core.url_to_fs(cls.uri(cube))
        if fs.exists(root) and not _is_companion(fs, root):
            fix = "Delete it yourself, or choose another name for the cube."
            raise Refusal("only a cube's companion is replaced", cls.uri(cube), fix)

    def note(self, window: Window, seam: Counts, beside: Layers) -> None:
        """Write seam record (FIELDS,) and layers of the chunk at a window of the cube."""
        at = (window.row // self._chunk, window.col // self._chunk)
        write_chunk(self._arrays["quality"], at, beside.quality)
        write_chunk(self._arrays["closure"], at, beside.closure)
        if beside.uncertainty is not None:
            write_chunk(self._arrays["uncertainty"], at, beside.uncertainty)
            self._gather("uncertainty", 1, window, beside.uncertainty)
        self._gather("quality", 1, window, beside.quality[None])
        self._gather("closure", 1, window, beside.closure[None])
        write_chunk(self._seam, (*at, 0), seam[None, None])
        write_chunk(self._tally, (*at, 0), beside.census[None, None])

    def begin(self, window: Window) -> None:
        """Make what lies within a window of the coarser levels as its chunks come.

        Else, and where a level's pixels lie across chunks, `complete` makes them.
        """
        self._gatherings = {
            name: overview.Gathering(pyramid.coarser, self._chunk, window, pyramid.halve)
            for name, pyramid in self._pyramids.items()
            if pyramid.coarser and self._chunk % min(pyramid.coarser) == 0
        }

    def coarsen(self, window: Window, stored: NDArray[Any]) -> None:
        """Write what follows from a chunk's stored values: its mask, and its levels."""
        at = (window.row // self._chunk, window.col // self._chunk)
        write_chunk(self._arrays["valid"], at, overview.known(stored))
        for factor in self._owned:
            stored = overview.halved(stored)
            write_chunk(self._pyramids[""].levels[factor], at, stored)
        self._gather("", max(self._owned, default=1), window, stored)

    def _gather(self, name: str, factor: int, window: Window, stored: NDArray[Any]) -> None:
        """Pass on what follows for the next level from values (C, h, w) of the level ``factor``."""
        if name in self._gatherings:
            coarse, factor = self._pyramids[name].halve(stored), 2 * factor
            place = (window.row // factor, window.col // factor)
            self._gatherings[name].add(factor, *place, coarse)

    @property
    def overviews(self) -> dict[int, zarr.Array[Any]]:
        """The cube's overviews (wavelength, y, x) by how many pixels a side one of theirs is."""
        return dict(self._pyramids[""].levels)

    def complete(self) -> None:
        """Make what is missing of the coarser levels, and consolidate the metadata."""
        for name, pyramid in self._pyramids.items():
            missing = [at for at, (_, there) in self._coarse_chunks(name).items() if not there]
            overview.build(pyramid.levels, self._chunk, missing, pyramid.halve)
        consolidate(self.group)

    def forget(self) -> None:
        """Delete the coarser levels' chunks, which `complete` makes again."""
        for name in self._pyramids:
            for path, there in self._coarse_chunks(name).values():
                if there:
                    self._fs.rm_file(path)

    def _coarse_chunks(self, name: str) -> dict[tuple[int, overview.Index], tuple[str, bool]]:
        """Of each (factor, (row, col)) of a pyramid the object's path, and whether it exists."""
        self._fs.invalidate_cache()
        found = {}
        for factor, level in self._pyramids[name].coarser.items():
            root = f"{self._root}/{overview.name(factor, name)}"
            there = set(self._fs.find(root))
            for index in np.ndindex(*level.cdata_shape):
                path = f"{root}/{level.metadata.encode_chunk_key(index)}"
                found[factor, (index[-2], index[-1])] = path, path in there
        return found

    def lost(self) -> int:
        """How many of the objects are missing that a finished cube has beside it.

        Lists names once. Where a store lists none, as a web server, none is missing.
        """
        self._fs.invalidate_cache()
        wanted = {
            f"{self._root}/{name}/{array.metadata.encode_chunk_key(index)}"
            for name, array in self._arrays.items()
            if array.ndim > 1 or is_label(name, array)
            for index in np.ndindex(*array.cdata_shape)
        }
        there = set(self._fs.find(self._root))
        return len(wanted - there) if there else 0

    def seam(self) -> Counts:
        """The sum of all seam records (FIELDS,)."""
        return _total(self._seam)

    def census(self) -> Counts:
        """The sum of all census records (CENSUS,)."""
        return _total(self._tally)


def refuse_another(name: str, group: zarr.Group, settings: Mapping[str, Any]) -> None:
    """Raise Refusal where the store of a name, beside a cube of these settings, is another's."""
    if group.attrs.get(COMPANION) != _digest(settings):
        rule = "what lies beside a cube was made with it, by this version"
        fix = "Move it away, or make the cube again with --overwrite."
        raise Refusal(rule, f"{name} of another", fix)


def _digest(settings: Mapping[str, Any]) -> str:
    """sha256, hex, of a cube's settings: equal runs have equal ones, stored or not yet."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def _total(records: zarr.Array[Any]) -> Counts:
    start = np.zeros(records.shape[-1], np.int64)
    rows = (np.asarray(records[row]).sum(axis=0) for row in range(records.shape[0]))
    return sum(rows, start=start)


def _is_companion(fs: fsspec.AbstractFileSystem, root: str) -> bool:
    """Whether a folder is a cube's companion: marked so, or before its mark was there."""
    return COMPANION in root_attributes(fs, root) or is_vacant(fs, root)
