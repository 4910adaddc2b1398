"""Data sets by name, each in its own layout, in a folder or at any fsspec URI."""

from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from pipeline.arad import arad
from pipeline.cave import WAVELENGTHS, cave
from pipeline.errors import Refusal
from pipeline.harvard import harvard
from pipeline.own import own
from pipeline.reference import DataSet, Folder, NoLayout

Name = Literal["arad", "cave", "harvard", "own"]


def open_dataset(name: Name, root: str | Path, calibrate: bool = False) -> DataSet:
    """The data set of that name in ``root``. ``calibrate`` is of Harvard alone.

    Raises Refusal where the root does not have its layout, or another is to be calibrated.
    """
    if calibrate and name != "harvard":
        raise Refusal("--calibrate is of Harvard's calib.txt", name, "Leave it out.")
    if name == "harvard":
        return harvard(root, calibrate)
    if name == "own":
        return own(root, WAVELENGTHS)
    return arad(root) if name == "arad" else cave(root)


def recognised(root: str | Path) -> DataSet:
    """The data set whose layout a root has. Raises Refusal where it has none of them."""
    Folder(root)
    for name in get_args(Name):
        with suppress(NoLayout):
            return open_dataset(name, root)
    fix = "Give a folder with Train_Spec/ (ARAD_1K), *_ms/ (CAVE), *.mat (Harvard) or *.npz (own)."
    raise Refusal("a data set's root must have the layout of one", root, fix)
