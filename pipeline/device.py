"""Tiles on their way to the device, and chunks back.

On CUDA each thread works in a stream of its own and copies through pinned memory, so that one
batch is copied while another is computed. Answers stay there: they are summed to chunks and
quantised where they are, and counts come back. On the CPU nothing is copied.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.closure import FAR, Closure
from pipeline.layout import NODATA, PEAK, SCALE
from pipeline.nearest import WHOLE
from pipeline.packing import not_finite

_idle: defaultdict[str, deque[torch.cuda.Stream]] = defaultdict(deque)
"""Streams that no thread works in: each has memory of its own, so they are used again."""


@contextmanager
def lane(device: str) -> Iterator[None]:
    """Work in a stream where no other thread does, where the device has streams.

    It waits, on the device, for what the device's default stream was given so far: there the model
    was made, and there tiles are summed.
    """
    if device == "cpu":
        yield
        return
    try:
        stream = _idle[device].popleft()
    except IndexError:
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.default_stream(device))
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        _idle[device].append(stream)


def free_memory(device: str) -> float:
    """Bytes that are free of a device's own memory, where tiles are summed; the CPU has none."""
    return float("inf") if device == "cpu" else torch.cuda.mem_get_info(device)[0]


def there(batch: Tensor, device: str | torch.device) -> Tensor:
    """A batch on the device; its copy may still be under way in this thread's stream."""
    if torch.device(device).type == "cpu":
        return batch
    return batch.pin_memory().to(device, non_blocking=True)


def computed(values: Tensor) -> Tensor:
    """Values, float32 and complete, where they are: other threads may read them."""
    values = values.float()
    if values.is_cuda:
        torch.cuda.current_stream(values.device).synchronize()
    return values


def held(values: Tensor) -> Tensor:
    """Values of another thread's stream, whose memory waits for what this thread does with them."""
    if values.is_cuda:
        values.record_stream(torch.cuda.current_stream(values.device))
    return values


def back(values: Tensor) -> NDArray[Any]:
    """Values in host memory, complete."""
    if not values.is_cuda:
        return values.numpy()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return host.numpy()


def settle(
    closure: Closure,
    values: Tensor,
    rgb: NDArray[np.float32],
    asked: NDArray[np.bool_],
    dtype: np.dtype[Any],
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """As `Closure.settle`, of values (wavelengths, h, w) on a device, where they are.

    The same counts to the bit: sums there are exact. Only spectra that are moved come back as such.
    """
    known = there(torch.from_numpy(asked), values.device)
    kept = torch.where(known, values, 0.0)
    if not kept.isfinite().all():
        raise not_finite()
    kept, whole = kept.clamp_(0, PEAK), dtype.kind == "u"
    if whole:
        kept.mul_(1 / SCALE).round_()
    off = _off(closure, kept, rgb, whole)
    likely = closure.likely(rgb)
    far = off if likely is rgb else _off(closure, kept, likely, whole)
    at = ((far > float(FAR)) & known).flatten().nonzero().squeeze(1)
    kept.masked_fill_(~known, float(NODATA[dtype.name]))
    # Counts above 32767 become negative in 16 bits with a sign, and are what they were without.
    stored = back(kept.int().to(torch.int16)).view(np.uint16) if whole else back(kept)
    apart = back(off)
    if closure.moves:
        closure.close(stored, apart, rgb, back(at), back(values.flatten(1)[:, at]))
    return stored, apart


def _off(closure: Closure, kept: Tensor, rgb: NDArray[np.float32], whole: bool) -> Tensor:
    """How far (h, w) the farthest band of ``rgb`` is from reflectance, or counts of it."""
    seen = there(torch.from_numpy(closure.sight.whole), kept.device)
    exact = kept.double().flatten(1)
    rendered = (seen @ exact) * SCALE if whole else seen @ ((exact + WHOLE) - WHOLE)
    colours = there(torch.from_numpy(rgb), kept.device).flatten(1)
    return (colours - rendered).float().abs().amax(dim=0).view(kept.shape[1:])


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the machine's or a device's, whoever raised it."""
    host = ("can't allocate memory", "Failed to allocate memory", "bad_alloc")
    said = (*host, "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in said)
