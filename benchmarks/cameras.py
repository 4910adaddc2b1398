"""What the camera costs: ``python -m benchmarks.cameras CAVE OUT.json [--scenes ...]``.

Scenes (the validation scenes unless others are named) are rendered by the ten cameras that training
never saw and by ten that it saw, and go through tiles and a stored cube. Three ways: told the
camera; told that it is the Basler, as a specialist of that camera would take it; and the regression
fitted to the Basler. Then exposure: linear floats, and 8-bit sRGB that clips, times 1/4 to 2. Two
seconds a scene and way on a quiet core. ``--checkpoint`` scores other weights. Prints Markdown.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import model
from flows.bound import bind, chosen_engine, closure_of
from flows.evaluate import through_tiles
from flows.learn_settings import EvaluateSettings, TrainSettings
from flows.scorebook import FITTED
from flows.settings import load
from flows.shown import camera_shares
from model.baseline import RootPolynomial
from model.checkpoint import describe
from model.shipped import SHIPPED
from pipeline.camera import SRGB, Camera, Floats, load_camera, resampled
from pipeline.cave import WAVELENGTHS, cave
from pipeline.closure import Closure
from pipeline.context import measured
from pipeline.curve import to_srgb
from pipeline.grid import Window
from pipeline.metrics import mrae, psnr, sam
from pipeline.reference import Reference, ReferenceScene
from pipeline.rendering import render
from pipeline.stream import Reconstructor

BASLER = "basler-a2a5320-23uc"
SEEN = (
    BASLER, SRGB, "canon-eos-200d", "canon-eos-5d-mark-ii", "canon-eos-r6", "nikon-d700",
    "nikon-d5300", "nikon-z-f", "sony-ilce-7m3", "sony-ilce-9",
)  # fmt: skip
"""Of the cameras in training ten of all families, fixed before any was scored."""
TIMES = (0.25, 0.5, 1.0, 2.0)
WAYS = ("told the camera", "told the Basler", "regression for the Basler")
METRICS = {"psnr": psnr, "sam": sam, "mrae": mrae}
Row = dict[str, Any]


class Bench:
    """A network, and what it takes to score it."""

    def __init__(self, settings: EvaluateSettings, checkpoint: Path) -> None:
        self.settings, self.network = settings, model.load(checkpoint)
        self.baseline = RootPolynomial.load(FITTED)

    def told(self, scene: ReferenceScene, camera: Camera) -> Floats:
        """The scene's cube where the model takes it for that camera's."""
        seen, engine = measured(scene, camera), chosen_engine(self.settings, self.network)
        bound = bind(self.settings, self.network, engine, camera, seen)
        closure = closure_of(self.settings, self.network, camera, seen.scale)
        return self._cube(scene, bound, camera, closure)

    def regression(self, scene: ReferenceScene) -> Floats:
        """The scene's cube by the baseline."""
        return self._cube(scene, self.baseline, lens(BASLER), None)

    def _cube(
        self, scene: ReferenceScene, by: Reconstructor, camera: Camera, closure: Closure | None
    ) -> Floats:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "cube.zarr"
            cube = through_tiles(self.settings, scene, by, path, camera, closure)
            return cube.read(Window(0, 0, scene.height, scene.width))[0]

    def camera(self, kind: str, name: str, references: list[Reference]) -> list[Row]:
        """A row a scene and way, the scenes seen by one camera."""
        rows, camera = [], lens(name)
        for reference in references:
            scene = ReferenceScene.rendered(reference, camera)
            told = self.told(scene, camera)
            basler = told if name == BASLER else self.told(scene, lens(BASLER))
            cubes = (told, basler, self.regression(scene))
            for way, cube in zip(WAYS, cubes, strict=True):
                scores = {key: of(cube, reference.cube) for key, of in METRICS.items()}
                # For its own camera a specialist is no measure of what it does with others.
                group = "own" if name == BASLER and way != WAYS[0] else kind
                about = {"scene": reference.name, "camera": name, "kind": group, "way": way}
                rows.append(about | scores)
        return rows

    def exposures(self, reference: Reference) -> list[Row]:
        """A row an exposure of one scene as linear sRGB: of floats, and of 8-bit values that clip.

        ``shift`` is the root mean square change, over that of the cube, from the floats at 1.
        """
        linear = render(reference.cube, lens(SRGB))
        base = self.told(ReferenceScene(reference, linear), lens(SRGB))
        rows = []
        for k in TIMES:
            times = np.float32(k)
            whole = np.rint(255 * to_srgb(linear * times)).astype(np.uint8)
            bits = lens(SRGB).reading("srgb", 255.0).decode(whole)
            for kind, rgb in (("float", linear * times), ("8 bits", bits)):
                cube = self.told(ReferenceScene(reference, rgb), lens(SRGB)) / times
                change = float(np.sqrt(((cube - base) ** 2).mean() / (base**2).mean()))
                clipped = float((whole == 255).any(axis=0).mean()) if kind == "8 bits" else 0.0
                rows.append(
                    {"scene": reference.name, "times": k, "kind": kind, "shift": change}
                    | {"psnr": psnr(cube, reference.cube), "clipped": clipped}
                )
        return rows


