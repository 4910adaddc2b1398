"""A cube and what lies beside it, read only and at any scale: what reports and viewers draw from.

Every layer beside the cube is optional. One that is absent is None or not listed, never made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline import layers
from pipeline.chunks import AGAIN
from pipeline.companion import Companion, refuse_another
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window, regions
from pipeline.group import open_group
from pipeline.layer import Indices, Layer, Reduce
from pipeline.layout import ARRAY
from pipeline.overview import level_of, owned

MOST_CHUNKS = 256
"""That one picture or one region reads, at most, where a person waits: about a second's work."""
FLAGS = {bit: name.replace("_", " ") for name, bit in layers.FLAGS.items()}
"""Bits of the layer `quality`."""
BESIDE = ("uncertainty", "closure", "quality", "valid")
"""Names of the layers beside a cube that are read here."""


class CubeView:
    """A cube, its overviews and the layers beside it. Rows and columns are the cube's own."""

    def __init__(
        self, cube: SpectralCube, levels: dict[int, Layer], beside: dict[str, dict[int, Layer]]
    ) -> None:
        self.cube, self.levels = cube, levels
        """By factor, ascending; 1 is the cube itself."""
        self.beside = beside
        """Likewise of those of BESIDE that there are."""
        self.aux = {name: found[1] for name, found in beside.items()}
        """Their finest."""

    @classmethod
    def open(cls, uri: str) -> CubeView:
        """Open a cube and what its companion holds. Raises Refusal for none, or another's."""
        cube = SpectralCube.open(uri)
        sealed = cube.sealed  # asked once: it reads
        array = cube.group[ARRAY]
        assert isinstance(array, zarr.Array)
        found: dict[str, dict[int, Layer]] = {"": {1: Layer(array)}}
        own = owned(cube.height, cube.width, cube.chunk)
        for name, beside in _beside(cube):
            of, factor = level_of(name) or (name, 1)
            # Coarser ones are empty until the seal.
            if of in ("", *BESIDE) and (sealed or factor == 1 or (of == "" and factor in own)):
                found.setdefault(of, {})[factor] = Layer(beside, factor)
        for layer in (layer for levels in found.values() for layer in levels.values()):
            _refuse_other_shape(cube, layer)
        for factor, flags in found.get("quality", {}).items():
            told = found.get("closure", {}).get(factor)
            found["quality"][factor] = replace(flags, known=told)
        found = {name: dict(sorted(made.items())) for name, made in found.items() if 1 in made}
        return cls(cube, found.pop(""), found)

    @property
    def first(self) -> tuple[int, int]:
        """The scene's row and column of the cube's first pixel."""
        row, col, *_ = self.cube.settings.get("window") or (0, 0)
        return int(row), int(col)

    @property
    def begins(self) -> str:
        """In words, where rows and columns begin, if not where the scene's do; else empty."""
        row, col = self.first
        said = f"Rows and columns are the cube's, which begins at row {row}, column {col} of the "
        return f"{said}scene." if row or col else ""

    @property
    def whole(self) -> Window:
        """All of the cube."""
        return Window(0, 0, self.cube.height, self.cube.width)

    @property
    def widest(self) -> int:
        """Side in pixels of a square that a picture surely can show."""
        coarsest = self.levels[max(self.levels)]
        side = int(MOST_CHUNKS**0.5) - 1
        return side * int(coarsest.array.chunks[-1]) * coarsest.factor

    def picture(
        self,
        window: Window,
        shape: tuple[int, int],
        reduce: Reduce,
        aux: str | None = None,
        most: float | None = None,
    ) -> NDArray[Any]:
        """The window at a shape in pixels, through reduce: (j, *shape).

        Of the cube, or of a layer beside it. The coarsest level that is no coarser than asked for
        is read, or the next of few enough chunks, ``most`` (none: as a person waits for); each
        pixel is the nearest of that level.
        """
        layer = self._layer(window, shape, aux, most)
        return layer.sample(*_nearest(window, shape, layer), reduce)

    def cost(self, window: Window, shape: tuple[int, int], aux: str | None = None) -> int:
        """Chunks that a picture reads."""
        layer = self._layer(window, shape, aux)
        return len(layer.chunks(*_nearest(window, shape, layer)))

    def pixel(self, row: int, col: int) -> dict[str, NDArray[Any] | None]:
        """A pixel's `spectrum` and `uncertainty` (wavelengths,), `closure` and `quality` (1,).

        NaN where the pixel is not valid, None where there is no such layer. Raises Refusal for a
        pixel outside the cube.
        """
        window = Window(row, col, 1, 1)
        window.refuse_outside(self.cube.height, self.cube.width)
        found = {name: layer.read(window)[:, 0, 0] for name, layer in self.aux.items()}
        spectrum = self.cube.read(window)[0][:, 0, 0]
        names = ("uncertainty", "closure", "quality")
        return {"spectrum": spectrum} | {name: found.get(name) for name in names}

    def region(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Mean and standard deviation (wavelengths,) of a window's valid pixels, and their number.

        NaN where there is none. Raises Refusal for a window of more than 256 chunks, and for one
        that leaves the cube.
        """
        window.refuse_outside(self.cube.height, self.cube.width)
        chunk = self.cube.chunk
        parts = list(_aligned(window, chunk))
        if len(parts) > MOST_CHUNKS:
            fix = "Choose a smaller one."
            raise Refusal(f"a region touches {MOST_CHUNKS} chunks at most", len(parts), fix)
        count, total, squares = 0, 0.0, 0.0
        for part in parts:
            values, valid = self.cube.read(part)
            known = values[:, valid].astype(np.float64)
            count += known.shape[1]
            total, squares = total + known.sum(axis=1), squares + np.square(known).sum(axis=1)
        if not count:
            nothing = np.full(len(self.cube.wavelengths), np.nan)
            return nothing, nothing, 0
        mean = np.asarray(total) / count
        return mean, np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 0)), count

    def _layer(
        self, window: Window, shape: tuple[int, int], aux: str | None, most: float | None = None
    ) -> Layer:
        most = MOST_CHUNKS if most is None else most
        levels = self.beside[aux] if aux else self.levels
        step = max(min(window.height / shape[0], window.width / shape[1]), 1)
        wanted = max(f for f in levels if f <= step)
        # The chunks of the first overviews are as many as the cube's own.
        coarser = [layer for factor, layer in levels.items() if factor >= wanted]
        fitting = (x for x in coarser if len(x.chunks(*_nearest(window, shape, x))) <= most)
        return next(fitting, coarser[-1])


def _beside(cube: SpectralCube) -> Iterator[tuple[str, zarr.Array[Any]]]:
    uri = Companion.uri(cube.uri)
    try:
        group = open_group(uri)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal("what lies beside a cube can be read", f"{uri} ({error})", AGAIN) from error
    refuse_another(uri, group, cube.settings)
    yield from group.arrays()


def _refuse_other_shape(cube: SpectralCube, layer: Layer) -> None:
    wanted = -(-cube.height // layer.factor), -(-cube.width // layer.factor)
    bands = layer.array.shape[:-2]
    if layer.shape != wanted or bands not in ((), (len(cube.wavelengths),)):
        found = f"{layer.array.basename} of {layer.array.shape}"
        fix = "It is another cube's: delete it, or make the cube again."
        raise Refusal(f"a layer beside the cube covers its {wanted} pixels", found, fix)


def _nearest(window: Window, shape: tuple[int, int], layer: Layer) -> tuple[Indices, Indices]:
    """Rows and columns of a layer that hold the centres of equal parts of a window."""
    starts, sizes = (window.row, window.col), (window.height, window.width)
    down, right = (
        np.minimum((start + (np.arange(count) + 0.5) * size / count) // layer.factor, limit - 1)
        for start, size, count, limit in zip(starts, sizes, shape, layer.shape, strict=True)
    )
    return down.astype(np.int64), right.astype(np.int64)


def _aligned(window: Window, chunk: int) -> Iterator[Window]:
    """A window cut along the borders of chunks."""
    row, col = window.row // chunk * chunk, window.col // chunk * chunk
    for part in regions(window.row_stop - row, window.col_stop - col, chunk, chunk):
        if inside := part.shifted(row, col).intersection(window):
            yield inside
