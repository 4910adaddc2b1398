"""Whole chunks into Zarr arrays, byte for byte as Zarr writes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from numpy.typing import NDArray
from zarr.storage import LocalStore

from pipeline.errors import Refusal
from pipeline.layout import ZSTD
from pipeline.store import move_in

AGAIN = "Copy it again, or make them again with --resume."
"""What to do about objects that a finished cube lacks."""


@contextmanager
def undamaged(uri: str) -> Iterator[None]:
    """Raise Refusal where a chunk of a store that is read within is not as it was written."""
    try:
        yield
    except RuntimeError as error:  # of its codec
        fix = "`r2h verify` names what is damaged, `r2h reconstruct --resume` makes it again."
        raise Refusal("stored chunks can be read", f"{uri}: {error}", fix) from error


def write_chunk(array: zarr.Array[Any], at: tuple[int, ...], values: NDArray[Any]) -> None:
    """Write a chunk of an array that `add_array` made, wholly or not at all.

    Its index is ``at`` along the array's last axes and 0 along those before. ``values`` are all of
    it that lies inside the array. In a local store nothing waits for Zarr's event loop: a chunk
    takes some twenty turns of it, which cost more than to encode a plane
    (docs/decisions/0024).
    """
    index = (*(0,) * (array.ndim - len(at)), *at)
    if not isinstance(array.store, LocalStore) or array.store.read_only:
        starts = (i * side for i, side in zip(index, array.chunks, strict=True))
        array[tuple(slice(a, a + n) for a, n in zip(starts, values.shape, strict=True))] = values
        return
    whole = values
    if values.shape != array.chunks:
        whole = np.full(array.chunks, array.fill_value or 0, array.dtype)
        whole[tuple(map(slice, values.shape))] = values
    data = Zstd(**ZSTD).encode(np.ascontiguousarray(whole, array.dtype))
    key = array.metadata.encode_chunk_key(index)
    move_in(array.store.root / array.path / key, data)
