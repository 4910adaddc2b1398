"""A run, opened: scene, camera, model, plan, and all that decides the result. Writes nothing."""

import hashlib
import os
from dataclasses import dataclass
from threading import Event
from typing import Any

import torch

import model
from flows.settings import ReconstructSettings, TileSettings
from flows.sigma import checkpoint_of, facts_of, sigma_of
from model.engine import Engine, best_engine
from pipeline.area import Area, box_window, load_area
from pipeline.camera import Camera, load_camera, resampled
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.errors import Refusal
from pipeline.exposure import scene_scale
from pipeline.grid import TileGrid, Window, regions
from pipeline.plan import Needs, Plan, machine_memory, plan, planned
from pipeline.scene import RasterScene, Scene
from pipeline.stream import Stream

FORMAT = 2
"""Of the provenance; a cube of another one is not resumed."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs, opened; nothing written yet."""

    settings: ReconstructSettings
    scene: Scene
    camera: Camera
    grid: TileGrid
    reconstructor: model.Reconstructor | model.Calibrated
    spec: CubeSpec
    plan: Plan
    area: Area | None
    device: str
    engine: Engine
    workers: int
    """Batches of tiles computed at once."""
    memory: float
    """Bytes the run may take."""

    def connect(self, cube: SpectralCube, stop: Event | None = None) -> Stream:
        """The stream that fills a cube; ``stop`` ends it early."""
        return Stream(
            scene=self.scene,
            camera=self.camera,
            grid=self.grid,
            reconstructor=self.reconstructor,
            cube=cube,
            place=self.plan.place,
            seed=self.settings.seed,
            batch=self.settings.batch,
            workers=self.workers,
            device=self.device,
            area=self.area,
            stop=stop,
        )

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


def open_job(settings: ReconstructSettings, parts: int = 1) -> Job:
    """Open the scene and the model and plan the work, in so many ``parts`` where halos allow it.

    Raises Refusal or CheckpointError.
    """
    scene = RasterScene.open(settings.source, settings.bands)
    checkpoint = checkpoint_of(settings)
    network = model.load(checkpoint).to(device := _device(settings))
    camera = camera_of(settings, scene, tuple(network.wavelengths.tolist()))
    grid = TileGrid(scene.height, scene.width, settings.tile, settings.overlap)
    area = load_area(scene, settings.aoi) if settings.aoi else None
    place = area.window if area else _place(settings, scene)
    scale = scene_scale(scene, camera)
    engine = chosen_engine(settings, network)
    reconstructor = bind(settings, network, engine, camera, scale)
    facts = {
        "input": scene.header,
        "camera": _camera_facts(camera),
        "scale": scale,
        "area": hashlib.sha256(repr(area.polygons).encode()).hexdigest() if area else None,
        "checkpoint": model.describe(checkpoint)["digest"],
        "engine": engine,
        "uncertainty": facts_of(reconstructor),
    }
    spec = _spec(settings, scene, place, reconstructor.wavelengths, facts)

    memory = settings.memory * 1e9 if settings.memory else machine_memory()
    stored = 2 if settings.dtype == "uint16" else 4
    needs = Needs(len(spec.wavelengths), stored, 3 * scene.dtype.itemsize)
    if settings.region:
        cut = regions(place.height, place.width, settings.chunk, settings.region)
        work = planned(grid, place, settings.chunk, needs, cut)
    else:
        # Half is left to the model, to the readers and to the rest of the process.
        work = plan(grid, place, settings.chunk, needs, parts, memory / 2)
    return Job(
        settings=settings,
        scene=scene,
        camera=camera,
        grid=grid,
        reconstructor=reconstructor,
        spec=spec,
        plan=work,
        area=area,
        device=device,
        engine=engine,
        # On a GPU two take turns: one's batch is copied while the other's is computed.
        workers=threads_of(settings) if device == "cpu" else 2,
        memory=memory,
    )


def chosen_engine(settings: TileSettings, network: model.R2HDiff) -> Engine:
    """The engine that is asked for, or the best there is."""
    return best_engine(network) if settings.engine == "auto" else settings.engine


def bind(
    settings: TileSettings, network: model.R2HDiff, engine: Engine, camera: Camera, scale: float
) -> model.Reconstructor | model.Calibrated:
    """The model for a camera and a scene's scale. Raises Refusal where they do not fit."""
    sensitivities = torch.from_numpy(camera.sensitivities)
    noises = settings.samples if settings.start == "noise" else 0
    try:
        bound = model.Reconstructor(network, sensitivities, scale, settings.steps, engine, noises)
    except ValueError as error:
        fix = "Choose others, or leave --engine out."
        raise Refusal("camera and engine must suit the model", error, fix) from error
    law = sigma_of(settings)
    return bound if law is None else model.Calibrated(bound, law)


def threads_of(settings: TileSettings) -> int:
    """Tiles to compute at once: what is asked for, else one a core that this process may use."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return settings.threads or here or 1


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
    # Tiles run side by side, each on one thread; the sums of the main thread are small.
    torch.set_num_threads(1)
    # The cube's attributes say float32; TF32 would round every product to 10 bits.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
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
    keys = ("tile", "overlap", "chunk", "start", "samples", "seed", "steps", "dtype", "zarr_format")
    kept = {key: getattr(settings, key) for key in keys}
    window = [place.row, place.col, place.height, place.width]
    fixed = {"format": FORMAT, "precision": "float32"}
    fixed["codec"] = "zstd 1"
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
