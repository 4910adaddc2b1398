"""What is fuzzed: files to begin from, and who reads them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.enums import ColorInterp

from flows.settings import ReconstructSettings, load
from model import NetworkConfig, R2HDiff
from model.checkpoint import CheckpointError
from model.checkpoint import load as load_weights
from model.checkpoint import save as save_weights
from pipeline.area import load_area
from pipeline.camera import load_camera
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.guard import refuse_too_many
from pipeline.scene import RasterScene, scale_windows
from tests.model_fixtures import prior

REFUSED = (Refusal, CheckpointError)
"""What a bad file may end in."""
KINDS = ("tif", "png", "jpg", "jp2", "safetensors", "toml", "geojson", "csv")
CORPUS = Path(__file__).parents[1] / "corpus"
"""Files that once were read wrongly; they are begun from too."""


def raster(path: str) -> None:
    """Open, and read the windows that the scale is taken from."""
    scene = RasterScene.open(path)
    refuse_too_many(scene.height, scene.width, 1e11)
    assert scene.header["digest"]
    for window in scale_windows(scene.height, scene.width):
        values, valid = scene.read(window)
        assert values.shape[1:] == valid.shape == (window.height, window.width)
    scene.close()


def weights(path: str) -> None:
    """Load a checkpoint."""
    load_weights(Path(path))


def config(path: str) -> None:
    """Settings of a run."""
    load(ReconstructSettings, path, source="a.tif", destination="a.zarr")


def area(path: str) -> None:
    """Polygons over a scene beside the file, drawn."""
    scene = RasterScene.open(str(Path(path).with_name("scene.tif")))
    load_area(scene, path)(Window(0, 0, scene.height, scene.width))


def camera(path: str) -> None:
    """A camera's sensitivities."""
    load_camera(path)


READERS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(("tif", "png", "jpg", "jp2"), raster),
    "safetensors": weights, "toml": config, "geojson": area, "csv": camera,
}  # fmt: skip


def seeds(kind: str, folder: Path) -> list[bytes]:
    """Whole files of a kind; ``folder`` is for making them."""
    made = _rasters(kind, folder) if READERS[kind] is raster else _texts(kind, folder)
    kept = sorted((CORPUS / kind).glob("*"))
    return [*made, *(path.read_bytes() for path in kept)]


def _rasters(kind: str, folder: Path) -> Iterator[bytes]:
    driver = {"tif": "GTiff", "png": "PNG", "jpg": "JPEG", "jp2": "JP2OpenJPEG"}[kind]
    tiff = [
        {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16},
        {"compress": "lzw", "predictor": 2, "nodata": 7},
        {"compress": "jpeg", "photometric": "ycbcr"},
        {"compress": "zstd", "interleave": "band"},
        {"compress": "packbits", "bigtiff": "yes"},
        {"compress": "lerc"},
        {"dtype": "float32"}, {"dtype": "uint16"}, {"alpha": True},
    ]  # fmt: skip
    others = {"jpg": [{}], "jp2": [{}, {"dtype": "uint16"}]}
    others["png"] = [*others["jp2"], {"alpha": True}]
    for number, options in enumerate({**others, "tif": tiff}[kind]):
        count = 4 if options.pop("alpha", False) else 3
        size = {"height": 33, "width": 41, "count": count, "driver": driver}
        profile = {"dtype": "uint8", **size, **options}
        if kind == "tif":
            place = rasterio.Affine(0.001, 0, 8, 0, -0.001, 50)
            profile |= {"crs": 4326, "transform": place}
        values = np.random.default_rng(number).integers(0, 200, (count, 33, 41))
        path = folder / f"{number}.{kind}"
        with rasterio.open(path, "w", **profile) as file:
            if count == 4 and kind == "tif":
                kinds = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
                file.colorinterp = kinds
            file.write(values.astype(profile["dtype"]))
        yield path.read_bytes()


def _texts(kind: str, folder: Path) -> Iterator[bytes]:
    if kind == "safetensors":
        small = NetworkConfig(widths=(4, 8), heads=(1, 2), bottom=1, time_width=8)
        wavelengths = torch.arange(400, 701, 10, dtype=torch.float64)
        save_weights(R2HDiff(small, wavelengths, prior(31)), folder / "a.safetensors", {})
        yield (folder / "a.safetensors").read_bytes()
    elif kind == "toml":
        yield b'tile = 128\noverlap = 16\nseed = 3\ncamera = "srgb"\nwhite = 255.0\n'
        yield b'window = [0, 0, 10, 10]\nbands = "1,2,3"\ndevice = "cpu"\nmax_pixels = 1e9\n'
    elif kind == "geojson":
        ring = [[8.001, 49.98], [8.02, 49.98], [8.02, 49.99], [8.001, 49.98]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        feature = {"type": "Feature", "properties": {}, "geometry": shape}
        several = {"type": "MultiPolygon", "coordinates": [[ring], [ring]]}
        for top in (shape, several, {"type": "FeatureCollection", "features": [feature]}):
            yield json.dumps(top).encode()
    else:
        rows = [f"{nm},{nm / 1000},0.2,0.3" for nm in range(400, 701, 50)]
        yield "\n".join(["wavelength_nm,red,green,blue", *rows]).encode()
