"""Parts before the pixels and first tags, of files that are whole, broken, or without end."""

import io
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.headers import (
    JP2,
    JPEG,
    LARGEST,
    PNG,
    alpha_is_multiplied,
    contents,
    exif_colour_space,
    first_tags,
    head_of,
)

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


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_the_first_tags_are_read_of_every_kind_of_tiff(order, big):
    mark = {"<": b"II", ">": b"MM"}[order]
    entries = [(254, 4, 1), (256, 3, 700), (262, 3, 9), (270, 2, 0)]
    form, field = ("HHQ", "Q") if big else ("HHI", "I")
    head = mark + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 16))
    )
    body = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, kind, value in entries:
        number = struct.pack(order + {3: "H", 4: "I", 2: "B"}[kind], value)
        body += struct.pack(order + form, tag, kind, 1) + number.ljust(
            struct.calcsize(field), b"\0"
        )
    file = io.BytesIO(head.ljust(16, b"\0") + body)
    assert first_tags(file) == {254: 1, 256: 700, 262: 9}
    for size in range(len(file.getvalue())):
        first_tags(io.BytesIO(file.getvalue()[:size]))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "extra", [(), (0,), (1,), (2,), (0, 1), (0, 0, 1), (0, 0, 0, 2), 5 * (0,) + (1,)]
)
def test_alpha_that_is_in_the_colours_is_found_among_all_extra_bands(order, big, extra):
    mark, room = {"<": b"II", ">": b"MM"}[order], 8 if big else 4
    start = (43, 8, 0, 16) if big else (42, 8)
    head = mark + struct.pack(order + ("HHHQ" if big else "HI"), *start)
    values = struct.pack(f"{order}{len(extra)}H", *extra)
    size = len(head) + struct.calcsize("<QHHQ8s" if big else "<HHHI4s")
    inline = values.ljust(room, b"\0")
    if len(values) > room:
        inline = struct.pack(order + ("Q" if big else "I"), size)
    entry = struct.pack(order + ("QHHQ" if big else "HHHI"), 1, 338, 3, len(extra)) + inline
    data = head + entry + (values if len(values) > room else b"")
    assert alpha_is_multiplied(io.BytesIO(data)) == (1 in extra)
    for cut in range(len(data)):
        alpha_is_multiplied(io.BytesIO(data[:cut]))


@pytest.mark.parametrize("data", [b"", b"II", b"\x89PNG\r\n\x1a\n" + b"\0" * 20])
def test_what_is_no_tiff_has_no_tags(data):
    assert first_tags(io.BytesIO(data)) == {}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("ending", ["png", "odd", "jpg"])
def test_the_first_tags_of_a_picture_are_its_exifs(order, ending):
    data = exif(order, 1)
    start, head = {
        "png": (PNG, struct.pack(">I4s", len(data), b"eXIf")),
        "odd": (PNG, struct.pack(">I4s6s", len(data) + 6, b"eXIf", b"Exif")),
        "jpg": (JPEG + b"\xff\xe0\0\2", b"\xff\xe1" + struct.pack(">H6s", len(data) + 8, b"Exif")),
    }[ending]
    assert first_tags(io.BytesIO(start + head + data)) == {0x8769: 22}
    assert first_tags(io.BytesIO(start)) == {}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_exif_in_a_pngs_text_is_exif(order, packed):
    """As ImageMagick wrote it before there was a chunk for it."""
    held = b"Exif\0\0" + exif(order, 65535)
    text = b"\nexif\n%8d\n" % len(held) + held.hex().encode() + b"\n"
    kind, body = (b"zTXt", b"\0" + zlib.compress(text)) if packed else (b"tEXt", text)

    def head(body):
        return head_of(io.BytesIO(PNG + struct.pack(">I4s", len(body), kind) + body + bytes(4)))

    name = b"Raw profile type APP1\0"
    found = head(name + body)
    assert found.tags == {0x8769: 22}
    assert exif_colour_space(found.parts[b"eXIf"]) == 65535
    for broken in (name + body[:-9], name[:-3] + body, name + b"\0" + 9 * b"z", name):
        assert head(broken).tags in ({}, {0x8769: 22})
    assert head(b"Comment\0" + body).tags == {}


PICTURE = PNG + struct.pack(">I4s", 99, b"eXIf")


@given(st.binary(max_size=200), st.sampled_from([b"", PNG, PICTURE, JPEG]))
def test_any_file_has_tags_or_none(data, start):
    for mark in (b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
        alpha_is_multiplied(file := io.BytesIO(start + mark + data))
        for tag in first_tags(file):
            assert 0 <= tag <= 0xFFFF


@pytest.mark.parametrize("beyond", [2**31, 2**63, 2**64 - 1])
def test_tags_that_are_said_to_lie_beyond_a_file_are_none(tmp_path, beyond):
    path = tmp_path / "a.tif"
    path.write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, beyond))
    with path.open("rb") as file:
        assert first_tags(file) == {}
