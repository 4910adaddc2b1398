"""A small sealed cube with nodata, in a real store, and what it must hold."""

from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import numpy as np
import zarr
from affine import Affine
from rasterio.crs import CRS

from pipeline.companion import Companion
from pipeline.cube import CubeSpec, SpectralCube, quantise
from pipeline.grid import Window, regions
from pipeline.layers import CENSUS, Layers
from pipeline.seam import empty
from pipeline.store import open_store

HEIGHT, WIDTH, CHUNK = 40, 50, 32
WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
UTM = CRS.from_epsg(32632).to_wkt()
PLACE = Affine(0.5, 0, 528000, 0, -0.5, 4978000)
TURNED = PLACE @ Affine.rotation(30)
PLACES = {
    "upright": {},
    "turned": {"transform": TURNED},
    "nowhere": {"transform": None, "crs_wkt": None},
    "no CRS": {"crs_wkt": None},
    "degrees": {
        "transform": Affine(1 / 1024, 0, 9.5, 0, -1 / 1024, 45.25),
        "crs_wkt": CRS.from_epsg(4326).to_wkt(),
    },
}


def content():
    """Reflectance (31, 40, 50) and valid (40, 50)."""
    values = np.random.default_rng(0).random((31, HEIGHT, WIDTH), np.float32)
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:20, :20] = False
    return values, valid


def stored(dtype="uint16"):
    """What the array of the cube holds."""
    return quantise(*content(), np.dtype(dtype))


def expected(dtype="uint16"):
    """Reflectance (31, 40, 50) as it is read, NaN where nodata."""
    raw = stored(dtype)
    if dtype == "float32":
        return raw
    return np.where(raw == 65535, np.nan, raw / 1e4).astype(np.float32)


_MADE = {}
_KEPT = TemporaryDirectory(prefix="cubes-", ignore_cleanup_errors=True)


def make(uri, seal=True, **changes):
    """A cube of `content`: a copy of one that is made once, where it lies on disk."""
    uri = str(uri)
    if "://" in uri:
        return _made(uri, seal, changes)
    first = _MADE.setdefault(repr((seal, changes)), f"{_KEPT.name}/{len(_MADE)}.zarr")
    if not Path(first).exists():
        _made(first, seal, changes)
    for place in (lambda name: name, Companion.uri):
        copytree(place(first), place(uri))
    return SpectralCube.open(uri, "r+")


def _made(uri, seal, changes):
    facts = {
        "height": HEIGHT,
        "width": WIDTH,
        "wavelengths": WAVELENGTHS,
        "chunk": CHUNK,
        "transform": PLACE,
        "crs_wkt": UTM,
        "settings": {"model": "toy", "input": {"name": "a <b> & 'c'.tif"}},
    }
    cube = SpectralCube.create(uri, CubeSpec(**facts | changes))
    values, valid = content()
    for part in regions(HEIGHT, WIDTH, CHUNK, CHUNK) if cube.chunk == CHUNK else ():
        cube.note(part, empty(), _unknown(part, valid[part.slices]))
    cube.write(Window(0, 0, HEIGHT, WIDTH), values, valid)
    if seal:
        cube.seal()
    return cube


def _unknown(part, valid):
    """Layers in which nothing is flagged and nothing was counted."""
    closure = np.where(valid, 0, 65535).astype(np.uint16)
    return Layers(np.zeros(valid.shape, np.uint8), closure, None, np.zeros(CENSUS, np.int64))


def overview(uri, factor=2):
    """What an overview of the cube holds."""
    group = zarr.open_group(open_store(Companion.uri(str(uri))), mode="r", use_consolidated=False)
    return group[f"overview_{factor}"][...]
