"""The network's products in bfloat16; lift, projections and what they are added to stay float32."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model.reconstructor import R2HDiff


def compute_in_bfloat16(model: R2HDiff) -> R2HDiff:
    """Let the network alone multiply in bfloat16: the lift and its inverse would not bear it.

    Changes the model and returns it, to be run on the device where it lies.
    """
    device = model.prior.device.type
    for part in (model.guide, model.denoiser):
        part.forward = _rounded(part.forward, device)  # type: ignore[method-assign]
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _rounded(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        # No cache of rounded weights: up to torch 2.9 it is one for all threads, and so for streams
        # that do not wait for each other.
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):
            answer = forward(*inputs)
        return answer.float() if isinstance(answer, Tensor) else answer

    return run
