"""The main job: one RGB raster to one cube. Nothing here knows Prefect; `flows.tasks` wraps it."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fsspec
import torch
from fsspec.implementations.local import LocalFileSystem

import model
from flows.settings import ReconstructSettings
from model.checkpoint import SHIPPED
from pipeline.area import box_window, load_area
from pipeline.camera import Camera, load_camera, resampled
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.errors import Refusal
from pipeline.exposure import scene_scale
from pipeline.grid import TileGrid, Window
from pipeline.plan import Plan, plan, refuse_too_big
from pipeline.scene import RasterScene, Scene
from pipeline.stream import Stream

FORMAT = 1
"""Of the provenance; a cube of another one is not resumed."""
LAST_BIT = ("device", "threads", "batch")
"""Settings that can move a last bit only: recorded beside the cube, not in it."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs, opened; nothing written yet."""

    settings: ReconstructSettings
    scene: Scene
    spec: CubeSpec
    plan: Plan
    connect: Callable[[SpectralCube], Stream]
    """Ties the parts to the cube they fill."""

    @property
    def assumptions(self) -> str:
        """What the pixel values are taken for, in a line."""
        camera, scale = self.spec.settings["camera"], self.spec.settings["scale"]
        return (
            f"taken as {camera['encoding']} of camera {camera['name']}, white = "
            f"{camera['white']:g}, scene scale {scale:.4g}; estimated from RGB, not measured"
        )


def camera_of(settings: ReconstructSettings, scene: Scene, bands: tuple[float, ...]) -> Camera:
    """The camera, with the encoding and white that the settings or the pixel type say.

    Raises Refusal where nothing says what white is.
    """
    eight_bit = scene.dtype == "uint8"
    encoding = settings.encoding or ("srgb" if eight_bit else "linear")
    white = settings.white or scene.declared_white or (255.0 if eight_bit else None)
    if white is None:
        rule = "it must be known which pixel value means reflectance 1"
        raise Refusal(rule, f"{scene.dtype} without a declared scale", "Give it with --white.")
    return resampled(load_camera(settings.camera), bands).reading(encoding, white)


def open_job(settings: ReconstructSettings) -> Job:
    """Open the scene and the model and plan the work. Raises Refusal or CheckpointError."""
    scene = RasterScene.open(settings.source, settings.bands)
    checkpoint = Path(settings.checkpoint) if settings.checkpoint else SHIPPED
    network = model.load(checkpoint).to(device := _device(settings))
    camera = camera_of(settings, scene, tuple(network.wavelengths.tolist()))
    grid = TileGrid(scene.height, scene.width, settings.tile, settings.overlap)
    area = load_area(scene, settings.aoi) if settings.aoi else None
    place = area.window if area else _place(settings, scene)
    scale = scene_scale(scene, camera)
    sensitivities = torch.from_numpy(camera.sensitivities)
    reconstructor = model.Reconstructor(network, sensitivities, scale, settings.steps)
    facts = {
        "input": scene.header,
        "camera": _camera_facts(camera),
        "scale": scale,
        "area": hashlib.sha256(repr(area.polygons).encode()).hexdigest() if area else None,
        "checkpoint": model.describe(checkpoint)["digest"],
    }
    spec = _spec(settings, scene, place, reconstructor.wavelengths, facts)

    def connect(cube: SpectralCube) -> Stream:
        return Stream(
            scene=scene,
            camera=camera,
            grid=grid,
            reconstructor=reconstructor,
            cube=cube,
            place=place,
            seed=settings.seed,
            batch=settings.batch,
            device=device,
            area=area,
        )

    item = 2 if settings.dtype == "uint16" else 4
    planned = plan(grid, place, settings.chunk, settings.region, len(spec.wavelengths), item)
    return Job(settings, scene, spec, planned, connect)


def _place(settings: ReconstructSettings, scene: Scene) -> Window:
    if settings.bbox:
        return box_window(scene, settings.bbox)
    whole = Window(0, 0, scene.height, scene.width)
    asked = Window(*settings.window) if settings.window else whole
    if asked.intersection(whole) != asked:
        rule = f"the window must lie inside the scene's {scene.height} x {scene.width} pixels"
        raise Refusal(rule, settings.window, "Give row,column,height,width.")
    return asked


def _device(settings: ReconstructSettings) -> str:
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise Refusal("--device cuda needs a CUDA device", "none", "Use --device cpu or auto.")
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    return "cuda" if has_cuda and settings.device != "cpu" else "cpu"


def _camera_facts(camera: Camera) -> dict[str, Any]:
    digest = hashlib.sha256(camera.sensitivities.tobytes()).hexdigest()
    return {
        "name": camera.name,
        "encoding": camera.encoding,
        "white": camera.white,
        "sensitivities": digest,
    }


