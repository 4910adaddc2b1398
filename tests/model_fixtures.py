"""Small models and inputs that the model's tests share."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model import NetworkConfig, R2HDiff
from model.checkpoint import save

torch.set_num_threads(1)


def _multiplies_bfloat16() -> bool:
    if find_spec("openvino") is None:
        return False
    from openvino import Core  # noqa: PLC0415

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


NEEDS_BF16 = pytest.mark.skipif(
    not _multiplies_bfloat16(), reason="needs openvino and a processor that has BF16"
)
OPENVINO = pytest.param("openvino-bfloat16", marks=NEEDS_BF16)

BANDS = 7
WAVELENGTHS = torch.linspace(400, 700, BANDS, dtype=torch.float64)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def camera(seed: int = 0, bands: int = BANDS) -> Tensor:
    """(1, 3, bands): three bumps that overlap a little, each summing to 1."""
    rows = torch.rand(3, bands, generator=random(seed)) * 0.2
    rows += torch.eye(3).repeat_interleave(-(-bands // 3), dim=1)[:, :bands]
    return (rows / rows.sum(dim=1, keepdim=True))[None]


def prior(bands: int = BANDS) -> Tensor:
    """Second moment of spectra whose wavelengths a few bands apart are alike."""
    place = torch.arange(bands, dtype=torch.float64)
    return 0.1 * torch.exp(-((place[:, None] - place) ** 2) / 8) + 1e-3 * torch.eye(bands)


def small_model(seed: int = 0, **changes: Any) -> R2HDiff:
    """A fresh model of few channels; it answers zero as every fresh model does."""
    shape: dict[str, Any] = {"widths": (4, 8), "heads": (1, 2), "bottom": 1, "time_width": 8}
    torch.manual_seed(seed)
    return R2HDiff(NetworkConfig(bands=BANDS, **{**shape, **changes}), WAVELENGTHS, prior()).eval()


@torch.no_grad()
def awake(model: R2HDiff, seed: int = 0) -> R2HDiff:
    """The same model with a head that answers something, and a unit that is not one."""
    model.denoiser.head.weight.normal_(0, 0.3, generator=random(seed))
    model.denoiser.head.bias.normal_(0, 0.3, generator=random(seed + 1))
    model.deviation.fill_(0.3)
    return model


def small_checkpoint(path: Path) -> Path:
    """A model of few channels and 31 wavelengths in a file, as a run loads it."""
    torch.manual_seed(0)
    config = NetworkConfig(widths=(4, 8), heads=(1, 2), bottom=1, time_width=8)
    model = awake(R2HDiff(config, torch.arange(400, 701, 10, dtype=torch.float64), prior(31)))
    model.deviation.fill_(0.02)
    save(model, path, {})
    return path


def tile(count: int = 2, side: int = 8, channels: int = 3, seed: int = 0) -> Tensor:
    """Values in [0, 1), (count, channels, side, side)."""
    return torch.rand(count, channels, side, side, generator=random(seed))


def start_noise(count: int = 2, side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, BANDS, side, side, generator=random(seed))
