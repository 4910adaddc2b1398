"""A run, opened: scene, camera, model, plan, and all that decides the result. Writes nothing."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePath
from threading import Event
from typing import Any

import numpy as np

import model
from flows.bound import (
    bind,
    camera_of,
    chosen_engine,
    closure_of,
    device_of,
    network_of,
    threads_of,
)
from flows.settings import ReconstructSettings
from flows.sigma import checkpoint_of, facts_of
from model.engine import Engine
from pipeline.area import Area, beyond, box_window, load_area
from pipeline.camera import Camera
from pipeline.closure import Closure
from pipeline.context import Measured, measured
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.device import free_memory
from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window, regions
from pipeline.guard import refuse_too_many
from pipeline.mosaic import MosaicScene, open_scene
from pipeline.plan import ONE, Needs, Parts, Plan, machine_memory, plan, planned
from pipeline.scene import RasterScene, Scene
from pipeline.source import State, state
from pipeline.store import use_endpoint
from pipeline.stream import Stream

FORMAT = 18
"""Of the provenance; a cube of another one is not resumed."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs, opened; nothing written yet."""

    settings: ReconstructSettings
    scene: RasterScene | MosaicScene
    camera: Camera
    grid: TileGrid
    reconstructor: model.Reconstructor | model.Calibrated
    spec: CubeSpec
    closure: Closure
    plan: Plan
    area: Area | None
    cut: bool
    """Whether what was asked for reaches beyond the scene, by more than a pixel."""
    device: str
    engine: Engine
    workers: int
    """Batches of tiles computed at once."""
    memory: float
    """Bytes the run may take."""
    input: State
    """The source as it was when it was opened."""
    run: str | None = None
    """Of Prefect or Dask, which run it is of: a later try goes on with what an earlier began."""

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
            closure=self.closure,
        )

    @property
    def assumptions(self) -> str:
        """What the pixel values are taken for, in a line."""
        scale = self.spec.settings["scale"]
        return f"{self.taken_as}, scene scale {scale:.4g}; estimated from RGB, not measured"

    @property
    def taken_as(self) -> str:
        """The same as far as it is known before a pixel is read."""
        camera, level = self.spec.settings["camera"], self.settings.noise_level
        seen = f"{camera['encoding']} of camera {camera['name']} in light {camera['illuminant']}"
        white = ",".join(f"{value:g}" for value in np.atleast_1d(camera["white"]))
        last, blur = self.camera.end(self.scene.dtype), self.area.blur if self.area else 0.0
        told = {
            f"sRGB's curve ends at {last:g}": (
                camera["encoding"] == "srgb" and last != np.max(camera["white"])
            ),
            f"noise level {level:g}": bool(level),
            "the part asked for is cut at the scene's edge": self.cut,
            f"the area known to {blur:.1f} pixels, by what PROJ has of its datum": blur > 1,
            "no place, as a CRS, control points or RPCs alone are not used": self.scene.unplaced,
            "partly clear pixels nodata, as alpha is in their colours": self.scene.multiplied,
        }
        return ", ".join([f"taken as {seen}", f"white = {white}", *(k for k in told if told[k])])


def open_job(
    settings: ReconstructSettings,
    parts: Parts = ONE,
    seen: Measured | None = None,
    stop: Event | None = None,
) -> Job:
    """Open the scene and the model and plan the work, in as many ``parts`` as halos allow.

    With what is ``seen`` of it given, to plan, no pixel is read. Raises Refusal or CheckpointError,
    and Stopped soon after ``stop`` is set.
    """
    use_endpoint(settings.endpoint)
    scene = open_scene(settings.source, settings.bands)
    found = state(settings.source, scene.files)  # before any pixel is read
    refuse_too_many(scene.height, scene.width, settings.max_pixels)
    grid = TileGrid(scene.height, scene.width, settings.tile, settings.overlap)
    area = load_area(scene, settings.aoi) if settings.aoi else None
    place = area.window if area else _place(settings, scene)
    device = device_of(settings)
    camera, reconstructor, closure, facts = _model(settings, scene, device, seen, stop)
    facts["area"] = hashlib.sha256(repr(area.polygons).encode()).hexdigest() if area else None
    spec = _spec(settings, scene, place, reconstructor, facts)
    memory = settings.memory * 1e9 if settings.memory else machine_memory()
    return Job(
        settings=settings,
        scene=scene,
        camera=camera,
        grid=grid,
        reconstructor=reconstructor,
        spec=spec,
        closure=closure,
        plan=_plan(settings, scene, grid, spec, parts, min(memory, free_memory(device))),
        area=area,
        cut=area.cut if area else settings.bbox is not None and beyond(scene, settings.bbox),
        device=device,
        engine=facts["engine"],
        # On a GPU two take turns: one's batch is copied while the other's is computed.
        workers=threads_of(settings) if device == "cpu" else 2,
        memory=memory,
        input=found,
    )


