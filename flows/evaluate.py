"""Benchmarks: a data set's scenes through the same tiles as any image, scored on their truth."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model
from flows.bound import bind, chosen_engine, closure_of, threads_of
from flows.compared import compared, scored, true_colours
from flows.forecast import peak_resident
from flows.learn_settings import EvaluateSettings
from flows.report import EVALUATION, error_map_name, report_place, write_evaluation
from flows.scenes import scenes_of, seen_by
from flows.scorebook import (
    FITTED,
    Row,
    about,
    cautions,
    differences,
    forget,
    means,
    refuse_other,
    write,
)
from flows.sigma import checkpoint_of
from model.baseline import RootPolynomial
from pipeline.camera import Camera, Floats, load_camera, resampled
from pipeline.charts import error_maps, off, png
from pipeline.closure import Closure
from pipeline.context import Measured, measured
from pipeline.cube import CubeSpec, SpectralCube
from pipeline.datasets import Name
from pipeline.errors import Refusal
from pipeline.grid import TileGrid, Window
from pipeline.lock import alone
from pipeline.reference import DataSet, Reference, ReferenceScene
from pipeline.scores import Scores
from pipeline.stream import Reconstructor, Stream

OURS, BASELINE, WHOLE = "r2h-diff", "root-polynomial", "r2h-diff whole"


def evaluate(
    settings: EvaluateSettings,
    dataset: Name,
    root: str | Path,
    out: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Score model and baseline on every scene; write cubes, figures, JSON, CSV and HTML to ``out``.

    Returns what evaluation.json holds (docs/evaluation.md). The baseline is left out, and that is
    told, where it was fitted for another camera. One scene is in memory at a time. What cannot be
    read is told, and the others are scored. Raises Refusal where no scene is.
    """
    report_place(str(out / EVALUATION))  # not when all is scored
    refuse_other(out)
    opened, names = scenes_of(settings, dataset, root)
    table = load_camera(settings.camera)
    camera = resampled(table, seen_by(table, opened.wavelengths))
    network = model.load(checkpoint_of(settings))
    known = about(settings, opened, network, names)
    for warning in cautions(known, len(names)):
        tell(warning)
    eye = _padded(camera, tuple(network.wavelengths.tolist()))
    out.mkdir(parents=True, exist_ok=True)
    bench = _Bench(settings, network, camera, eye, out, tell)
    # Cubes and scores have the same names in every evaluation: two would score each other's.
    with alone(out / ".evaluate.lck", where_possible=True):
        forget(out)
        rows, failed = _scored(bench, opened, names)
    known["failed"] = failed
    whole = {**known, "scenes": rows, "means": means(rows), "differences": differences(rows)}
    write(whole, out)
    write_evaluation(out)
    return whole


