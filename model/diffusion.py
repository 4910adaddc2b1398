"""The diffusion: its schedule and a deterministic sampler. Pure functions of tensors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Schedule:
    """Share of signal left after each step, ``alpha_bar[0]`` the cleanest (Ho et al. 2020, eq. 4).

    The chain ends at noise, so its steps are the whole of it and not a sub-sampling of a long one.
    """

    alpha_bar: tuple[float, ...]

    @classmethod
    def linear(cls, steps: int = 5, first: float = 0.1, last: float = 0.99) -> "Schedule":
        """Betas evenly spaced from ``first`` to ``last``; of five steps 0.00065 is left."""
        betas = np.linspace(first, last, steps)
        return cls(tuple(float(a) for a in np.cumprod(1.0 - betas)))

    @classmethod
    def cosine(cls, steps: int = 5) -> "Schedule":
        """cos(pi / 2 * t / (T + 0.1))^2 after step t of T; of five steps 0.00095 is left.

        After Nichol and Dhariwal (2021), not their eq. 17: nothing offsets t at the clean end, and
        T + 0.1 leaves the last step some signal; over T it would be noise alone.
        """
        at = range(1, steps + 1)
        return cls(tuple(math.cos(math.pi / 2 * step / (steps + 0.1)) ** 2 for step in at))

    def __len__(self) -> int:
        return len(self.alpha_bar)

    def diffuse(self, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Noisy state of each sample at its step (N,) (Ho et al. 2020, eq. 4)."""
        a = torch.tensor(self.alpha_bar, dtype=clean.dtype, device=clean.device)[step][
            :, None, None, None
        ]
        return a.sqrt() * clean + (1 - a).sqrt() * noise

    def visited(self, steps: int) -> list[int]:
        """The steps a sampler of ``steps`` steps visits, noisiest first, evenly spread."""
        if not 1 <= steps <= len(self):
            raise ValueError(
                f"steps must be 1 to {len(self)}, the length of the trained schedule; "
                f"got {steps}. Choose a number in that range."
            )
        return [int(i) for i in np.linspace(len(self) - 1, 0, steps).round()]


def sample(
    denoise: Callable[[Tensor, int], Tensor], noise: Tensor, schedule: Schedule, steps: int
) -> Tensor:
    """Walk from noise to the clean state, adding none (DDIM, Song et al. 2021, eq. 12, eta = 0).

    ``denoise(state, step)`` estimates the clean state. Shapes are those of ``noise``.
    """
    visited = schedule.visited(steps)
    state = noise
    for step, following in pairwise(visited):
        clean = denoise(state, step)
        here, there = schedule.alpha_bar[step], schedule.alpha_bar[following]
        # sqrt(there) * clean + sqrt(1 - there) * (state - sqrt(here) * clean) / sqrt(1 - here)
        keep = ((1 - there) / (1 - here)) ** 0.5
        state = torch.add(state * keep, clean, alpha=there**0.5 - keep * here**0.5)
    return denoise(state, visited[-1])
