"""Archives that are none, cut, or of other things are refused in a line, whoever reads them."""

from contextlib import suppress

import numpy as np
import pytest

from pipeline.errors import Refusal
from pipeline.light import measured_lights
from pipeline.materials import measured_reflectances
from pipeline.own import own

NM = tuple(float(nm) for nm in range(400, 701, 10))
RANDOM = np.random.default_rng(0)


def whole(path):
    cube = RANDOM.random((8, 8, 31)).astype(np.float32)
    np.savez(path, lamps=np.ones((2, 31)), cube=cube, wavelength_nm=np.array(NM))
    return path.read_bytes()


def broken(data):
    """Cut, emptied, and with bytes turned over."""
    yield b""
    yield from (data[:size] for size in (10, len(data) // 2, len(data) - 30))
    for at in RANDOM.integers(0, len(data), 40):
        yield data[:at] + bytes([data[at] ^ 255, 0]) + data[at + 2 :]


@pytest.mark.parametrize(
    "read",
    [
        lambda path: measured_lights(path, "lamps"),
        lambda path: measured_reflectances(path, NM),
        lambda path: own(path.parent, NM).read("a").cube,
    ],
)
def test_a_broken_archive_is_refused(tmp_path, read):
    path = tmp_path / "a.npz"
    for data in broken(whole(path)):
        path.write_bytes(data)
        with suppress(Refusal):  # and nothing else
            read(path)
    path.write_bytes(b"")
    with pytest.raises(Refusal, match="npz"):
        read(path)


def test_spectra_of_another_length_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", paints=np.full((5, 30), 0.5), wavelength_nm=np.array(NM))
    with pytest.raises(Refusal, match="spectra of 30 values"):
        measured_reflectances(tmp_path / "a.npz", NM)


@pytest.mark.parametrize("held", [{"wavelength_nm": 400.0}, {"wavelength_nm": np.array(NM)}])
def test_an_archive_of_no_table_is_refused(tmp_path, held):
    np.savez(tmp_path / "a.npz", **held)
    with pytest.raises(Refusal, match="npz"):
        measured_reflectances(tmp_path / "a.npz", NM)
