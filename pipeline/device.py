"""Batches on their way to the device and back.

On CUDA each worker thread has a stream of its own and copies through pinned memory, so that one
batch is copied while another is computed. On the CPU nothing is copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import torch
from torch import Tensor

_thread = local()


@contextmanager
def lane(device: str) -> Iterator[None]:
    """Work in this thread's own stream, where the device has streams."""
    if device == "cpu":
        yield
        return
    if not hasattr(_thread, "stream"):
        _thread.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(_thread.stream):
        yield


def there(batch: Tensor, device: str) -> Tensor:
    """A batch on the device; its copy may still be under way in this thread's stream."""
    return batch if device == "cpu" else batch.pin_memory().to(device, non_blocking=True)


def back(values: Tensor) -> Tensor:
    """Values in host memory, float32 and complete."""
    if values.device.type == "cpu":
        return values.float()
    host = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
    host.copy_(values, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return host


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the machine's or a device's, whoever raised it."""
    said = ("can't allocate memory", "Failed to allocate memory", "bad_alloc")
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in said)
