"""Networks of the toolbox of MST++ (Cai et al., CVPRW 2022), which is not part of R2H.

Their authors' code: github.com/caiyuanhao1998/MST-plus-plus, predict_code/architecture.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from torch import nn

from benchmarks.case import Case, Skip

SOURCE = "github.com/caiyuanhao1998/MST-plus-plus, predict_code/architecture/"


def toolbox(folder: str, file: str, name: str) -> Callable[[], nn.Module]:
    """What makes the network of a file, with fresh weights.

    Raises Skip where its code is not in the folder.
    """
    if not folder or not (Path(folder) / file).is_file():
        fix = "put it into a folder and name that with --mst or R2H_MST"
        raise Skip(f"no code of {name}, {SOURCE}{file}: {fix}")
    if folder not in sys.path:
        sys.path.append(folder)
    make: Callable[[], nn.Module] = getattr(import_module(Path(file).stem), name)
    return make


def mst_plus_plus(case: Case) -> nn.Module:
    """The network with fresh weights, which take the same time as trained ones."""
    return toolbox(case.mst, "MST_Plus_Plus.py", "MST_Plus_Plus")().eval()
