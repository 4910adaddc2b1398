"""What cutting a scene into tiles costs in accuracy: a convolution feels where a tile ends."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import model
from benchmarks.options import Options
from benchmarks.tables import Table
from flows.bound import bind, chosen_engine
from flows.evaluate import through_tiles
from flows.learn_settings import EvaluateSettings
from flows.settings import load
from pipeline.camera import load_camera, resampled
from pipeline.cave import WAVELENGTHS, cave
from pipeline.closure import Closure
from pipeline.context import measured
from pipeline.grid import Window
from pipeline.metrics import score
from pipeline.reference import Reference, ReferenceScene

OVERLAP = 32
LIMIT = 0.1


def tiling(options: Options) -> Table:
    """PSNR through tiles against the scene in one, on the CAVE validation scenes."""
    heading = ("Tiling", "How much accuracy does a scene lose by being cut into tiles?")
    columns = "scene | tiles | whole, dB | 128, dB | 256, dB | 256 less whole"
    if not options.cave:
        return options.table(heading, columns, [], ["not measured: --cave names no folder"])
    settings = load(EvaluateSettings, "evaluate-cave.toml")
    scenes = _scenes(settings, Path(options.cave))
    rows, losses = [], []
    for name, scene in scenes.items():
        whole = -(-max(scene.height, scene.width) // 8) * 8
        found = {tile: _psnr(settings, scene, tile) for tile in (whole, 128, 256)}
        loss = [found[tile] - found[whole] for tile in (128, 256)]
        tiles = f"1, {_count(scene, 128)}, {_count(scene, 256)}"
        figures = [f"{value:.2f}" for value in found.values()]
        rows.append([name, tiles, *figures, f"{loss[1]:+.3f}"])
        losses.append(loss)
    *single, mosaic = losses
    means = np.mean(single, axis=0)
    notes = [
        f"mean over the scenes: tile 128 **{means[0]:+.3f} dB**, tile 256 **{means[1]:+.3f} dB**; "
        f"mosaic, tile 256: **{mosaic[1]:+.3f} dB**; limit {LIMIT}",
        f"overlap {OVERLAP}; camera {settings.camera}, noise-free; stored cubes, whole frames",
    ]
    return options.table(heading, columns, rows, notes)


def _scenes(settings: EvaluateSettings, root: Path) -> Mapping[str, ReferenceScene]:
    """The validation scenes, and last a mosaic of them, four tiles of 256 high and six wide."""
    camera = resampled(load_camera(settings.camera), WAVELENGTHS)
    known = cave(root)
    cubes = {name: known.read(name).cube for name in settings.scenes}
    parts = [*cubes.values(), next(iter(cubes.values()))]
    rows = [np.concatenate(parts[i : i + 3], axis=2) for i in (0, 3)]
    cubes["mosaic of them, 1024 x 1536"] = np.concatenate(rows, axis=1)
    return {
        name: ReferenceScene.rendered(
            Reference(name, cube, WAVELENGTHS, np.ones(cube.shape[1:], bool)), camera
        )
        for name, cube in cubes.items()
    }


def _psnr(settings: EvaluateSettings, scene: ReferenceScene, tile: int) -> float:
    here = settings.model_copy(update={"tile": tile, "overlap": OVERLAP})
    network = model.load()
    camera = resampled(load_camera(here.camera), WAVELENGTHS)
    engine, seen = chosen_engine(here, network), measured(scene, camera)
    reconstructor = bind(here, network, engine, camera, seen)
    with TemporaryDirectory() as folder:
        path, closure = Path(folder) / "cube.zarr", Closure(camera.sensitivities)
        cube = through_tiles(here, scene, reconstructor, path, camera, closure)
        estimate, _ = cube.read(Window(0, 0, scene.height, scene.width))
    return float(score(estimate, scene.reference.cube)["psnr"])


def _count(scene: ReferenceScene, tile: int) -> int:
    across = [-(-(side - OVERLAP) // (tile - OVERLAP)) for side in (scene.height, scene.width)]
    return across[0] * across[1]
