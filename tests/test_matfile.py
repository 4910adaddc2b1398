"""MATLAB v5: what scipy writes is read; what is broken is a ValueError, whatever the bytes."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import savemat

from pipeline import matfile
from pipeline.matfile import read_arrays

KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "u8", "i8", ">f8", ">u2")


def saved(packed=False, **values):
    savemat(file := io.BytesIO(), values, do_compression=packed)
    return file.getvalue()


@given(
    st.sampled_from(KINDS).flatmap(
        lambda kind: arrays(kind, array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5))
    ),
    st.booleans(),
)
@settings(max_examples=40)
def test_what_scipy_writes_is_read(values, packed):
    data = saved(packed, other=np.arange(3), ref=values, text="ref", cell={"ref": 1})
    read = read_arrays(data, ("ref", "lbl"))
    assert list(read) == ["ref"]
    np.testing.assert_array_equal(read["ref"], values)


@given(st.data())
@settings(max_examples=60)
def test_a_broken_file_is_an_array_or_a_value_error(data):
    whole = saved(data.draw(st.booleans()), ref=np.arange(60.0).reshape(3, 4, 5))
    broken = bytearray(whole)
    for at in data.draw(st.lists(st.integers(120, len(whole) - 1), max_size=4)):
        broken[at] = data.draw(st.integers(0, 255))
    del broken[data.draw(st.integers(0, len(whole))) :]
    with suppress(ValueError):
        read_arrays(bytes(broken), ("ref",))


@pytest.mark.parametrize("values", [np.ones((2, 2), complex), "text", {"a": 1.0}])
def test_what_is_no_array_of_real_numbers_is_an_error(values):
    with pytest.raises(ValueError, match="other than real"):
        read_arrays(saved(ref=values), ("ref",))


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(matfile, "MOST", 10_000)
    with pytest.raises(ValueError, match="more than 10000 bytes"):
        read_arrays(saved(True, ref=np.zeros((100, 100))), ("ref",))
