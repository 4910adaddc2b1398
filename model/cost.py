"""What a checkpoint is and what it costs to run."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.baseline import KIND as BASELINE
from model.baseline import RootPolynomial
from model.checkpoint import describe, load
from model.reconstructor import R2HDiff

SIDE = 256
"""Multiply-adds are counted at 1 x 3 x 256 x 256, as the field's tables do."""


def multiply_adds(model: R2HDiff, steps: int) -> float:
    """1e9 multiply-adds of one tile of 256 x 256, guidance and all ``steps`` together."""
    bands = model.config.bands
    rgb, noise = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, bands, SIDE, SIDE)
    sensitivities = torch.eye(3, bands)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(rgb, sensitivities, noise, steps)
    flops: int = counter.get_total_flops()
    return flops / 2e9


def cost(path: Path) -> dict[str, Any]:
    """Parameters, multiply-adds for all steps, steps, wavelengths and digest of a checkpoint.

    Of the baseline its degree and camera in place of steps.
    """
    about = describe(path)
    if about["kind"] == BASELINE:
        return _of_baseline(RootPolynomial.load(path), path, about)
    model = load(path)
    steps = len(model.schedule)
    return {
        "checkpoint": str(path),
        "parameters": sum(p.numel() for p in model.parameters()),
        "gmac_all_steps": round(multiply_adds(model, steps), 3),
        "steps": steps,
        "wavelengths_nm": about["wavelengths_nm"],
        "target": model.config.target,
        "digest": about["digest"],
        "training": about["training"],
    }


def _of_baseline(fitted: RootPolynomial, path: Path, about: dict[str, Any]) -> dict[str, Any]:
    terms = fitted.matrix.numel()
    return {
        "checkpoint": str(path),
        "parameters": terms,
        "gmac": round(terms * SIDE**2 / 1e9, 3),
        "degree": fitted.degree,
        "camera": fitted.camera,
        "wavelengths_nm": about["wavelengths_nm"],
        "digest": about["digest"],
        "training": about["training"],
    }
