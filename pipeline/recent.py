"""Blocks that are kept for a while: one budget for all rasters of a process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 256e6
"""Most bytes of decoded blocks that are kept."""
Key = tuple[int, int]
Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
Found = dict[Key, Future[Pixels]]


class Recent:
    """The blocks that were asked for last, of all rasters: a mosaic has thousands of sheets."""

    def __init__(self) -> None:
        self._lock, self._bytes = Lock(), 0
        self._kept: OrderedDict[tuple[int, Key], tuple[Future[Pixels], int]] = OrderedDict()

    def ask(self, raster: int, keys: list[Key], size: int) -> tuple[Found, Found]:
        """A raster's blocks, and those of them that nobody has asked for; ``size`` bytes each."""
        with self._lock:
            missing = {key: Future[Pixels]() for key in keys if (raster, key) not in self._kept}
            self._kept |= {(raster, key): (future, size) for key, future in missing.items()}
            self._bytes += size * len(missing)
            for key in keys:
                self._kept.move_to_end((raster, key))
            found = {key: self._kept[raster, key][0] for key in keys}
            while self._bytes > KEPT:
                self._bytes -= self._kept.popitem(last=False)[1][1]
        return found, missing

    def forget(self, raster: int, keys: Iterable[Key] | None = None) -> None:
        """Those of a raster's blocks that are named; all where none are."""
        with self._lock:
            named = self._kept if keys is None else [(raster, key) for key in keys]
            for each in list(named):
                if each[0] == raster and each in self._kept:
                    self._bytes -= self._kept.pop(each)[1]


recent = Recent()
