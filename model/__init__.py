"""R2H-Diff in torch, usable alone.

>>> import model
>>> reconstruct = model.Reconstructor(model.load(), sensitivities, scale)   # (3, 31) of a camera
>>> cube = reconstruct(rgb)   # linear (N, 3, T, T), white = 1
"""

from model.attention import View
from model.baseline import RootPolynomial
from model.checkpoint import CheckpointError, describe, load
from model.engine import Reconstructor
from model.network import NetworkConfig
from model.reconstructor import R2HDiff
from model.uncertainty import Calibrated, Uncertainty

__all__ = [
    "Calibrated",
    "CheckpointError",
    "NetworkConfig",
    "R2HDiff",
    "Reconstructor",
    "RootPolynomial",
    "Uncertainty",
    "View",
    "describe",
    "load",
]
