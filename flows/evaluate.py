"""Benchmarks: a data set's scenes through the same tiles as any image, scored on their truth."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model
from flows.job import bind, chosen_engine, threads_of
from flows.report import error_map_name
from flows.settings import EvaluateSettings
from model.baseline import RootPolynomial
from model.checkpoint import SHIPPED
from pipeline.camera import load_camera, resampled
from pipeline.charts import error_map, png
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.datasets import CAVE_WAVELENGTHS, ReferenceScene, cave_cube, cave_scenes
from pipeline.errors import Refusal
from pipeline.exposure import scene_scale
from pipeline.grid import TileGrid, Window
from pipeline.metrics import score
from pipeline.stream import Reconstructor, Stream

Row = dict[str, Any]
MEAN = "mean"
BASELINE = SHIPPED.with_name("root-polynomial-basler.safetensors")


def evaluate(
    settings: EvaluateSettings, root: Path, out: Path, tell: Callable[[str], None]
) -> list[Row]:
    """Score model and baseline on every scene; write cubes, evaluation.json and .csv to ``out``.

    A row a scene and method, and a mean row a method. The baseline is left out, and that is told,
    where it was fitted for another camera.
    """
    folders = cave_scenes(root)
    if missing := [name for name in settings.scenes if name not in folders]:
        raise Refusal("every scene named must be in the root", missing, "Unpack them there.")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in settings.scenes:
        camera = resampled(load_camera(settings.camera), CAVE_WAVELENGTHS)
        scene = ReferenceScene(name, cave_cube(folders[name]), camera)
        for method, reconstructor in _methods(settings, scene, tell).items():
            cube = through_tiles(settings, scene, reconstructor, out / f"{name}-{method}.zarr")
            estimate, _ = cube.read(Window(0, 0, scene.height, scene.width))
            drawn = png(error_map(estimate, scene.reference))
            (out / error_map_name(name, method)).write_bytes(drawn)
            rows.append({"scene": name, "method": method, **score(estimate, scene.reference)})
            tell(f"{name} {method}: {rows[-1]['psnr']:.2f} dB")
    rows += _means(rows)
    _write(rows, out)
    return rows


def _methods(
    settings: EvaluateSettings, scene: ReferenceScene, tell: Callable[[str], None]
) -> dict[str, Reconstructor]:
    network = model.load(Path(settings.checkpoint) if settings.checkpoint else SHIPPED)
    scale = scene_scale(scene, scene.camera)
    methods: dict[str, Reconstructor] = {
        "r2h-diff": bind(settings, network, chosen_engine(settings, network), scene.camera, scale)
    }
    baseline = RootPolynomial.load(BASELINE)
    if baseline.camera == settings.camera:
        return methods | {"root-polynomial": baseline}
    tell(f"no root-polynomial beside it: that was fitted for {baseline.camera}")
    return methods


def through_tiles(
    settings: EvaluateSettings, scene: ReferenceScene, reconstructor: Reconstructor, path: Path
) -> SpectralCube:
    """Reconstruct a scene into a sealed cube at ``path``, as any image is."""
    if path.exists():
        SpectralCube.remove(str(path))
    if reconstructor.wavelengths != CAVE_WAVELENGTHS:
        rule, fix = "a model is scored at the data set's wavelengths", "Choose another checkpoint."
        raise Refusal(rule, reconstructor.wavelengths, fix)
    spec = CubeSpec(scene.height, scene.width, CAVE_WAVELENGTHS, settings.chunk)
    cube = SpectralCube.create(str(path), spec)
    whole = Window(0, 0, scene.height, scene.width)
    grid = TileGrid(scene.height, scene.width, settings.tile, settings.overlap)
    torch.set_num_threads(1)
    stream = Stream(
        scene=scene,
        camera=scene.camera,
        grid=grid,
        reconstructor=reconstructor,
        cube=cube,
        place=whole,
        seed=settings.seed,
        workers=threads_of(settings),
    )
    stream.run(whole)
    cube.seal()
    return cube


def _means(rows: list[Row]) -> list[Row]:
    keys = [key for key in rows[0] if key not in ("scene", "method")]
    methods = dict.fromkeys(row["method"] for row in rows)
    of = {m: [row for row in rows if row["method"] == m] for m in methods}
    return [
        {"scene": MEAN, "method": m} | {k: float(np.mean([row[k] for row in of[m]])) for k in keys}
        for m in methods
    ]


def _write(rows: list[Row], out: Path) -> None:
    (out / "evaluation.json").write_text(json.dumps(rows, indent=2))
    with (out / "evaluation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[Row]) -> str:
    """The rows as text in columns."""
    keys = list(rows[0])[2:]
    lines = [f"{'scene':<22}{'method':<18}" + "".join(f"{key:>10}" for key in keys)]
    for row in rows:
        figures = "".join(f"{row[key]:>10.4f}" for key in keys)
        lines.append(f"{row['scene']:<22}{row['method']:<18}{figures}")
    return "\n".join(lines)
