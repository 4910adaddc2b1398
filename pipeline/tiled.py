"""A raster that is read from its top only, copied into tiles."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import DatasetReader

from pipeline.damage import undamaged
from pipeline.errors import Refusal

_LAYOUT = {"tiled": True, "compress": "zstd", "zstd_level": 1, "bigtiff": "if_safer"}
# GDAL's own tag holds one nodata value for all bands; without it those of each lie beside the copy.
_LAYOUT |= {"profile": "BASELINE"}


def into_tiles(dataset: DatasetReader, path: str) -> None:
    """Write a PNG or JPEG as a tiled GeoTIFF, mask within. Raises Refusal for want of disk."""
    each = sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
    needed = dataset.width * dataset.height * each
    if needed > (free := shutil.disk_usage(Path(path).parent).free):
        rule = f"a large PNG or JPEG needs {needed / 1e9:.1f} GB of temporary disk"
        raise Refusal(rule, f"{free / 1e9:.1f} GB", "Set TMPDIR to a larger disk.")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), undamaged(dataset):
        rasterio.shutil.copy(dataset, path, driver="GTiff", **_LAYOUT)
        with rasterio.open(path, "r+") as copy:
            for band, text in enumerate(dataset.descriptions, 1):
                if text:  # one says that GDAL's alpha is none, as near infrared
                    copy.set_band_description(band, text)
