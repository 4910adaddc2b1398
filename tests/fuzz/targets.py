"""What is fuzzed: files to begin from, and who reads them."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import rasterio
import torch
from PIL import Image, ImageCms, PngImagePlugin
from rasterio.enums import ColorInterp
from scipy.io import savemat

from flows.catalog import from_stac
from flows.naming import destination
from flows.settings import ReconstructSettings, load
from model import NetworkConfig, R2HDiff
from model.checkpoint import load as load_weights
from model.checkpoint import save as save_weights
from model.shipped import CheckpointError
from pipeline.arad import arad
from pipeline.area import load_area
from pipeline.camera import load_camera
from pipeline.errors import Refusal
from pipeline.exposure import scale_windows
from pipeline.grid import Window
from pipeline.guard import refuse_too_many
from pipeline.harvard import harvard
from pipeline.scene import RasterScene
from tests.model_fixtures import prior
from tests.owners import cube_of

REFUSED = (Refusal, CheckpointError)
"""What a bad file may end in."""
KINDS = (
    "tif",
    "png",
    "jpg",
    "jp2",
    "mat5",
    "mat73",
    "safetensors",
    "toml",
    "geojson",
    "stac",
    "csv",
)
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


def harvard_scene(path: str) -> None:
    """A scene in MATLAB v5, as Harvard's are."""
    root = Path(path).with_name("harvard")
    root.mkdir(exist_ok=True)
    shutil.copyfile(path, root / "img1.mat")
    harvard(root).read("img1")


def arad_scene(path: str) -> None:
    """A scene in MATLAB v7.3, as ARAD_1K's are."""
    folder = Path(path).with_name("arad") / "Train_Spec"
    folder.mkdir(exist_ok=True, parents=True)
    shutil.copyfile(path, folder / "ARAD_1K_0001.mat")
    arad(folder.parent).read("ARAD_1K_0001")


def catalog(path: str) -> None:
    """The inputs of a batch, and where their cubes go."""
    for item in from_stac(path, "visual"):
        assert destination("out", "{id}-{date}.zarr", item.source, item.fields).startswith("out/")


READERS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(("tif", "png", "jpg", "jp2"), raster),
    "mat5": harvard_scene, "mat73": arad_scene, "safetensors": weights, "toml": config,
    "geojson": area, "stac": catalog, "csv": camera,
}  # fmt: skip


def begin(kind: str, folder: Path) -> tuple[Path, list[bytes]]:
    """Where broken files of a kind are put, and what they are made from.

    That is whole files, which are read here, and what once was read wrongly.
    """
    (folder / "scene.tif").write_bytes(next(_rasters("tif", folder)))
    path, whole = folder / f"mutated.{kind}", list(_whole(kind, folder))
    for data in whole:
        path.write_bytes(data)
        READERS[kind](str(path))
    return path, [*whole, *(kept.read_bytes() for kept in sorted((CORPUS / kind).glob("*")))]


def _whole(kind: str, folder: Path) -> Iterator[bytes]:
    if READERS[kind] is raster:
        return _rasters(kind, folder)
    return _spectra(kind, folder) if kind.startswith("mat") else _texts(kind, folder)


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
    if kind in ("png", "jpg"):
        yield _spoken(folder / f"spoken.{kind}")


def _spoken(path: Path) -> bytes:
    """A photograph that says what its colours are, in as many ways as there are, and its top."""
    exif = Image.Exif()
    exif[274] = 1
    exif.get_ifd(0x8769)[0xA001] = 1
    exif[0x8769] = exif.get_ifd(0x8769)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    chunks.add(b"cICP", bytes([1, 13, 0, 1]))
    Image.new("RGB", (41, 33)).save(path, exif=exif, icc_profile=profile, pnginfo=chunks)
    return path.read_bytes()


def _spectra(kind: str, folder: Path) -> Iterator[bytes]:
    cube = cube_of(0, 5, 6)
    if kind == "mat73":
        for number, chunks in enumerate((None, True)):
            path = folder / f"{number}.mat"
            with h5py.File(path, "w", userblock_size=512) as file:
                options = {"chunks": chunks, "compression": chunks and "gzip"}
                file.create_dataset("cube", data=cube.transpose(0, 2, 1), **options)
                file["bands"] = np.arange(400.0, 701, 10)[:, None]
            yield path.read_bytes()
        return
    values = {"ref": cube.transpose(1, 2, 0).astype(np.float64), "lbl": np.ones((5, 6), np.uint8)}
    for number, packed in enumerate((False, True)):
        savemat(folder / f"{number}.mat", values, do_compression=packed)
        yield (folder / f"{number}.mat").read_bytes()


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
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
        both = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
        for top in (shape, several, both):
            yield json.dumps(top).encode()
    elif kind == "stac":
        asset = {"visual": {"href": "./scene.tif", "roles": ["data"]}}
        item = {"type": "Feature", "stac_version": "1.1.0", "id": "one", "geometry": None}
        item |= {"properties": {"datetime": "2026-01-02T03:04:05Z"}, "links": [], "assets": asset}
        (folder / "item.json").write_text(json.dumps(item))
        links = [{"rel": "item", "href": "./item.json"}]
        root = {"type": "Catalog", "stac_version": "1.1.0", "id": "all", "description": "d"}
        yield json.dumps(item).encode()
        yield json.dumps({"type": "FeatureCollection", "features": [item, item]}).encode()
        yield json.dumps({**root, "links": links}).encode()
    else:
        rows = [f"{nm},{nm / 1000},0.2,0.3" for nm in range(400, 701, 50)]
        yield "\n".join(["wavelength_nm,red,green,blue", *rows]).encode()
