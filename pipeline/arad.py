"""ARAD_1K, the data of the NTIRE 2022 spectral challenge (Arad et al., CVPRW 2022).

``Train_Spec/ARAD_1K_0001.mat`` (MATLAB v7.3, which is HDF5: `cube`, `bands`, `norm_factor`),
``Train_RGB/ARAD_1K_0001.jpg`` and lists of names in ``split_txt``; 482 x 512 pixels, 31 bands.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.camera import Floats
from pipeline.errors import Refusal, parsed
from pipeline.reference import DataSet, Folder, NoLayout, Reference
from pipeline.rendering import Bytes

WAVELENGTHS = tuple(float(w) for w in range(400, 701, 10))
SIZE = (482, 512)
BRIGHTEST = 2.0
"""A cube of which a hundredth is brighter is in other units, as per cent."""
MOST = 2**26
"""Most values of an array: nine times a cube's."""
PREFIX = "ARAD_1K_"
_SPECTRA = ("Train_Spec", "Valid_Spec")
PHOTOGRAPHS = ("Train_RGB", "Valid_RGB", "Test_RGB")
_LISTS = {"train": "train_list.txt", "validation": "valid_list.txt", "test": "test_list.txt"}
_NEVER_PUBLISHED = (314, 340, 531)


def arad(root: str | Path) -> DataSet:
    """The data set in a folder. Splits are those of ``split_txt``, else the challenge's numbers.

    Raises Refusal where no cube is found.
    """
    folder = Folder(root)
    paths = inside(folder, _SPECTRA, ".mat")
    if not paths:
        fix = "Give the folder that holds Train_Spec/ARAD_1K_0001.mat, ..."
        raise NoLayout("an ARAD_1K root must hold Train_Spec with .mat files", root, fix)
    photographs = inside(folder, PHOTOGRAPHS, ".jpg")

    def read(name: str) -> Reference:
        cube, wavelengths = _cube(folder, paths[name])
        rgb = _photograph(folder, photographs[name]) if name in photographs else None
        if rgb is not None and rgb.shape[1:] != cube.shape[1:]:
            found = f"{name}: {rgb.shape[1:]} and {cube.shape[1:]}"
            raise Refusal("a photograph has its cube's size", found, "Get both again.")
        return Reference(name, cube, wavelengths, np.ones(cube.shape[1:], bool), rgb)

    return DataSet("arad", WAVELENGTHS, paths, splits(folder), read)


def inside(folder: Folder, parts: tuple[str, ...], ending: str) -> dict[str, str]:
    """Scenes and their files of one ending in some of the folders."""
    return {
        name[: -len(ending)]: f"{part}/{name}"
        for part in parts
        for name in folder.names(part)
        if name.startswith(PREFIX) and name.lower().endswith(ending)
    }


def splits(folder: Folder) -> dict[str, tuple[str, ...]]:
    """Names by use, as the lists say; of a list that is missing, as the challenge numbers them."""
    numbers = {
        "train": [n for n in range(1, 901) if n not in _NEVER_PUBLISHED],
        "validation": range(901, 951),
        "test": range(951, 1001),
    }
    there = folder.names("split_txt")
    return {
        use: _listed(folder.lines(f"split_txt/{file}"))
        if file in there
        else tuple(f"{PREFIX}{number:04d}" for number in numbers[use])
        for use, file in _LISTS.items()
    }


def _listed(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a list, each once; lists of files name their folders and endings too."""
    bare = (re.sub(r"^.*/|\.(mat|jpg)$", "", line, flags=re.IGNORECASE) for line in lines)
    return tuple(dict.fromkeys(bare))


def _cube(folder: Folder, path: str) -> tuple[Floats, tuple[float, ...]]:
    """Cube (31, height, width) and wavelengths; MATLAB's order in HDF5 is (31, width, height)."""
    if find_spec("h5py") is None:
        raise Refusal("ARAD_1K needs h5py", "not installed", "pip install 'r2h[datasets]'.")
    import h5py  # noqa: PLC0415 (an extra)

    rule, fix = "an ARAD_1K cube must be a MATLAB v7.3 file", "Get the file again."
    with parsed(rule, path, fix), folder.open(path) as file, h5py.File(file) as mat:
        cube = np.asarray(_own(mat, "cube"), np.float32)
        bands = np.asarray(_own(mat, "bands"), np.float64).ravel() if "bands" in mat else None
    wavelengths = WAVELENGTHS if bands is None else tuple(bands.tolist())
    if cube.ndim != 3 or len(cube) != len(WAVELENGTHS) or wavelengths != WAVELENGTHS:
        found = f"{path}: {cube.shape} at {list(wavelengths)} nm"
        raise Refusal("an ARAD_1K cube has 31 bands, 400 to 700 nm", found, fix)
    if not np.isfinite(cube).all():
        raise Refusal("an ARAD_1K cube has finite values", path, fix)
    if (bright := np.percentile(cube[:, ::4, ::4], 99)) > BRIGHTEST:
        found, fix = f"{path}: a hundredth above {bright:g}", "Divide it by what white is in it."
        raise Refusal("an ARAD_1K cube is reflectance, 0 to 1", found, fix)
    return np.ascontiguousarray(cube.transpose(0, 2, 1)), wavelengths


def _own(mat: Any, name: str) -> Any:
    """A data set of a file that lies in that file, and not in another that it names."""
    if name not in mat:
        raise ValueError(f"no `{name}`")
    # Asked of the link before it is followed.
    kind = mat.get(name, getclass=True, getlink=True).__name__
    if kind != "HardLink" or mat[name].external or mat[name].is_virtual:
        raise ValueError(f"`{name}` is in another file")
    if mat[name].size > MOST:
        raise ValueError(f"`{name}` has {mat[name].size} values")
    return mat[name]


def _photograph(folder: Folder, path: str) -> Bytes:
    try:
        with folder.open(path) as file:
            image = np.asarray(Image.open(file, formats=["JPEG"]).convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        rule = "an ARAD_1K photograph must be a readable JPEG"
        raise Refusal(rule, f"{path}: {error}", "Get the file again.") from None
    rgb: Bytes = image.transpose(2, 0, 1)
    return rgb
