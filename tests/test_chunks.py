"""A chunk written past Zarr's event loop is the one that Zarr writes."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from pipeline.chunks import write_chunk
from pipeline.layout import add_array

KINDS = [("uint8", 0), ("uint8", None), ("uint16", 65535), ("float32", float("nan")), ("int64", 0)]


@settings(max_examples=30, deadline=None)
@given(
    bands=st.sampled_from([(), (1,), (3,)]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    side=st.integers(1, 5),
    kind=st.sampled_from(KINDS),
    zarr_format=st.sampled_from([2, 3]),
    seed=st.integers(0, 99),
)
def test_bytes_are_zarrs(tmp_path_factory, bands, size, side, kind, zarr_format, seed):  # noqa: PLR0917
    dtype, fill = kind
    fill = 0 if zarr_format == 3 and fill is None else fill
    folder = tmp_path_factory.mktemp("chunks")
    shape = (*bands, *size)
    values = np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)
    if dtype == "float32":
        values.flat[0] = np.nan
    about = {"shape": shape, "chunks": (*bands, side, side), "dtype": dtype, "fill_value": fill}
    axes = tuple("cyx"[-len(shape) :])
    arrays = []
    for store in (str(folder / "zarr"), str(folder / "own"), MemoryStore()):
        group = zarr.create_group(store, zarr_format=zarr_format)
        array = add_array(group, "a", axes, {}, **about)
        arrays.append(array.with_config({"write_empty_chunks": True}))
    arrays[0][...] = values
    for row in range(-(-size[0] // side)):
        for col in range(-(-size[1] // side)):
            at = np.s_[..., row * side : (row + 1) * side, col * side : (col + 1) * side]
            for array in arrays[1:]:
                write_chunk(array, (row, col), values[at])
    assert files(folder / "own") == files(folder / "zarr")
    np.testing.assert_array_equal(arrays[2][...], values)


def files(root: Path) -> dict[Path, bytes]:
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_chunk_is_there_wholly_or_not_at_all(tmp_path, monkeypatch):
    group = zarr.create_group(str(tmp_path))
    array = add_array(group, "a", ("y", "x"), {}, shape=(2, 2), chunks=(2, 2), dtype="uint8")
    before = files(tmp_path).keys()

    def cut(path, data):
        with path.open("wb") as file:
            file.write(data[:5])
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", cut)
        with pytest.raises(OSError, match="disk full"):
            write_chunk(array, (0, 0), np.ones((2, 2), np.uint8))
    assert files(tmp_path).keys() == before
