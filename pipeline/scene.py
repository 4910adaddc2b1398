"""An RGB raster behind a URI, read window by window."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlparse
from weakref import WeakSet

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader

from pipeline.bands import declared_white, refuse_not_rgb, rgb_bands, shared_dtype
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.guard import beside, refuse_bomb, refuse_elsewhere, refuse_hidden

# Set for the process, not in rasterio.Env: an Env that one thread leaves resets it for all.
os.environ.setdefault("GDAL_CACHEMAX", "256")  # MB

DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG")
_silence = threading.Lock()


class Scene(Protocol):
    """One RGB raster."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixel values."""

    @property
    def transform(self) -> Affine | None:
        """Pixel corner (col, row) to map (x, y); None when there is none."""

    @property
    def crs_wkt(self) -> str | None:
        """Coordinate reference system; None when there is none."""

    @property
    def declared_white(self) -> float | None:
        """The pixel value that the raster itself says is 1; None when it says nothing."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) in `dtype` and valid (height, width) of a window inside."""


@dataclass(frozen=True, slots=True)
class RasterScene:
    """A scene in a file that rasterio reads: GeoTIFF, COG, JPEG 2000, PNG or JPEG.

    Safe to share between threads and to pickle. Ground control points and RPCs are ignored.
    """

    uri: str
    bands: tuple[int, int, int]
    height: int
    width: int
    dtype: np.dtype[Any]
    transform: Affine | None
    crs_wkt: str | None
    declared_white: float | None
    driver: str
    _handles: _Handles = field(repr=False, compare=False)

    @classmethod
    def open(cls, uri: str, bands: tuple[int, int, int] | None = None) -> RasterScene:
        """Read the header. `bands` are red, green and blue, from 1. Raises Refusal if not RGB."""
        with _open(uri) as dataset, _readable(uri):
            refuse_not_rgb(dataset)
            refuse_bomb(dataset, _local_path(uri))
            crs_wkt = dataset.crs.to_wkt() if dataset.crs else None
            refuse_elsewhere(crs_wkt, uri)
            chosen = bands or rgb_bands(dataset)
            return cls(
                uri=uri,
                bands=chosen,
                height=dataset.height,
                width=dataset.width,
                dtype=shared_dtype(dataset, chosen),
                transform=None if dataset.transform.is_identity else dataset.transform,
                crs_wkt=crs_wkt,
                declared_white=declared_white(dataset, chosen),
                driver=dataset.driver,
                _handles=_Handles(uri),
            )

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) and valid (height, width) of a window inside the scene.

        A pixel is valid where rasterio's dataset mask is not 0 and all three bands are finite.
        """
        part = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            with _environment(self.uri):
                dataset = self._handles.get()
                values: NDArray[Any] = dataset.read(self.bands, window=part)
                valid: NDArray[np.bool_] = dataset.dataset_mask(window=part) != 0
        except RasterioIOError as error:
            self._refuse_damaged(window, error)
            raise
        return values, valid & np.isfinite(values).all(axis=0)

    def _refuse_damaged(self, window: Window, error: RasterioIOError) -> None:
        # A remote read may succeed at another try; a local file that cannot be read is damaged.
        if _local_path(self.uri):
            found = f"{self.uri} at {window} ({error.__cause__ or error})"
            raise Refusal("the input is whole", found, "Get the file again.") from error

    @property
    def header(self) -> dict[str, Any]:
        """What the file's header says, and the SHA-256 of it, for provenance."""
        local = _local_path(self.uri)
        facts = {
            "name": local.name if local else PurePosixPath(urlparse(self.uri).path).name,
            "driver": self.driver,
            "height": self.height,
            "width": self.width,
            "dtype": self.dtype.name,
            "bands": list(self.bands),
            "crs": self.crs_wkt,
            "transform": list(self.transform)[:6] if self.transform else None,
            "bytes": local.stat().st_size if local else None,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return {**facts, "digest": digest}

    @property
    def files(self) -> list[str]:
        """The file, and those beside it that belong to it; where they are remote, the URI."""
        local = _local_path(self.uri)
        return beside(local) if local else [self.uri]

    def close(self) -> None:
        """Close the file in every thread; a later read opens it again."""
        self._handles.close()


def scale_windows(height: int, width: int) -> list[Window]:
    """At most 16 windows, at most 256 x 256, spread evenly over the scene, row-major."""
    return [
        Window(row, col, min(256, height), min(256, width))
        for row in _spread(height)
        for col in _spread(width)
    ]


def _spread(size: int) -> list[int]:
    count = min(4, -(-size // 256))
    return [i * (size - 256) // (count - 1) for i in range(count)] if count > 1 else [0]


class _Handles:
    """One open dataset a thread: GDAL datasets are not thread-safe. Pickles to none open."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._local = threading.local()
        # Weak: a dataset closes with the thread that opened it.
        self._opened: WeakSet[DatasetReader] = WeakSet()

    def get(self) -> DatasetReader:
        dataset = getattr(self._local, "dataset", None)
        if dataset is None or dataset.closed:
            dataset = self._local.dataset = _open(self._uri)
            self._opened.add(dataset)
        return dataset

    def close(self) -> None:
        for dataset in list(self._opened):
            dataset.close()

    def __reduce__(self) -> tuple[type[_Handles], tuple[str]]:
        return _Handles, (self._uri,)


def _open(uri: str) -> DatasetReader:
    path = _local_path(uri)
    if path is not None and not (path.is_file() and path.stat().st_size):
        raise Refusal("the input is an existing file with bytes in it", uri, "Check the path.")
    if path is not None:
        refuse_hidden(path)
    with _environment(uri), without_place():
        try:
            # Not rasterio.open: in 1.4 it refuses the list of drivers that it documents.
            return DatasetReader(path or uri, driver=list(DRIVERS), sharing=False)
        except RasterioIOError as error:
            rule = "the input is a readable GeoTIFF, COG, JPEG 2000, PNG or JPEG image"
            raise Refusal(rule, uri, f"Convert it with gdal_translate ({error}).") from error


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    # Found by fuzzing: broken keys of a GeoTIFF raise this at whatever is asked of it next.
    try:
        yield
    except CPLE_BaseError as error:
        rule = "the input's header is whole"
        raise Refusal(rule, f"{uri} ({error})", "Get the file again.") from error


@contextmanager
def without_place() -> Iterator[None]:
    """Silence rasterio about rasters that have no place, in one thread at a time.

    The warning filters that are set and restored belong to the process.
    """
    with _silence, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _environment(uri: str) -> Iterator[None]:
    # EMPTY_DIR spares remote stores a listing; on a local disk it would lose .msk and .tfw files.
    options = {} if _local_path(uri) else {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
    with rasterio.Env(**options):
        yield


def _local_path(uri: str) -> Path | None:
    if uri.startswith("file://"):
        return Path(unquote(urlparse(uri).path))
    return None if "://" in uri or uri.startswith("/vsi") else Path(uri)
