"""Blocks that are kept for a while: one budget for all rasters of a process."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from concurrent.futures import Future
from itertools import islice
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
        self._of: defaultdict[int, set[Key]] = defaultdict(set)

    def ask(self, raster: int, keys: list[Key], size: int) -> tuple[Found, Found]:
        """A raster's blocks, and those of them that nobody has asked for; ``size`` bytes each."""
        with self._lock:
            missing = {key: Future[Pixels]() for key in keys if (raster, key) not in self._kept}
            self._kept |= {(raster, key): (future, size) for key, future in missing.items()}
            self._of[raster] |= missing.keys()
            self._bytes += size * len(missing)
            for key in keys:
                self._kept.move_to_end((raster, key))
            found = {key: self._kept[raster, key][0] for key in keys}
            for place in self._too_many():
                self._drop(*place)
        return found, missing

    def _too_many(self) -> list[tuple[int, Key]]:
        """The oldest, but those that are being fetched and the last: it may be larger than all."""
        much, old = self._bytes - KEPT, list[tuple[int, Key]]()
        for place, (future, size) in islice(self._kept.items(), len(self._kept) - 1):
            if much <= 0:
                break
            if future.done():
                old.append(place)
                much -= size
        return old

    def forget(self, raster: int, keys: Iterable[Key] | None = None) -> None:
        """Those of a raster's blocks that are named; all where none are."""
        with self._lock:
            there = self._of[raster]
            for key in list(there if keys is None else there & {*keys}):
                self._drop(raster, key)
            if not there:
                del self._of[raster]

    def _drop(self, raster: int, key: Key) -> None:
        self._bytes -= self._kept.pop((raster, key))[1]
        self._of[raster].discard(key)


recent = Recent()
