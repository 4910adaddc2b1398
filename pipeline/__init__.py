"""From an RGB raster to a hyperspectral cube: scenes, tiles, blending, noise, storage."""

import os

DECIDED = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "GDAL_GEOREF_SOURCES": "PAM,INTERNAL,TABFILE,WORLDFILE,XML",
    "GDAL_PAM_ENABLED": "YES",
    "GTIFF_DONT_WRITE_BLOCKS": "NO",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "OSR_ADD_TOWGS84_ON_EXPORT_TO_WKT1": "NO",
    "OSR_WKT_FORMAT": "DEFAULT",
    # Decoding a PNG at one go, GDAL 3.10 takes what a cut file lacks from memory, and says nothing.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
}
"""GDAL's options by which a raster has another place, mask or content, as GDAL has them where
nobody says otherwise. A user's own are for other work: where what lies beside a file is not looked
at, its mask is lost, and nodata filled."""

# For the process, not in rasterio.Env: an Env that one thread leaves resets it for all.
os.environ.update(DECIDED)
