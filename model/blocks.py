"""The parts of a block: channel attention, guided refinement, feed-forward, and features' bounds.

Arrays are (N, channel, row, col).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_LIMIT = 20.0
"""Bound of the features that the stems make of guide and state: 99.9 % of training's are below 9,
the highest of fifteen crops was 17."""
HEAD_LIMIT = 100.0
"""Bound of the features that the head reads: 99.9 % are below 45, the highest was 82. And of those
`between`, where they are bounded."""
OVERFLOW = 1e4
"""Where features between are cut: far beyond what a trained network makes of what it learnt, and
far enough below the end of float32 for a product of two."""


def bounded(x: Tensor, limit: float) -> Tensor:
    """Close to x where it is small, and within ``limit`` everywhere.

    The network multiplies features by features and does not normalise them: beyond the values
    that training held, its answer would grow as a high power of its input. Features are bounded,
    not what they are made of, so that the first and last layer stay linear in state and answer.
    """
    return limit * torch.tanh(x / limit)


def between(x: Tensor, bound: bool) -> Tensor:
    """Features between the network's ends: bounded, or cut where they would overflow."""
    return bounded(x, HEAD_LIMIT) if bound else x.clamp(-OVERFLOW, OVERFLOW)


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
    S-MSA). What attends to what may also be given: that of a whole scene (docs/decisions/0034).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.point = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, attention: Tensor | None = None) -> Tensor:
        """(N, C, H, W) to the same shape, by ``attention`` (heads, c, c) or by that of each x."""
        n, c, h, w = x.shape
        by_head = (n, self.heads, c // self.heads, h * w)
        if attention is None:
            q, k, v = self.depth(self.point(x)).chunk(3, dim=1)
            # Half precision sums over 65536 pixels lose the norm; these two run in fp32.
            q = F.normalize(q.reshape(by_head).float(), dim=-1)
            k = F.normalize(k.reshape(by_head).float(), dim=-1)
            attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        else:
            point, depth = (conv.weight.chunk(3)[2] for conv in (self.point, self.depth))
            v = F.conv2d(F.conv2d(x, point), depth, padding=1, groups=c)
        y = (attention.to(v.dtype) @ v.reshape(by_head)).reshape(n, c, h, w)
        out: Tensor = self.project(y + self.position(v))
        return out

    @property
    def shape(self) -> tuple[int, int, int]:
        """(heads, c, c), of an attention."""
        c = len(self.position.weight) // self.heads
        return self.heads, c, c

    def products(self, x: Tensor) -> Tensor:
        """Of q with k, of q and of k with themselves: (heads, c, c + 2), over all pixels of x."""
        n, c, h, w = x.shape
        parts = self.depth(self.point(x)).chunk(3, dim=1)[:2]
        q, k = (part.reshape(n, self.heads, c // self.heads, h * w).float() for part in parts)
        squares = [(part * part).sum(dim=-1, keepdim=True) for part in (q, k)]
        return torch.cat([q @ k.transpose(-2, -1), *squares], dim=-1).sum(dim=0)

    def attention(self, products: Tensor) -> Tensor:
        """What attends to what (heads, c, c), by products that are summed over a scene."""
        q, k = products[..., -2:].sqrt().unbind(dim=-1)
        # The square of the floor that F.normalize puts under each norm.
        alike = products[..., :-2] / (q[..., :, None] * k[..., None, :]).clamp(min=1e-24)
        return (alike * self.temperature).softmax(dim=-1)


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
