"""The denoiser: a normalisation-free U-Net with HATA and GSRM (R2H-Diff, arXiv 2605.05688).

The paper's text was not available; the parts are rebuilt from its abstract and the works it
builds on, named at each class (blocks.py). Arrays are (N, channel, row, col).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from model.blocks import (
    HEAD_LIMIT,
    STEM_LIMIT,
    ChannelNorm,
    FeedForward,
    Gsrm,
    Hata,
    between,
    bounded,
)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of the network; the defaults have 0.59 M parameters."""

    bands: int = 31
    """Wavelengths of the cube."""
    target: Literal["residual", "cube"] = "residual"
    """What is diffused: the residual around the camera's Wiener lift, or (the paper) the cube."""
    widths: tuple[int, ...] = (16, 32, 64, 104)
    """Channels of each level, full resolution first."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Of the chain's five steps; see `model.diffusion.Schedule`."""
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
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(
                f"schedule must be 'linear' or 'cosine'; got {self.schedule!r}. Choose."
            )

    @property
    def guide_channels(self) -> int:
        """RGB alone, or RGB and its lift."""
        return 3 + self.bands if self.target == "residual" else 3

    @property
    def reduction(self) -> int:
        """Rows and columns must be a multiple of this."""
        return int(2 ** (len(self.widths) - 1))


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

    def forward(
        self, x: Tensor, guide: Tensor, time: Tensor, attention: Tensor | None = None
    ) -> Tensor:
        """x, guide (N, C, H, W), time (N, time_width) to (N, C, H, W); `Hata` has ``attention``."""
        x = self.gsrm(x, guide, time)
        if self.hata is not None:
            x = torch.addcmul(x, self.scales[0], self.hata(self.norms[0](x), attention))
        x = torch.addcmul(x, self.scales[1], self.feed(self.norms[1](x)))
        return between(x, self.bounded)


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
            features.append(x := between(x, self.bounded))
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

    @property
    def blocks(self) -> list[Block]:
        """All blocks, in the order in which features pass them."""
        passed = [*self.down_blocks, *self.bottom, *reversed(self.up_blocks)]
        return [block for block in passed if isinstance(block, Block)]

    def forward(
        self,
        state: Tensor,
        guide: list[Tensor],
        time: Tensor,
        attention: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """State (N, bands, H, W), time (N, time_width) to (N, bands, H, W).

        ``attention`` is that of each of `blocks`, or each has its own.
        """
        time = self.time(time)
        given = iter([None] * len(self.blocks) if attention is None else attention)
        x, skips = bounded(self.stem(state), STEM_LIMIT), []
        for level, (block, down) in enumerate(zip(self.down_blocks, self.downs, strict=True)):
            x = block(x, guide[level], time, next(given))
            skips.append(x)
            x = down(x)
        for block in self.bottom:
            x = block(x, guide[-1], time, next(given))
        for level in reversed(range(len(skips))):
            x = self.ups[level](x) + skips[level]
            x = self.up_blocks[level](x, guide[level], time, next(given))
        out: Tensor = self.head(bounded(x, HEAD_LIMIT))
        return out


def time_embedding(alpha_bar: Tensor, width: int) -> Tensor:
    """Sines and cosines of the log signal-to-noise ratio: (N,) to (N, width)."""
    half_log_snr = 0.5 * torch.log(alpha_bar / (1 - alpha_bar))
    frequencies = 2.0 ** torch.arange(width // 2).to(alpha_bar) * (torch.pi / 64)
    angles = half_log_snr[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
