"""The denoiser: a normalisation-free U-Net with HATA and GSRM (R2H-Diff, arXiv 2605.05688).

The paper's text was not available; the parts are rebuilt from its abstract and the works it
builds on, named at each class. Arrays are (N, channel, row, col).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_LIMIT = 20.0
"""Bound of the features that the stems make of guide and state: 99.9 % of training's are below 9,
the highest of fifteen crops was 17."""
HEAD_LIMIT = 100.0
"""Bound of the features that the head reads: 99.9 % are below 45, the highest was 82. And of those
between, where they are bounded."""
OVERFLOW = 1e4
"""Where features between are cut: far beyond what a trained network makes of what it learnt, and
far enough below the end of float32 for a product of two."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of the network; the defaults have 0.58 M parameters."""

    bands: int = 31
    """Wavelengths of the cube."""
    target: Literal["residual", "cube"] = "residual"
    """What is diffused: the residual around the camera's Wiener lift, or (the paper) the cube."""
    widths: tuple[int, ...] = (16, 32, 64, 104)
    """Channels of each level, full resolution first."""
    bottom: int = 2
    """Blocks at the lowest level; every other level has one down and one up."""
    heads: tuple[int, ...] = (1, 2, 4, 8)
    """Attention heads of each level."""
    time_width: int = 32
    hata: bool = True
    gsrm: bool = True
    normalise: bool = False
    """LayerNorm over channels before each branch: the ablation of 'normalisation-free'."""
    bounded: bool = False
    """Whether features are bounded after every level of the guide and every block too: what keeps a
    young network from overflow (docs/decisions/0027). The shipped weights learnt without."""

    def __post_init__(self) -> None:
        levels = list(zip(self.widths, self.heads, strict=False))
        whole = len(levels) == len(self.widths) == len(self.heads) > 0
        if not whole or any(heads < 1 or width % heads for width, heads in levels):
            raise ValueError(
                "each level needs heads that divide its width; "
                f"got widths {self.widths} and heads {self.heads}. Give one of each a level."
            )
        if self.target not in ("residual", "cube"):
            raise ValueError(f"target must be 'residual' or 'cube'; got {self.target!r}. Choose.")

    @property
    def guide_channels(self) -> int:
        """RGB alone, or RGB and its lift."""
        return 3 + self.bands if self.target == "residual" else 3

    @property
    def reduction(self) -> int:
        """Rows and columns must be a multiple of this."""
        return int(2 ** (len(self.widths) - 1))


def bounded(x: Tensor, limit: float) -> Tensor:
    """Close to x where it is small, and within ``limit`` everywhere.

    The network multiplies features by features and does not normalise them: beyond the values
    that training held, its answer would grow as a high power of its input. Features are bounded,
    not what they are made of, so that the first and last layer stay linear in state and answer.
    """
    return limit * torch.tanh(x / limit)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


