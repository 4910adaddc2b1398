"""Parts before the pixels, of files that are whole, broken, or without end."""

import io
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.headers import JP2, JPEG, LARGEST, PNG, contents, exif_colour_space

KINDS = (b"colr", b"cICP", b"cHRM", b"eXIf", b"iCCP", b"ICC_PROFILE")


def exif(order, number, tag=0xA001):
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    first = struct.pack(f"{order}IH2HII", 8, 1, 0x8769, 4, 1, 22)
    return mark + first + struct.pack(f"{order}H2HIH", 1, tag, 3, 1, number)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exifs_colour_space_is_read_in_either_order(order):
    assert exif_colour_space(exif(order, 65535)) == 65535
    assert exif_colour_space(exif(order, 1, tag=0xA002)) is None


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0", b"MM\0*"]))
def test_any_exif_is_read_or_is_none(data, start):
    found = exif_colour_space(start + data)
    assert found is None or 0 <= found <= 0xFFFF


@given(st.binary(max_size=300), st.sampled_from([b"", PNG, JPEG, *JP2]))
def test_any_file_has_parts_or_none(data, start):
    for kind, body in contents(io.BytesIO(start + data), KINDS).items():
        assert kind in KINDS
        assert body in start + data


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (PNG, struct.pack(">I4s4x", 0, b"tEXt")),
        (JPEG, b"\xff\xfe\0\2"),
        (JPEG, b"\xff\xfe\0\0"),
        (JP2[0] + bytes(4), struct.pack(">I4s", 8, b"free")),
        (JP2[0] + bytes(4), struct.pack(">I4s", 8, b"jp2h")),
    ],
)
def test_parts_without_end_are_left(start, part):
    file = io.BytesIO(start[:12] + 200_000 * part)
    before = time.process_time()
    assert contents(file, KINDS) == {}
    assert time.process_time() - before < 1
    # Each part takes a read or two; what is beyond a thousand is not looked at.
    assert file.tell() < 100_000


def test_of_a_part_that_says_it_is_large_only_so_much_is_read():
    said = struct.pack(">I4s", 2**31 - 1, b"iCCP")
    assert len(contents(io.BytesIO(PNG + said + bytes(LARGEST + 9)), KINDS)[b"iCCP"]) == LARGEST
