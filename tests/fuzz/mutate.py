"""A file made wrong: a function of seeds and a number, so that what was found can be made again."""

import random
import struct

_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(seeds: list[bytes], number: int) -> bytes:
    """One of the seeds with one to eight changes."""
    draw = random.Random(number)
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        _change(data, seeds, draw)
    return bytes(data)


def _change(data: bytearray, seeds: list[bytes], draw: random.Random) -> None:
    if not data:
        return
    # Half of the changes are to headers.
    at = draw.randrange(min(len(data), draw.choice((64, 512, len(data)))))
    kind = draw.randrange(9)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == 2:
        data[at] = draw.randrange(256)
    elif kind == 3:
        order, form = draw.choice("<>"), draw.choice("HIQ")
        value = draw.choice(_NUMBERS) & (2 ** (8 * struct.calcsize(form)) - 1)
        data[at : at + struct.calcsize(form)] = struct.pack(order + form, value)
    elif kind == 4:
        del data[at : at + draw.randrange(1, 32)]
    elif kind == 5:
        data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 32)))
    elif kind == 6:
        data[at:at] = data[at : at + draw.randrange(1, 64)] * draw.choice((1, 2, 100))
    elif kind == 7:
        other = draw.choice(seeds)
        start = draw.randrange(len(other))
        data[at : at + 64] = other[start : start + 64]
    else:
        words = (b"nan", b"-1e999", b"null", b"[[[[[[[[", b'"', b"\0", "\u202e\U0001f600".encode())
        data[at:at] = draw.choice(words)