def lens(name: str) -> Camera:
    """A camera at CAVE's wavelengths."""
    return resampled(load_camera(name), WAVELENGTHS)


def mean(rows: list[Row], key: str, **only: object) -> float:
    """Of the rows that are of these."""
    return float(np.mean([r[key] for r in rows if all(r[k] == v for k, v in only.items())]))


def markdown(cameras: list[Row], exposures: list[Row]) -> str:
    """Both tables."""
    lines = ["| cameras | way | PSNR dB | SAM degrees | MRAE |", "|---|---|---|---|---|"]
    groups: list[tuple[str, dict[str, object]]] = [
        (f"{len({r['camera'] for r in cameras if r['kind'] == kind})} {kind}", {"kind": kind})
        for kind in ("unseen", "seen")
    ]
    groups.append(("Basler", {"camera": BASLER}))
    for title, only in groups:
        for way in WAYS:
            found = [mean(cameras, key, way=way, **only) for key in METRICS]
            lines.append(f"| {title} | {way} | {found[0]:.2f} | {found[1]:.1f} | {found[2]:.3f} |")
    lines += [
        "",
        "| exposure | input | change | PSNR dB | pixels clipped |",
        "|---|---|---|---|---|",
    ]
    for k in TIMES:
        for kind in ("float", "8 bits"):
            shift, near, cut = (
                mean(exposures, key, times=k, kind=kind) for key in ("shift", "psnr", "clipped")
            )
            lines.append(f"| {k:g} | {kind} | {shift:.1e} | {near:.2f} | {cut:.1%} |")
    return "\n".join(lines)


def main() -> None:
    """Score, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", nargs="*", help="names; the validation scenes if none")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    given = parser.parse_args()
    settings = load(EvaluateSettings, "evaluate-cave.toml")
    training = load(TrainSettings, "train-cave.toml")
    assert set(SEEN) <= camera_shares(training).keys(), "training saw them"
    bench, dataset = Bench(settings, given.checkpoint), cave(given.root)
    references = [dataset.read(name) for name in given.scenes or settings.scenes]
    cameras = []
    # What is compiled for a camera serves all scenes.
    for kind, names in (("unseen", training.held_out_cameras), ("seen", SEEN)):
        for name in names:
            cameras += bench.camera(kind, name, references)
            told = mean(cameras, "psnr", camera=name, way=WAYS[0])
            print(f"{name}: {told:.2f} dB", file=sys.stderr, flush=True)
    exposures = [row for reference in references for row in bench.exposures(reference)]
    kept = {"checkpoint": describe(given.checkpoint)["digest"]}
    given.out.write_text(
        json.dumps({**kept, "cameras": cameras, "exposures": exposures}, indent=1) + "\n"
    )
    print(markdown(cameras, exposures))


if __name__ == "__main__":
    main()
