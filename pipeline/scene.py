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
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.grid import Window

# Set for the process, not in rasterio.Env: an Env that one thread leaves resets it for all.
os.environ.setdefault("GDAL_CACHEMAX", "256")  # MB

DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG")
DTYPES = ("uint8", "uint16", "float32")
_NOT_RGB_BANDS = {"cyan", "magenta", "yellow", "black", "hue", "saturation", "lightness"}
_NOT_RGB_STORAGE = {"cmyk", "cielab", "icclab", "itulab"}
_opening = threading.Lock()


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
        with _open(uri) as dataset:
            _refuse_not_rgb(dataset)
            chosen = bands or _rgb_bands(dataset)
            return cls(
                uri=uri,
                bands=chosen,
                height=dataset.height,
                width=dataset.width,
                dtype=_shared_dtype(dataset, chosen),
                transform=None if dataset.transform.is_identity else dataset.transform,
                crs_wkt=dataset.crs.to_wkt() if dataset.crs else None,
                declared_white=_declared_white(dataset, chosen),
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
    # The lock: the warning filters that catch_warnings sets and restores belong to the process.
    with _environment(uri), _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            # Not rasterio.open: in 1.4 it refuses the list of drivers that it documents.
            return DatasetReader(path or uri, driver=list(DRIVERS), sharing=False)
        except RasterioIOError as error:
            rule = "the input is a readable GeoTIFF, COG, JPEG 2000, PNG or JPEG image"
            raise Refusal(rule, uri, f"Convert it with gdal_translate ({error}).") from error


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


def _refuse_not_rgb(dataset: DatasetReader) -> None:
    kinds = {kind.name for kind in dataset.colorinterp}
    photometric = dataset.photometric
    if "palette" in kinds:
        rule, fix = "pixels are colours, not palette entries", "Run gdal_translate -expand rgb."
        raise Refusal(rule, dataset.name, fix)
    if dataset.count < 3:
        raise Refusal("the input has 3 bands or more", dataset.count, "Give an RGB image.")
    if kinds & _NOT_RGB_BANDS or (photometric and photometric.name in _NOT_RGB_STORAGE):
        found = photometric or sorted(kinds)
        raise Refusal("colours are red, green and blue", found, "Convert the image to RGB.")


def _rgb_bands(dataset: DatasetReader) -> tuple[int, int, int]:
    kinds = dataset.colorinterp
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(kinds.count(kind) == 1 for kind in wanted):
        red, green, blue = (kinds.index(kind) + 1 for kind in wanted)
        return red, green, blue
    colours = [band for band, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha]
    if len(colours) != 3:
        rule = "it is known which bands are red, green and blue"
        raise Refusal(rule, [kind.name for kind in kinds], "Name them with --bands.")
    return colours[0], colours[1], colours[2]


def _shared_dtype(dataset: DatasetReader, bands: tuple[int, int, int]) -> np.dtype[Any]:
    if not all(1 <= band <= dataset.count for band in bands):
        raise Refusal(f"--bands are within 1 to {dataset.count}", bands, "Name existing bands.")
    names = {dataset.dtypes[band - 1] for band in bands}
    if len(names) > 1 or not names <= set(DTYPES):
        rule = f"the three bands share one type of {', '.join(DTYPES)}"
        raise Refusal(rule, sorted(names), "Convert it with gdal_translate -ot Float32.")
    return np.dtype(str(names.pop()))


def _declared_white(dataset: DatasetReader, bands: tuple[int, int, int]) -> float | None:
    scales = {dataset.scales[band - 1] for band in bands}
    offsets = {dataset.offsets[band - 1] for band in bands}
    if offsets != {0.0}:
        rule, fix = "pixel values carry no offset", "Apply it first, with gdal_translate -unscale."
        raise Refusal(rule, f"{dataset.name} with offsets {sorted(offsets)}", fix)
    if len(scales) > 1:
        return None
    scale = float(scales.pop())
    return 1 / scale if scale > 0 and scale != 1 else None
