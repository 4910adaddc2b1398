"""Which calibration a run takes: the one beside its weights, or none."""

from pathlib import Path
from typing import Any

import model
from flows.settings import TileSettings
from model.shipped import SHIPPED, named
from model.uncertainty import beside
from pipeline.errors import Refusal


def sigma_of(settings: TileSettings) -> model.Uncertainty | None:
    """The calibrated sigma that the settings ask for, None where they ask for none.

    Raises Refusal where none belongs to the checkpoint.
    """
    if settings.uncertainty == "none" and settings.samples == 1:
        return None
    checkpoint = checkpoint_of(settings)
    path = beside(checkpoint)
    fix = "Make it with `r2h calibrate`, or leave --uncertainty and --samples out."
    if not path.exists():
        raise Refusal("sigma needs a calibration beside the weights", path, fix)
    law = model.Uncertainty.load(path)
    if law.network != model.describe(checkpoint)["digest"]:
        raise Refusal("a calibration belongs to one checkpoint", f"{path} of another", fix)
    return law


def checkpoint_of(settings: TileSettings) -> Path:
    """The weights asked for, by path or by name, or the shipped ones."""
    return named(settings.checkpoint) if settings.checkpoint else SHIPPED


def facts_of(reconstructor: model.Reconstructor | model.Calibrated) -> dict[str, Any] | None:
    """Digest of the calibration, and how many sigma hold which share of errors."""
    if isinstance(reconstructor, model.Reconstructor):
        return None
    return {"calibration": reconstructor.digest, "factors": reconstructor.factors}
