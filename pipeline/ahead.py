"""Work done by threads ahead of its use, and handed over in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[In], Out], items: Iterable[In], depth: int
) -> Iterator[Out]:
    """The answers in order, ``depth`` of them being worked on while one is used."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def cores() -> int:
    """Cores that this process may use: those it may run on, or its container's share if less."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = Path("/sys/fs/cgroup/cpu.max")
    quota, _, period = (limit.read_text() if limit.is_file() else "max").partition(" ")
    share = -(-int(quota) // int(period)) if quota.isdigit() else here
    return min(here or 1, share or 1)