def _spec(
    settings: ReconstructSettings,
    scene: Scene,
    place: Window,
    wavelengths: tuple[float, ...],
    facts: dict[str, Any],
) -> CubeSpec:
    keys = ("tile", "overlap", "chunk", "seed", "steps", "dtype", "zarr_format")
    kept = {key: getattr(settings, key) for key in keys}
    window = [place.row, place.col, place.height, place.width]
    fixed = {"format": FORMAT, "engine": "torch", "precision": "float32", "samples": 1}
    return CubeSpec(
        height=place.height,
        width=place.width,
        wavelengths=wavelengths,
        chunk=settings.chunk,
        dtype=settings.dtype,
        zarr_format=settings.zarr_format,
        transform=scene.transform,
        crs_wkt=scene.crs_wkt,
        row0=place.row,
        col0=place.col,
        settings={**fixed, **kept, **facts, "window": window},
    )


def prepare(job: Job) -> None:
    """Create the cube, or take up the one that is there; then regions can be written.

    Raises Refusal with nothing left behind.
    """
    fs, path = fsspec.core.url_to_fs(job.settings.destination)
    if fs.exists(path) and not job.settings.overwrite:
        return _take_up(job)
    if fs.exists(path):
        _remove(fs, path)
    return _create(job, fs, path)


def _take_up(job: Job) -> None:
    destination, resume = job.settings.destination, job.settings.resume
    cube = SpectralCube.open(destination)
    if not resume and cube.sealed:
        fix = "Add --overwrite to replace it."
        raise Refusal("the destination must be new", f"{destination}, a finished cube", fix)
    if not resume:
        fix = "Add --resume to go on with it, --overwrite to begin again."
        raise Refusal("the destination must be new", f"{destination}, a half-finished cube", fix)
    wanted = json.loads(json.dumps(dict(job.spec.settings)))
    for key in sorted(wanted.keys() | cube.settings.keys()):
        if wanted.get(key) != cube.settings.get(key):
            change = f"{key} {cube.settings.get(key)} in the cube, {wanted.get(key)} now"
            fix = "Resume as it was begun, or begin again with --overwrite."
            raise Refusal("a cube is resumed under the settings it was begun with", change, fix)


def _remove(fs: fsspec.AbstractFileSystem, path: str) -> None:
    if not any(fs.exists(f"{path}/{name}") for name in (".zgroup", "zarr.json")):
        rule, fix = "--overwrite replaces cubes only", "Delete it yourself, or choose another name."
        raise Refusal(rule, path, fix)
    fs.rm(path, recursive=True)


def _create(job: Job, fs: fsspec.AbstractFileSystem, path: str) -> None:
    if isinstance(fs, LocalFileSystem):
        refuse_too_big(job.plan, _existing(Path(path)))
    try:
        SpectralCube.create(job.settings.destination, job.spec)
    except OSError as error:
        if fs.exists(path):
            fs.rm(path, recursive=True)
        raise Refusal("the destination must be writable", error, "Choose another place.") from error


def _existing(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())


def run_region(job: Job, region: Window, done: Callable[[int], None] = lambda _: None) -> None:
    """Write what a region of a prepared cube lacks. Doing it twice changes nothing."""
    job.connect(SpectralCube.open(job.settings.destination)).run(region, done)


def finish(job: Job, seconds: float) -> dict[str, Any]:
    """Seal the cube and write `run.json` beside it; returns that record."""
    cube = SpectralCube.open(job.settings.destination)
    cube.seal()
    record = {
        "cube": job.settings.destination,
        "source": job.settings.source,
        "settings": job.settings.model_dump(mode="json"),
        "provenance": dict(job.spec.settings),
        "environment": _environment(),
        "tiles": job.plan.tiles,
        "regions": len(job.plan.regions),
        "megapixels": job.plan.place.height * job.plan.place.width / 1e6,
        "seconds": round(seconds, 3),
    }
    with fsspec.open(record_path(job.settings.destination), "w") as file:
        json.dump(record, file, indent=2)
    return record


def record_path(destination: str) -> str:
    """Where `run.json` of a cube is: beside it."""
    return destination.rstrip("/").removesuffix(".zarr") + ".run.json"


def _environment() -> dict[str, Any]:
    packages = ("torch", "numpy", "zarr", "rasterio", "prefect", "r2h")
    return {
        "versions": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


def reconstruct(
    settings: ReconstructSettings, watch: Callable[[Job], Callable[[int], None]]
) -> dict[str, Any]:
    """The whole job in this process; ``watch(job)`` gives what is told of finished tiles."""
    start = time.perf_counter()
    job = open_job(settings)
    prepare(job)
    done = watch(job)
    for region in job.plan.regions:
        run_region(job, region, done)
    return finish(job, time.perf_counter() - start)


def describe_cube(uri: str) -> dict[str, Any]:
    """What a cube is, for people and programs."""
    cube = SpectralCube.open(uri)
    chunks = -(-cube.height // cube.chunk) * -(-cube.width // cube.chunk)
    return {
        "cube": uri,
        "height": cube.height,
        "width": cube.width,
        "wavelengths_nm": list(cube.wavelengths),
        "finished_chunks": f"{len(cube.finished())} of {chunks}",
        "sealed": cube.sealed,
        "note": "estimated from RGB, not measured",
        **cube.settings,
    }
