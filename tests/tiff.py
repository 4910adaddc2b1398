"""TIFF headers changed by hand, to what no writer here writes."""

import struct
from pathlib import Path

NEW_SUBFILE_TYPE, PHOTOMETRIC, ORIENTATION = 254, 262, 274
"""Tags."""
SEPARATED, YCBCR, ICCLAB, ITULAB = 5, 6, 9, 10
"""Values of PHOTOMETRIC."""


def patched(path: Path, tag: int, value: int) -> None:
    """Give a tag of a little-endian classic TIFF another first value, a LONG."""
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HII", data, entry + 2, 4, 1, value)
            break
    else:
        raise AssertionError(f"no tag {tag}")
    path.write_bytes(data)
