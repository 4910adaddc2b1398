"""The benchmarks by name: each in its owner's own layout, in a folder or at any fsspec URI."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from pipeline.arad import arad
from pipeline.cave import cave
from pipeline.errors import Refusal
from pipeline.harvard import harvard
from pipeline.reference import DataSet, Folder, NoLayout

Name = Literal["arad", "cave", "harvard"]


def open_dataset(name: Name, root: str | Path, calibrate: bool = False) -> DataSet:
    """The data set of that name in ``root``. ``calibrate`` is of Harvard alone.

    Raises Refusal where the root does not have its layout, or another is to be calibrated.
    """
    if calibrate and name != "harvard":
        raise Refusal("--calibrate is of Harvard's calib.txt", name, "Leave it out.")
    if name == "harvard":
        return harvard(root, calibrate)
    return arad(root) if name == "arad" else cave(root)


def recognised(root: str | Path) -> DataSet:
    """The data set whose layout a root has. Raises Refusal where it has none of them."""
    Folder(root)
    for opened in (arad, cave, harvard):
        with suppress(NoLayout):
            return opened(root)
    fix = "Give a folder with Train_Spec/ (ARAD_1K), *_ms/ (CAVE) or *.mat (Harvard)."
    raise Refusal("a data set's root must have the layout of one", root, fix)