def _model(
    settings: ReconstructSettings,
    scene: RasterScene | MosaicScene,
    device: str,
    seen: Measured | None,
    stop: Event | None,
) -> tuple[Camera, model.Reconstructor | model.Calibrated, Closure, dict[str, Any]]:
    """The camera, model and closure bound to it and to the scene, and their provenance."""
    checkpoint = checkpoint_of(settings)
    network = network_of(checkpoint, device)
    camera = camera_of(settings, scene, tuple(network.wavelengths.tolist()))
    seen = seen or measured(scene, camera, settings.tile, stop)
    engine = chosen_engine(settings, network)
    reconstructor = bind(settings, network, engine, camera, seen, stop)
    facts = {
        "input": scene.header,
        "camera": _camera_facts(camera, settings.illuminant),
        "scale": seen.scale,
        "checkpoint": model.describe(checkpoint)["digest"],
        "engine": engine,
        "uncertainty": facts_of(reconstructor),
    }
    return camera, reconstructor, closure_of(settings, network, camera, seen.scale), facts


def _plan(
    settings: ReconstructSettings,
    scene: Scene,
    grid: TileGrid,
    spec: CubeSpec,
    parts: Parts,
    memory: float,
) -> Plan:
    """The regions, as large as asked for, else as few as ``memory`` (bytes) and ``parts`` allow."""
    place = Window(spec.row0, spec.col0, spec.height, spec.width)
    stored = 2 if settings.dtype == "uint16" else 4
    needs = Needs(len(spec.wavelengths), stored, 3 * scene.dtype.itemsize, spec.spread)
    if settings.region:
        cut = regions(place.height, place.width, settings.chunk, settings.region)
        return planned(grid, place, settings.chunk, needs, cut)
    # Half is left to the model, to the readers and to the rest of the process.
    return plan(grid, place, settings.chunk, needs, parts, memory / 2)


def _place(settings: ReconstructSettings, scene: Scene) -> Window:
    if settings.bbox:
        return box_window(scene, settings.bbox)
    whole = Window(0, 0, scene.height, scene.width)
    asked = Window(*settings.window) if settings.window else whole
    if asked.intersection(whole) != asked:
        rule = f"the window must lie inside the scene's {scene.height} x {scene.width} pixels"
        raise Refusal(rule, settings.window, "Give row,column,height,width.")
    return asked


def _camera_facts(camera: Camera, illuminant: str) -> dict[str, Any]:
    digest = hashlib.sha256(camera.sensitivities.tobytes()).hexdigest()
    return {
        "name": camera.name,
        "illuminant": PurePath(illuminant).name,  # of a file, wherever it lies
        "encoding": camera.encoding,
        "white": camera.white,
        "ends": camera.ends,
        "sensitivities": digest,
    }


def _spec(
    settings: ReconstructSettings,
    scene: Scene,
    place: Window,
    reconstructor: model.Reconstructor | model.Calibrated,
    facts: dict[str, Any],
) -> CubeSpec:
    keys = ("tile", "overlap", "chunk", "start", "samples", "seed", "steps", "dtype", "zarr_format")
    kept = {key: getattr(settings, key) for key in (*keys, "noise_level")}
    window = [place.row, place.col, place.height, place.width]
    precision = "bfloat16" if facts["engine"].endswith("bfloat16") else "float32"
    fixed = {"format": FORMAT, "precision": precision}
    fixed |= {"codec": "zstd 1, checksum", "consistent": True}
    return CubeSpec(
        height=place.height,
        width=place.width,
        wavelengths=reconstructor.wavelengths,
        spread=reconstructor.spread,
        chunk=settings.chunk,
        dtype=settings.dtype,
        zarr_format=settings.zarr_format,
        transform=scene.transform,
        crs_wkt=scene.crs_wkt,
        row0=place.row,
        col0=place.col,
        settings={**fixed, **kept, **facts, "window": window},
    )
