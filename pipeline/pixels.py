"""A raster's pixels, from disk or from blocks that are fetched; by any thread."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from pipeline.blocks import Blocks
from pipeline.grid import Window
from pipeline.known import read_pixels
from pipeline.remote import Source


class Pixels:
    """A raster's pixels, of ``bands`` from 1; ``untiled`` where it is read from its top only.

    Colours may be ``multiplied`` by alpha. From disk, or from blocks that are fetched. Pickles to
    nothing open.
    """

    def __init__(
        self, source: Source, bands: tuple[int, int, int], untiled: bool, multiplied: bool
    ) -> None:
        self._source, self._bands = source, bands
        self._untiled, self._multiplied = untiled, multiplied
        self._local = threading.local()
        # Weak: a dataset closes with the thread that opened it.
        self._opened: WeakSet[DatasetReader] = WeakSet()
        self._blocks: Blocks | None = None
        self._begin = threading.Lock()

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) and where all three are known (height, width) of a window."""
        if self._untiled:
            self._source.tile()
        if self._source.local:
            with self._source.environment():
                return read_pixels(self._handle(), self._bands, window, self._multiplied)
        with self._begin:
            self._blocks = self._blocks or Blocks(self._source, self._bands, self._multiplied)
        return self._blocks.read(window)

    def _handle(self) -> DatasetReader:
        """One open dataset a thread: GDAL datasets are not thread-safe."""
        dataset = getattr(self._local, "dataset", None)
        if dataset is None or dataset.closed:
            dataset = self._local.dataset = self._source.open()
            self._opened.add(dataset)
        return dataset

    @property
    def size(self) -> int | None:
        """Bytes of the file; None where fsspec has no driver for the URI."""
        return self._source.size

    @property
    def retries(self) -> int:
        """How often a read had to be tried again."""
        return self._blocks.retries if self._blocks else 0

    def release(self) -> None:
        """Close what the thread that asks has open; a later read opens it again."""
        if (dataset := getattr(self._local, "dataset", None)) is not None:
            dataset.close()

    def close(self) -> None:
        """Close the file in every thread; a later read opens it again."""
        for dataset in list(self._opened):
            dataset.close()
        if self._blocks:
            self._blocks.close()

    def __reduce__(self) -> tuple[type[Pixels], tuple[Any, ...]]:
        return Pixels, (self._source, self._bands, self._untiled, self._multiplied)
