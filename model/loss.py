"""L1 plus gradient consistency, the loss of R2H-Diff (weight 1.0 was its best)."""

from torch import Tensor


def loss(estimate: Tensor, truth: Tensor, gradient_weight: float = 1.0) -> Tensor:
    """Scalar: ``mean|e| + weight * (mean|d_row e| + mean|d_col e|)`` with e the error.

    Both (N, C, H, W). Differences of the error are the error of the differences, so this holds
    the gradients of the estimate to those of the truth.
    """
    error = estimate - truth
    value = error.abs().mean()
    if gradient_weight == 0:
        return value
    rows, cols = error.diff(dim=2).abs().mean(), error.diff(dim=3).abs().mean()
    return value + gradient_weight * (rows + cols)