class Hata(nn.Module):
    """Hyperspectral-adaptive transposed attention: channels attend to channels.

    q, k, v by 1x1 then depthwise 3x3; q and k L2-normalised over the pixels, a learned temperature
    a head, softmax over channels, and a depthwise positional branch on v (Restormer's MDTA, MST++'s
    S-MSA).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.point = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        n, c, h, w = x.shape
        q, k, v = self.depth(self.point(x)).chunk(3, dim=1)
        by_head = (n, self.heads, c // self.heads, h * w)
        # Half precision sums over 65536 pixels lose the norm; these two run in fp32.
        q = F.normalize(q.reshape(by_head).float(), dim=-1)
        k = F.normalize(k.reshape(by_head).float(), dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        y = (attention.to(v.dtype) @ v.reshape(by_head)).reshape(n, c, h, w)
        out: Tensor = self.project(y + self.position(v))
        return out


class Gsrm(nn.Module):
    """Guided spectral refinement: features and guide together give a gate and a shift.

    ``x + scale * (x * tanh(gate) + shift)``; the time embedding moves the gate. ``refine=False``
    is the ablation: the guide is only added.
    """

    def __init__(self, width: int, time_width: int, refine: bool) -> None:
        super().__init__()
        self.refine = refine
        self.mix = nn.Conv2d(2 * width if refine else width, 2 * width if refine else width, 1)
        self.time = nn.Linear(time_width, 2 * width if refine else width)
        self.scale = nn.Parameter(torch.full((1, width, 1, 1), 0.5))

    def forward(self, x: Tensor, guide: Tensor, time: Tensor) -> Tensor:
        """x, guide (N, C, H, W), time (N, time_width) to (N, C, H, W)."""
        moved = self.time(time)[:, :, None, None]
        if not self.refine:
            return torch.addcmul(x, self.scale, self.mix(guide) + moved)
        gate, shift = (self.mix(torch.cat([x, guide], dim=1)) + moved).chunk(2, dim=1)
        return torch.addcmul(x, self.scale, torch.addcmul(shift, x, gate.tanh()))


class FeedForward(nn.Module):
    """1x1, depthwise 3x3, multiply the halves, 1x1 (NAFNet's SimpleGate)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(width, 2 * width, 1)
        self.depth = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        a, b = self.depth(self.point(x)).chunk(2, dim=1)
        out: Tensor = self.project(a * b)
        return out


class Block(nn.Module):
    """GSRM, then HATA and feed-forward as residual branches whose scales start small."""

    def __init__(self, config: NetworkConfig, level: int) -> None:
        super().__init__()
        width = config.widths[level]
        self.gsrm = Gsrm(width, config.time_width, config.gsrm)
        self.norms = nn.ModuleList(
            ChannelNorm(width) if config.normalise else nn.Identity() for _ in range(2)
        )
        self.hata = Hata(width, config.heads[level]) if config.hata else None
        self.feed = FeedForward(width)
        self.scales = nn.ParameterList(torch.full((1, width, 1, 1), 0.2) for _ in range(2))
        self.bounded = config.bounded

    def forward(self, x: Tensor, guide: Tensor, time: Tensor) -> Tensor:
        """x, guide (N, C, H, W), time (N, time_width) to (N, C, H, W)."""
        x = self.gsrm(x, guide, time)
        if self.hata is not None:
            x = torch.addcmul(x, self.scales[0], self.hata(self.norms[0](x)))
        x = torch.addcmul(x, self.scales[1], self.feed(self.norms[1](x)))
        return bounded(x, HEAD_LIMIT) if self.bounded else x.clamp(-OVERFLOW, OVERFLOW)


class Guide(nn.Module):
    """Features of the guide at every level; they do not depend on the step."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv2d(config.guide_channels, widths[0], 3, padding=1)
        self.feeds = nn.ModuleList(FeedForward(w) for w in widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.bounded = config.bounded

    def forward(self, guide: Tensor) -> list[Tensor]:
        """(N, guide channels, H, W) to one (N, width, H / 2^i, W / 2^i) a level."""
        x = bounded(self.stem(guide), STEM_LIMIT)
        features = []
        for level, feed in enumerate(self.feeds):
            x = x + feed(x) if level == 0 else (y := self.downs[level - 1](x)) + feed(y)
            x = bounded(x, HEAD_LIMIT) if self.bounded else x.clamp(-OVERFLOW, OVERFLOW)
            features.append(x)
        return features


class Denoiser(nn.Module):
    """One step: noisy state and guide features to the estimate of the clean state."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths, pairs = config.widths, list(pairwise(config.widths))
        self.time = nn.Sequential(
            nn.Linear(config.time_width, config.time_width),
            nn.SiLU(),
            nn.Linear(config.time_width, config.time_width),
        )
        self.stem = nn.Conv2d(config.bands, widths[0], 1)
        self.down_blocks = nn.ModuleList(Block(config, level) for level in range(len(pairs)))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.bottom = nn.ModuleList(Block(config, len(pairs)) for _ in range(config.bottom))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.up_blocks = nn.ModuleList(Block(config, level) for level in range(len(pairs)))
        self.head = nn.Conv2d(widths[0], config.bands, 1)
        # A new network answers zero: in residual mode that is the lift itself.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, state: Tensor, guide: list[Tensor], time: Tensor) -> Tensor:
        """State (N, bands, H, W), time (N, time_width) to (N, bands, H, W)."""
        time = self.time(time)
        x, skips = bounded(self.stem(state), STEM_LIMIT), []
        for level, (block, down) in enumerate(zip(self.down_blocks, self.downs, strict=True)):
            x = block(x, guide[level], time)
            skips.append(x)
            x = down(x)
        for block in self.bottom:
            x = block(x, guide[-1], time)
        for level in reversed(range(len(skips))):
            x = self.up_blocks[level](self.ups[level](x) + skips[level], guide[level], time)
        out: Tensor = self.head(bounded(x, HEAD_LIMIT))
        return out


def time_embedding(alpha_bar: Tensor, width: int) -> Tensor:
    """Sines and cosines of the log signal-to-noise ratio: (N,) to (N, width)."""
    half_log_snr = 0.5 * torch.log(alpha_bar / (1 - alpha_bar))
    frequencies = 2.0 ** torch.arange(width // 2, device=alpha_bar.device) * (torch.pi / 64)
    angles = half_log_snr[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
