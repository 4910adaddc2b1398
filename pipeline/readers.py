"""What other software sees of a stored cube: values, wavelengths, CRS, place, nodata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from pipeline.cog import window_of
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.export import export
from pipeline.footprint import footprint
from pipeline.grid import Window
from pipeline.labels import Labels
from pipeline.layout import ARRAY
from pipeline.packing import unpack
from pipeline.remote import without_place
from pipeline.sidecar import Sidecars

CLOSE = 1e-6  # of a reflectance, a nanometre, a pixel's side
Seen = dict[str, Any]
"""What a reader sees, as far as it knows: `values` (wavelength, row, column) of the sample's window
and the `spectrum` of its middle pixel, as reflectance, NaN where nodata; `wavelengths` in nm; and
of the whole cube `crs`, `transform` and the stored `nodata`. What it `lacks`, in words."""


class Unfit(Exception):
    """Why a reader is not asked about a cube."""


class Sample(NamedTuple):
    """Of a cube, what readers are compared with."""

    uri: str
    labels: Labels
    window: Window
    """In the middle of the cube, at most 64 x 64."""
    cube: SpectralCube

    @property
    def truth(self) -> Seen:
        """Read without any of the readers."""
        labels = self.labels
        return {
            "values": self.cube.read(self.window)[0],
            "spectrum": self.cube.read(self.middle)[0][:, 0, 0],
            "wavelengths": labels.wavelengths,
            "crs": CRS.from_wkt(labels.crs_wkt) if labels.crs_wkt else None,
            "transform": labels.transform,
            "nodata": labels.nodata,
        }

    @property
    def middle(self) -> Window:
        """The pixel in the middle."""
        window = self.window
        return Window(window.row + window.height // 2, window.col + window.width // 2, 1, 1)

    @property
    def vrt(self) -> str:
        """The VRT beside the cube. Raises Unfit where there is none."""
        return self.beside(Sidecars.of(self.uri).vrt)

    def beside(self, uri: str) -> str:
        """A file beside the cube. Raises Unfit where there is none."""
        fs, path = url_to_fs(uri)
        if not fs.exists(path):
            raise Unfit(f"there is no {Path(path).name}")
        return uri


def same_place(seen: Affine, truth: Affine | None) -> bool:
    """Whether two transforms are one; None is that of a raster without a place."""
    if truth is None:
        # Pixels, counted from wherever.
        return bool((seen.a, seen.b, seen.d, seen.e) == (1, 0, 0, 1))
    return near(seen[:6], truth[:6], CLOSE * max(abs(truth.a), abs(truth.b)))


def near(seen: Any, truth: Any, apart: float) -> bool:
    """Whether numbers agree, NaN with NaN, and in number."""
    one, other = np.asarray(seen, np.float64), np.asarray(truth, np.float64)
    return one.shape == other.shape and np.allclose(one, other, rtol=0, atol=apart, equal_nan=True)


def _xarray(sample: Sample, chunks: Any = None) -> Seen:
    import xarray as xr  # noqa: PLC0415

    with xr.open_zarr(sample.uri, chunks=chunks) as dataset:
        cube = dataset[ARRAY]
        return {
            "values": cube[:, *sample.window.slices].values,
            "wavelengths": cube["wavelength"].values,
        }


def _dask(sample: Sample) -> Seen:
    return _xarray(sample, chunks={})


def _rioxarray(sample: Sample) -> Seen:
    import rioxarray  # noqa: F401, PLC0415 (gives xarray its .rio)
    import xarray as xr  # noqa: PLC0415

    with xr.open_zarr(sample.uri, chunks=None) as dataset:
        place = dataset[ARRAY].rio
        nodata = place.encoded_nodata
        return {"crs": place.crs, "transform": place.transform(), "nodata": nodata}


def _odc(sample: Sample) -> Seen:
    import odc.geo.xr  # noqa: F401, PLC0415 (gives xarray its .odc)
    import xarray as xr  # noqa: PLC0415

    if not (sample.labels.spec.upright and sample.labels.crs_wkt):
        raise Unfit("it takes the place from y and x, which hold none here")
    with xr.open_zarr(sample.uri, chunks=None) as dataset:
        box = dataset[ARRAY].odc.geobox
        return {"crs": box.crs.to_wkt(), "transform": box.transform}


def _gdal(sample: Sample) -> Seen:
    with _opened(sample, sample.uri) as file:
        tags = [file.tags(band)["DIM_wavelength_VALUE"] for band in file.indexes]
        seen = _of_gdal(sample, file) | {"wavelengths": [float(nm) for nm in tags]}
    if not sample.labels.spec.legible() and not seen["crs"] and same_place(seen["transform"], None):
        # y and x hold no place that it could take, and it invents none: the VRT has it.
        del seen["crs"], seen["transform"]
        if sample.labels.transform is not None:
            seen["lacks"] = "the place, which the VRT has"
    return seen


def _vrt(sample: Sample) -> Seen:
    with _opened(sample, sample.vrt) as file:
        imagery = [file.tags(band, ns="IMAGERY") for band in file.indexes]
        nm = [1000 * float(tags["CENTRAL_WAVELENGTH_UM"]) for tags in imagery]
        return _of_gdal(sample, file) | {"wavelengths": nm}


def _opened(sample: Sample, uri: str) -> DatasetReader:
    fs, path = url_to_fs(uri)
    if not isinstance(fs, LocalFileSystem):
        raise Unfit("asked of local files only")
    gdal = rasterio.__gdal_version__
    if sample.labels.zarr_format == 3 and tuple(map(int, gdal.split(".")[:2])) < (3, 12):
        raise Unfit(f"GDAL {gdal} reads Zarr 2 only")
    with without_place():
        return rasterio.open(path)


def _of_gdal(sample: Sample, file: DatasetReader) -> Seen:
    raw = file.read(window=window_of(sample.window), masked=True)
    scaled = raw.astype(np.float64) * np.array(file.scales)[:, None, None]
    return {
        "values": scaled.filled(np.nan),
        "crs": file.crs,
        "transform": file.transform,
        "nodata": file.nodata,
    }


def _rio_tiler(sample: Sample) -> Seen:
    from rio_tiler.io import Reader  # noqa: PLC0415

    labels, middle = sample.labels, sample.middle
    if labels.transform is None or footprint(labels) is None:
        raise Unfit("a map tile needs a place on Earth")
    x, y = labels.transform @ (middle.col + 0.5, middle.row + 0.5)
    with _opened(sample, sample.vrt) as file, Reader(sample.vrt, dataset=file) as reader:
        point = reader.point(x, y, coord_crs=file.crs, unscale=True)
        west, south, east, north = reader.get_geographic_bounds("EPSG:4326")
        tile = reader.tms.tile((west + east) / 2, (south + north) / 2, reader.maxzoom)
        reader.tile(tile.x, tile.y, tile.z, indexes=labels.rgb)
        return {"spectrum": point.array.filled(np.nan), "crs": reader.crs}


def _spy(sample: Sample) -> Seen:
    import spectral  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        try:
            export(sample.cube, f"{folder}/a.img", window=sample.window)
        except Refusal as reason:
            raise Unfit(str(reason)) from None
        image = spectral.open_image(f"{folder}/a.hdr")
        seen = image[:, :, :].transpose(2, 0, 1).astype(np.float64)
        nodata = float(image.metadata["data ignore value"])
        seen[np.isclose(seen * image.scale_factor, nodata, equal_nan=True)] = np.nan
        return {"values": seen, "wavelengths": image.bands.centers, "nodata": nodata}


def _napari(sample: Sample) -> Seen:
    from napari_builtins.io import napari_get_reader  # noqa: PLC0415

    # The cube's array: of a whole store it would take each array for a resolution of one image.
    path = f"{sample.uri}/{ARRAY}"
    read = napari_get_reader(path)
    if read is None:
        raise Unfit("it takes no address like this one")
    ((image, *_),) = read(path)
    return {"values": unpack(np.asarray(image[:, *sample.window.slices]))[0]}


READERS: dict[str, tuple[str, Callable[[Sample], Seen]]] = {
    "xarray": ("xarray", _xarray),
    "dask": ("dask", _dask),
    "rioxarray": ("rioxarray", _rioxarray),
    "odc-geo": ("odc-geo", _odc),
    "GDAL, the store": ("rasterio", _gdal),
    "GDAL, the VRT": ("rasterio", _vrt),
    "rio-tiler": ("rio-tiler", _rio_tiler),
    "SPy, of an ENVI export": ("spectral", _spy),
    "napari, the array": ("napari", _napari),
}
"""Each reader: the package it needs, and what it sees of a sample."""
