"""Harvard: 50 outdoor and indoor scenes of 1040 x 1392 (Chakrabarti and Zickler, CVPR 2011).

A MATLAB v5 file a scene: `ref` (height, width, 31), 420 to 720 nm, and `lbl` (height, width), 0
where the scene moved while it was taken; what is no number there says nothing, so it is not valid
either. Beside them ``calib.txt``, the sensitivity of the instrument at each wavelength. They lie in
the root, or in ``CZ_hsdb`` and ``CZ_hsdbi`` (indoor) there.
"""

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal
from pipeline.matfile import read_arrays
from pipeline.reference import DataSet, Folder, NoLayout, Reference

WAVELENGTHS = tuple(float(w) for w in range(420, 721, 10))
SIZE = (1040, 1392)
PARTS = ("", "CZ_hsdb", "CZ_hsdbi")
CALIBRATION = "calib.txt"


def harvard(root: str | Path, calibrate: bool = False) -> DataSet:
    """The data set in a folder. Scenes of its parts are ``part/name``.

    Its owner lists no splits. A scene is for validation here where the CRC-32 of its name is a
    multiple of five, else for training: whatever else is there, and whatever the root.

    Each cube is divided by its greatest valid value, for its unit is none; with ``calibrate`` by
    the sensitivities of ``calib.txt`` before. Raises Refusal where no scene is found, or
    calibration is asked for and not there.
    """
    folder = Folder(root)
    paths = {
        (path := f"{part}/{name}".lstrip("/"))[: -len(".mat")]: path
        for part in PARTS
        for name in folder.names(part)
        if name.lower().endswith(".mat") and not name.startswith("calib")
    }
    if not paths:
        fix = "Give the folder that holds img1.mat, ..., or CZ_hsdb and CZ_hsdbi."
        raise NoLayout("a Harvard root must hold .mat files", root, fix)

    def read(name: str) -> Reference:
        mat = _mat(folder, paths[name])
        with np.errstate(over="ignore", invalid="ignore"):
            cube = np.ascontiguousarray(mat["ref"].transpose(2, 0, 1), np.float32)
        if calibrate:
            cube /= calibration(folder, paths[name])[:, None, None].astype(np.float32)
        label = mat.get("lbl", np.ones(cube.shape[1:]))
        valid = (label != 0) & np.isfinite(label)
        if valid.shape != cube.shape[1:]:
            found = f"{name}: {valid.shape} and {cube.shape[1:]}"
            raise Refusal("a mask has its cube's size", found, "Get the file again.")
        if not np.isfinite(cube).all():
            fix = "Get the file again."
            raise Refusal("a Harvard scene has finite values", name, fix)
        top = cube.max(axis=0)[valid].max(initial=0)
        cube /= top if top > 0 else 1
        return Reference(name, cube, WAVELENGTHS, valid)

    kept = tuple(name for name in sorted(paths) if _fifth(name))
    splits = {"train": tuple(sorted({*paths} - {*kept})), "validation": kept}
    return DataSet("harvard", WAVELENGTHS, paths, splits, read)


def _fifth(name: str) -> bool:
    return crc32(name.rpartition("/")[2].encode()) % 5 == 0


def calibration(folder: Folder, path: str) -> NDArray[np.float64]:
    """Sensitivities (31,), 1 at the most, of the file in a scene's folder, else in the root."""
    for place in (path.rpartition("/")[0], ""):
        if CALIBRATION in folder.names(place):
            text = folder.lines(f"{place}/{CALIBRATION}".lstrip("/"))
            break
    else:
        raise Refusal("--calibrate needs calib.txt", path, "Put it beside the scenes.")
    try:
        values = np.array([float(number) for line in text for number in line.split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != len(WAVELENGTHS) or not (np.isfinite(values) & (values > 0)).all():
        fix = "Get the file again."
        raise Refusal("calib.txt has 31 positive numbers", f"{len(values)} of them", fix)
    shares: NDArray[np.float64] = values / values.max()
    return shares


def _mat(folder: Folder, path: str) -> dict[str, NDArray[Any]]:
    rule, fix = "a Harvard scene must be a MATLAB v5 file with `ref`", "Get the file again."
    try:
        with folder.open(path) as file:
            mat = read_arrays(file.read(), ("ref", "lbl"))
    except ValueError as error:
        raise Refusal(rule, f"{path}: {error}", fix) from error
    if "ref" not in mat or mat["ref"].ndim != 3 or mat["ref"].shape[2] != len(WAVELENGTHS):
        shape = mat["ref"].shape if "ref" in mat else "no `ref`"
        raise Refusal("a Harvard scene has `ref` (height, width, 31)", f"{path}: {shape}", fix)
    return mat
