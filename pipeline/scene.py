"""An RGB raster behind a URI, read window by window."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlparse

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from pipeline.bands import declared_end, declared_white, refuse_not_rgb, rgb_bands, shared_dtype
from pipeline.colours import Colours, declared_colours
from pipeline.damage import readable
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.guard import beside, refuse_bomb, refuse_elsewhere
from pipeline.known import refuse_other_mask, says_nodata
from pipeline.moment import Moment, recorded
from pipeline.ours import refuse_ours
from pipeline.pages import look_at_head, refuse_pages
from pipeline.pixels import Pixels
from pipeline.remote import Source
from pipeline.stored import Stored, is_place, refuse_no_world
from pipeline.uri import gdal_path, local_path

UNTILED = ("PNG", "JPEG")
LARGE = 64e6
"""Most bytes of a decoded PNG or JPEG that is read as it is. Either is read from its top only, so
a larger one is first copied into tiles."""


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

    @property
    def declared_end(self) -> float | None:
        """The largest value of pixels with fewer bits than their type; None of others."""

    @property
    def colours(self) -> Colours | None:
        """Whether it says that it is in sRGB; None when it says nothing of that."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) in `dtype` and valid (height, width) of a window inside."""


@dataclass(frozen=True, slots=True)
class RasterScene:
    """A scene in a file that rasterio reads: GeoTIFF, COG, JPEG 2000, PNG or JPEG.

    Safe to share between threads and to pickle.
    """

    uri: str
    bands: tuple[int, int, int]
    count: int
    height: int
    width: int
    dtype: np.dtype[Any]
    transform: Affine | None
    crs_wkt: str | None
    declared_white: float | None
    declared_end: float | None
    colours: Colours | None
    driver: str
    says_nodata: bool
    """Whether the bands have nodata, a mask or alpha; not whether any pixel is."""
    nodata: frozenset[float]
    """What the bands declare as nodata."""
    unplaced: bool
    """Whether what it says of its place is no transform, but a CRS, control points or RPCs alone:
    of these nothing is used."""
    multiplied: bool
    """Whether it says that its colours are multiplied by alpha: known where that is full alone."""
    _pixels: Pixels = field(repr=False, compare=False)

    @classmethod
    def open(
        cls, uri: str | Path, bands: tuple[int, int, int] | None = None, sheet: bool = False
    ) -> RasterScene:
        """Read the header, of a ``sheet`` of many in as few requests as may be.

        ``bands`` are red, green and blue, from 1. Raises Refusal if not RGB.
        """
        uri = os.fspath(uri)
        source = Source(uri)
        source.begin()
        with readable(uri), source.open() as dataset:
            refuse_ours(dataset)
            head = look_at_head(dataset, source, sheet)
            refuse_pages(dataset, head, uri)
            refuse_not_rgb(dataset)
            refuse_bomb(dataset, local_path(uri))
            refuse_other_mask(dataset, uri)
            said = dataset.crs.to_wkt() if dataset.crs else None
            refuse_elsewhere(said, uri)
            chosen = bands or rgb_bands(dataset)
            dtype, place = shared_dtype(dataset, chosen), _place(dataset, uri)
            decoded = dataset.height * dataset.width * dataset.count * dtype.itemsize
            return cls(
                uri=uri,
                bands=chosen,
                count=dataset.count,
                height=dataset.height,
                width=dataset.width,
                dtype=dtype,
                transform=place,
                # Without a transform readers would take pixels for its metres.
                crs_wkt=None if place is None else said,
                declared_white=declared_white(dataset, chosen),
                declared_end=declared_end(dataset, chosen),
                colours=declared_colours(dataset, head),
                driver=dataset.driver,
                says_nodata=says_nodata(dataset, chosen),
                nodata=frozenset(n for n in dataset.nodatavals if n is not None),
                unplaced=place is None and bool(said or dataset.gcps[0] or dataset.rpcs),
                multiplied=(multiplied := bool(head and head.multiplied)),
                _pixels=Pixels(
                    source, chosen, dataset.driver in UNTILED and decoded > LARGE, multiplied
                ),
            )

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (3, height, width) and valid (height, width) of a window inside the scene.

        A pixel is valid where mask and alpha are not 0, and alpha is full if colours are multiplied
        by it, where all three bands are finite, and they do not say nodata: all at once by black,
        8-bit white or one colour, one alone by any other value.
        Raises Refusal where a local file is damaged, OSError where a remote one is out of reach.
        """
        try:
            values, valid = self._pixels.read(window)
        except RasterioIOError as error:
            self.release()
            found = f"{self.uri} at {window} ({error.__cause__ or error})"
            raise Refusal("the input is whole", found, "Get the file again.") from error
        return values, valid & np.isfinite(values).all(axis=0)

    @property
    def retries(self) -> int:
        """How often a read had to be tried again."""
        return self._pixels.retries

    @property
    def header(self) -> dict[str, Any]:
        """What the file's header says, and the SHA-256 of it, for provenance."""
        local = local_path(self.uri)
        facts = {
            "name": local.name if local else PurePosixPath(urlparse(self.uri).path).name,
            "driver": self.driver,
            "height": self.height,
            "width": self.width,
            "dtype": self.dtype.name,
            "bands": list(self.bands),
            "crs": self.crs_wkt,
            "transform": list(self.transform)[:6] if self.transform else None,
            **({"alpha": "multiplied"} if self.multiplied else {}),
            "bytes": local.stat().st_size if local else self._pixels.size,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return {**facts, "digest": digest}

    @property
    def taken(self) -> Moment | None:
        """When the picture was taken, as the file's tags say."""
        with Source(self.uri).open() as dataset:
            return recorded(dataset)

    @property
    def files(self) -> list[str]:
        """The file, and those beside it that belong to it; where they are remote, the URI of it."""
        local = local_path(self.uri)
        return beside(local) if local else [self.uri]

    def close(self) -> None:
        """Close the file in every thread; a later read opens it again."""
        self._pixels.close()

    def release(self) -> None:
        """Close what the thread that asks has open; a later read opens it again."""
        self._pixels.release()


def _place(dataset: DatasetReader, uri: str) -> Affine | None:
    """Where GDAL finds it; a world file that comes through fsspec it does not get to read."""
    found: Affine = dataset.transform
    if found.is_identity:
        if (path := local_path(uri)) is not None:
            refuse_no_world(path)
        return Stored(uri).world() if gdal_path(uri) is None else None
    if not is_place(found):
        rule = "a place has finite numbers, and pixels with a width and a height"
        fix = "Mend it, or take it off, in the file or in what lies beside it."
        raise Refusal(rule, f"{uri} with {tuple(found[:6])}", fix)
    return found
