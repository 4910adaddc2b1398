"""Arrays of numbers in MATLAB v5 files: every size is looked at before memory is taken.

scipy's reader ends the process on some broken files.
"""

import math
import struct
import zlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

MOST = 2**29
"""Most bytes of an array, unpacked: half as much again as a Harvard scene."""
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_MATRIX, _PACKED = 14, 15
_NUMERIC = range(6, 16)  # classes double to uint64
_COMPLEX = 0x800


def read_arrays(data: bytes, names: Collection[str]) -> dict[str, NDArray[np.generic]]:
    """Those of the named arrays that a file's bytes hold, in the type they are stored in.

    Raises ValueError where the file is broken or one of them is no array of real numbers.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("no header of MATLAB v5")
    found, rest = {}, memoryview(data)[128:]
    while rest:
        kind, content, rest = _element(rest, order)
        if kind == _PACKED:
            kind, content, _ = _element(_unpacked(content), order)
        if kind == _MATRIX:
            name, (flags, shape, values) = _named(content, order)
            if name in names:
                found[name] = _array(flags, shape, values, order)
    return found


def _element(data: memoryview, order: str) -> tuple[int, memoryview, memoryview]:
    """Type and content of the first element, and what follows it."""
    if len(data) < 8:
        raise ValueError("an element is cut")
    kind, size = struct.unpack_from(f"{order}II", data)
    start = 8
    if kind >> 16:  # of four bytes or less, in the tag itself
        kind, size, start = kind & 0xFFFF, kind >> 16, 4
    content = data[start : start + size]
    if len(content) < size or (start == 4 and size > 4):
        raise ValueError("an element is cut")
    # Packed ones alone are not padded.
    end = start + size if kind == _PACKED else -(-(start + size) // 8) * 8
    return kind, content, data[end:]


def _unpacked(content: memoryview) -> memoryview:
    packed = zlib.decompressobj()
    try:
        data = packed.decompress(content, MOST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if packed.unconsumed_tail:
        raise ValueError(f"an array of more than {MOST} bytes")
    return memoryview(data)


Parts = tuple[memoryview, memoryview, memoryview]


def _named(content: memoryview, order: str) -> tuple[str, Parts]:
    """Name of a matrix, and its flags, its shape and what its values are read from."""
    _, flags, rest = _element(content, order)
    _, shape, rest = _element(rest, order)
    _, name, rest = _element(rest, order)
    return bytes(name).decode("latin-1"), (flags, shape, rest)


def _array(
    flags: memoryview, shape: memoryview, values: memoryview, order: str
) -> NDArray[np.generic]:
    (about,) = struct.unpack_from(f"{order}I", bytes(flags).ljust(4, b"\0"))
    kind, numbers, _ = _element(values, order)
    if about & 0xFF not in _NUMERIC or about & _COMPLEX or kind not in _NUMBERS:
        raise ValueError("an array of other than real numbers")
    sides = np.frombuffer(shape, f"{order}i4").tolist()
    array = np.frombuffer(numbers, order + _NUMBERS[kind])
    if min(sides, default=-1) < 0 or math.prod(sides) != array.size:
        raise ValueError(f"{array.size} values of an array {sides}")
    return array.reshape(sides, order="F")
