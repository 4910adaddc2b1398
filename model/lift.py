"""What a camera sees of a spectrum, and what it cannot (Lin and Finlayson 2020; DDNM, 2022).

With S (3, bands) the camera and C (bands, bands) the second moment of natural spectra, the Wiener
lift ``G = C S^T (S C S^T)^-1`` is the best linear guess of a spectrum from its RGB and renders back
to it exactly: ``S G = I``. ``P = I - G S`` keeps what the camera cannot see: ``S P = 0``.
"""

import torch
from torch import Tensor


def wiener_lift(sensitivities: Tensor, prior: Tensor) -> Tensor:
    """G (..., bands, 3) of cameras (..., 3, bands) under the prior (bands, bands); float64 inside.

    Raises ValueError where the three channels of a camera are not independent.
    """
    s, c = sensitivities.double(), prior.double()
    seen = s @ c @ s.mT
    if not bool(seen.isfinite().all()) or bool((torch.linalg.cond(seen) > 1e12).any()):
        raise ValueError(
            "a camera's three channels must be linearly independent; got sensitivities that are "
            "not. Check the camera's table."
        )
    lift: Tensor = c @ s.mT @ torch.linalg.inv(seen)
    return lift.float()


def noise_filter(sensitivities: Tensor, prior: Tensor, variance: float) -> Tensor:
    """``S G_N = S C S^T (S C S^T + N)^-1`` (3, 3), float64, of a camera (3, bands).

    ``N = variance I`` is the noise of linear RGB in the prior's unit, squared. It makes of an RGB
    that was seen with noise the colour expected without: the Wiener lift of that is
    ``C S^T (S C S^T + N)^-1`` times what was seen. The prior is of second moments, about zero: so
    noise without end leaves nothing.
    """
    s, c = sensitivities.double(), prior.double()
    seen = s @ c @ s.mT
    noisy = seen + variance * torch.eye(3, dtype=torch.float64)
    likely: Tensor = torch.linalg.solve(noisy, seen, left=False)
    return likely


def apply_matrix(matrix: Tensor, image: Tensor) -> Tensor:
    """(..., A, B) applied to every pixel of (N, B, H, W): (N, A, H, W)."""
    applied: Tensor = matrix @ image.flatten(2)
    return applied.reshape(*applied.shape[:2], *image.shape[2:])


def unseen(image: Tensor, sensitivities: Tensor, lift: Tensor) -> Tensor:
    """``P image``: the part of (N, bands, H, W) that the camera cannot see."""
    return image - apply_matrix(lift, apply_matrix(sensitivities, image))
