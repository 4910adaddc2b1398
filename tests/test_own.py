from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Refusal
from pipeline.own import own

NM = (400.0, 500.0, 600.0)


def saved(folder: Path, **changes: object) -> Path:
    # Two spectrometers that overlap: wavelengths do not ascend.
    nm = np.array([380.0, 420, 470, 510, 560, 540, 600, 620, 940])
    cube = np.broadcast_to(nm, (4, 5, 9)) * np.arange(1.0, 5)[:, None, None]
    cube[..., -1] = np.nan  # where the air lets nothing through, and nobody asks
    np.savez(folder / "field.npz", **{"cube": cube, "wavelength_nm": nm, **changes})
    return folder


def test_spectra_are_read_between_bands_and_scaled_alike(tmp_path: Path) -> None:
    reference = own(saved(tmp_path), NM).read("field")
    assert (reference.cube.shape, reference.cube.dtype) == ((3, 4, 5), np.float32)
    expected = np.array(NM)[:, None, None] * np.broadcast_to(np.arange(1, 5)[:, None], (4, 5))
    np.testing.assert_allclose(reference.cube, expected / np.percentile(expected, 99), rtol=1e-6)
    assert reference.valid.all()


@pytest.mark.parametrize(
    "changes",
    [
        {"cube": np.ones((4, 5))},
        {"cube": np.full((4, 5, 9), np.nan)},
        {"cube": np.zeros((4, 5, 9))},
        {"wavelength_nm": np.arange(4)},
        {"wavelength_nm": np.array([410.0, 420, 470, 510, 560, 540, 600, 620, 940])},
    ],
)
def test_what_is_no_cube_is_refused(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(Refusal):
        own(saved(tmp_path, **changes), NM).read("field")


def test_a_gap_is_not_bridged_and_nodata_is_no_darkness(tmp_path: Path) -> None:
    gap = {"wavelength_nm": np.array([380.0, 420, 430, 435, 560, 540, 600, 620, 940])}
    with pytest.raises(Refusal, match="105 nm in field"):
        own(saved(tmp_path, **gap), NM).read("field")
    values = np.full((4, 5, 9), 200.0)
    values[2, 3] = -9999
    with pytest.raises(Refusal, match="no nodata"):
        own(saved(tmp_path, cube=values), NM).read("field")
    values[2, 3] = -50  # noise, where it is dark
    assert own(saved(tmp_path, cube=values), NM).read("field").cube[:, 2, 3].max() == 0


def test_broken_and_empty_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="none in"):
        own(tmp_path, NM)
    (tmp_path / "a.npz").write_bytes(b"PK no")
    with pytest.raises(Refusal, match=r"a\.npz"):
        own(tmp_path, NM).read("a")