def _scored(
    bench: "_Bench", opened: DataSet, names: Sequence[str]
) -> tuple[list[Row], dict[str, str]]:
    """The rows of all scenes that can be scored, and why others cannot: that costs no hours.

    Raises Refusal where none can.
    """
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for name in names:
        try:
            rows += bench.rows(opened.read(name))
        except Refusal as error:
            failed[name] = f"{error}"
            bench.tell(f"{name}: {error}")
    if not rows:
        rule, fix = "a scene can be scored", "r2h data check says more."
        raise Refusal(rule, f"none of {len(names)}: {next(iter(failed.values()))}", fix)
    return rows, failed


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """What all scenes of an evaluation are scored under."""

    settings: EvaluateSettings
    network: model.R2HDiff
    camera: Camera
    """As it renders the scenes."""
    eye: Camera
    """The same at the model's wavelengths."""
    out: Path
    tell: Callable[[str], None]

    def rows(self, reference: Reference) -> list[Row]:
        """A row a method; where they are off in the scene is drawn beside its cubes."""
        scene = _scene(self.settings, reference, self.camera)
        seen = measured(scene, self.camera, self.settings.tile)
        closure = closure_of(self.settings, self.network, self.eye, seen.scale)
        rows: list[Row] = []
        errors: dict[str, Floats] = {}
        for method, settings, reconstructor in self._methods(scene, seen):
            file = f"{reference.name.replace('/', '-')}-{method.replace(' ', '-')}.zarr"
            start = time.perf_counter()
            # A method is scored as it is used: regression as it answers.
            closes = None if method == BASELINE else closure
            cube = through_tiles(settings, scene, reconstructor, self.out / file, self.eye, closes)
            seconds = time.perf_counter() - start
            errors[method] = off(*compared(cube, reference))
            rows.append(_row(scene, method, settings, scored(cube, reference, settings), seconds))
            told = f"{rows[-1]['psnr']:.2f} dB, {rows[-1]['tiles']} tiles, {seconds:.1f} s"
            self.tell(f"{reference.name} {method}: {told}")
        drawn = png(error_maps(true_colours(cube, reference), errors))
        (self.out / error_map_name(reference.name)).write_bytes(drawn)
        return rows

    def _methods(
        self, scene: ReferenceScene, seen: Measured
    ) -> Iterator[tuple[str, EvaluateSettings, Reconstructor]]:
        """Each method, the settings it runs under, and it itself."""
        engine = chosen_engine(self.settings, self.network)
        ours = bind(self.settings, self.network, engine, self.eye, seen)
        yield OURS, self.settings, ours
        if self.settings.whole:
            # A tile must suit the network; what overhangs is padded as at any scene's edge.
            step = self.network.config.reduction
            side = -(-max(scene.height, scene.width) // step) * step
            yield WHOLE, self.settings.model_copy(update={"tile": side, "overlap": 0}), ours
        baseline, camera = RootPolynomial.load(FITTED), self.camera
        if baseline.camera == camera.name and baseline.wavelengths == camera.wavelengths:
            yield BASELINE, self.settings, baseline
        else:
            span = f"{baseline.wavelengths[0]:g} to {baseline.wavelengths[-1]:g} nm"
            self.tell(f"no {BASELINE} beside it: that was fitted for {baseline.camera}, {span}")


def _row(
    scene: ReferenceScene, method: str, settings: EvaluateSettings, scores: Scores, seconds: float
) -> Row:
    grid = TileGrid(scene.height, scene.width, settings.tile, settings.overlap)
    return {
        "scene": scene.reference.name,
        "method": method,
        **scores.result(),
        "tiles": grid.count(Window(0, 0, scene.height, scene.width)),
        "seconds": round(seconds, 3),
        "peak_bytes": peak_resident(),
        "by_wavelength": scores.by_wavelength(),
        "angles": scores.histogram(),
    }


def _scene(settings: EvaluateSettings, reference: Reference, camera: Camera) -> ReferenceScene:
    if settings.rgb == "published":
        return ReferenceScene.published(reference, camera)
    return ReferenceScene.rendered(reference, camera, settings.rendering, settings.seed)


def _padded(camera: Camera, wavelengths: tuple[float, ...]) -> Camera:
    """The camera at the model's wavelengths: blind where the reference holds no light."""
    if camera.wavelengths == wavelengths:
        return camera
    table = dict(zip(camera.wavelengths, camera.sensitivities.T, strict=True))
    if unknown := {*table} - {*wavelengths}:
        rule = "a model is scored by a data set whose wavelengths it has"
        raise Refusal(rule, f"{sorted(unknown)} nm besides", "Choose another checkpoint.")
    rows = np.stack([table.get(w, np.zeros(3, np.float32)) for w in wavelengths], axis=1)
    return Camera(camera.name, wavelengths, rows, response=camera.response)


def through_tiles(
    settings: EvaluateSettings,
    scene: ReferenceScene,
    reconstructor: Reconstructor,
    path: Path,
    camera: Camera,
    closure: Closure | None,
) -> SpectralCube:
    """Reconstruct a scene into a sealed cube at ``path``, as any image is.

    What is stored renders back by the camera where a ``closure`` sees to it.
    """
    if path.exists():
        SpectralCube.remove(str(path))
    bands, spread = reconstructor.wavelengths, reconstructor.spread
    spec = CubeSpec(scene.height, scene.width, bands, settings.chunk, spread=spread)
    cube = SpectralCube.create(str(path), spec)
    whole = Window(0, 0, scene.height, scene.width)
    torch.set_num_threads(1)
    stream = Stream(
        scene=scene,
        # The scene is linear already, white = 1, and so is a camera that is told no encoding.
        camera=camera,
        grid=TileGrid(scene.height, scene.width, settings.tile, settings.overlap),
        reconstructor=reconstructor,
        cube=cube,
        place=whole,
        seed=settings.seed,
        workers=threads_of(settings),
        closure=closure,
    )
    stream.run(whole)
    cube.seal()
    return cube
