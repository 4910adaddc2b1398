"""Blocks of a raster behind a network: each is fetched once and shared by the threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Lock

import numpy as np
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.known import read_pixels
from pipeline.reach import patiently
from pipeline.recent import Found, Key, Pixels, recent
from pipeline.redact import redact
from pipeline.remote import Source

_numbers = count()


class Blocks:
    """Windows of a remote raster, put together from its own blocks.

    GDAL would fetch a block for each thread anew, and beyond it when it takes reads for
    sequential; so each read opens the raster afresh, whose header GDAL remembers.
    """

    def __init__(self, source: Source, bands: tuple[int, int, int], multiplied: bool) -> None:
        self.retries = 0
        self._source, self._bands, self._multiplied = source, bands, multiplied
        self._file, self._number = Lock(), next(_numbers)
        self._open: DatasetReader | None = None
        with source.open() as dataset:
            self._size = Window(0, 0, dataset.height, dataset.width)
            self._rows, self._cols = dataset.block_shapes[bands[0] - 1]
            each = 3 * np.dtype(dataset.dtypes[0]).itemsize + 1
        self._bytes = self._rows * self._cols * each

    def read(self, window: Window) -> Pixels:
        """Values (3, height, width) and mask (height, width) of a window inside."""
        found = self._found(window)
        first = next(iter(found.values())).result()
        values = np.empty((3, window.height, window.width), first[0].dtype)
        mask = np.empty((window.height, window.width), np.bool_)
        for key, block in found.items():
            place = self._window(key, key)
            shared = place.intersection(window)
            assert shared is not None, "a block that was looked for touches the window"
            to, of = shared.relative_to(window).slices, shared.relative_to(place).slices
            pixels, valid = block.result()
            values[:, *to], mask[to] = pixels[:, *of], valid[of]
        return values, mask

    def close(self) -> None:
        """Forget all blocks and close what is open."""
        recent.forget(self._number)
        with self._file:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _found(self, window: Window) -> Found:
        """The blocks a window touches, those that nobody has asked for yet fetched here."""
        keys = [
            (row, col)
            for row in range(window.row // self._rows, -(-window.row_stop // self._rows))
            for col in range(window.col // self._cols, -(-window.col_stop // self._cols))
        ]
        found, missing = recent.ask(self._number, keys, self._bytes)
        for first, last in _rectangles(set(missing)):
            self._fetch(first, last, missing)
        return found

    def _fetch(self, first: Key, last: Key, wanted: Found) -> None:
        area = self._window(first, last)
        try:
            values, mask = self._patiently(area)
            for row in range(first[0], last[0] + 1):
                for col in range(first[1], last[1] + 1):
                    rows, cols = self._window((row, col), (row, col)).relative_to(area).slices
                    part = values[:, rows, cols].copy(), mask[rows, cols].copy()
                    wanted[row, col].set_result(part)
        except BaseException as error:
            lacking = {key: future for key, future in wanted.items() if not future.done()}
            recent.forget(self._number, lacking)
            for future in lacking.values():
                future.set_exception(error)
            raise

    def _patiently(self, area: Window) -> Pixels:
        try:
            return patiently(lambda: self._attempt(area), self._again)
        except (RasterioIOError, Refusal) as error:
            # Opened before: what is refused now is out of reach. Its text, and that of its cause,
            # may hold a signed URL.
            reason = redact(f"{self._source.uri} at {area}: {error.__cause__ or error}")
            raise OSError(reason) from None

    def _attempt(self, area: Window) -> Pixels:
        with self._source.environment(), self._dataset() as dataset:
            return read_pixels(dataset, self._bands, area, self._multiplied)

    def _again(self) -> None:
        self.retries += 1
        self._source.forget()

    @contextmanager
    def _dataset(self) -> Iterator[DatasetReader]:
        if not self._source.streams:
            with self._source.open() as dataset:
                yield dataset
            return
        with self._file:
            self._open = self._open or self._source.open()
            try:
                yield self._open
            except RasterioIOError:
                self._close()
                raise

    def _window(self, first: Key, last: Key) -> Window:
        rows, cols = last[0] - first[0] + 1, last[1] - first[1] + 1
        start = (first[0] * self._rows, first[1] * self._cols)
        whole = Window(*start, rows * self._rows, cols * self._cols).intersection(self._size)
        assert whole is not None, "a block touches its raster"
        return whole


def _rectangles(keys: set[Key]) -> Iterator[tuple[Key, Key]]:
    """First and last block of disjoint rectangles that hold all blocks and no other."""
    while keys:
        row, col = min(keys)
        last_col = col
        while (row, last_col + 1) in keys:
            last_col += 1
        cols, last_row = range(col, last_col + 1), row
        while all((last_row + 1, c) in keys for c in cols):
            last_row += 1
        keys -= {(r, c) for r in range(row, last_row + 1) for c in cols}
        yield (row, col), (last_row, last_col)
