"""MST++ (Cai et al., CVPRW 2022) from a copy of its authors' code, which is not part of R2H."""

import sys
from importlib import import_module
from pathlib import Path

from torch import nn

from benchmarks.case import Case, Skip

_FILE = "MST_Plus_Plus.py"
SOURCE = "github.com/caiyuanhao1998/MST-plus-plus, predict_code/architecture/" + _FILE


def mst_plus_plus(case: Case) -> nn.Module:
    """The network with fresh weights, which take the same time as trained ones.

    Raises Skip where its code is not in ``case.mst``.
    """
    if not case.mst or not (Path(case.mst) / _FILE).is_file():
        raise Skip(f"no MST++ code: put {SOURCE} into a folder and name it with --mst or R2H_MST")
    sys.path.append(case.mst)
    network: nn.Module = import_module(Path(_FILE).stem).MST_Plus_Plus()
    return network.eval()
