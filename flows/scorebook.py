"""What an evaluation says and keeps: evaluation.json, evaluation.csv and a table for people."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import model
from flows.bound import chosen_engine
from flows.environment import PACKAGES, installed
from flows.learn_settings import EvaluateSettings
from flows.lineage import lineage, seen, untold
from flows.report import EVALUATION
from flows.scenes import shortfall
from flows.sigma import checkpoint_of
from model.checkpoint import describe
from model.cost import multiply_adds
from model.shipped import SHIPPED
from pipeline.ours import refuse_foreign
from pipeline.reference import DataSet
from pipeline.scores import ANGLES, bootstrap
from pipeline.store import put

Row = dict[str, Any]
METRICS = ("mrae", "rmse", "psnr", "sam", "ssim", "ergas")
SHOWN = (*METRICS, "tiles", "seconds")
FORMAT = 1
JSON, CSV = "evaluation.json", "evaluation.csv"
FITTED = SHIPPED.with_name("root-polynomial-basler.safetensors")
"""The baseline's fit."""


def about(
    settings: EvaluateSettings, dataset: DataSet, network: model.R2HDiff, names: Sequence[str]
) -> dict[str, Any]:
    """All that decides the figures, and what the model costs.

    With which scenes of a split are missing, and which of the others the model, or one that it
    started from, was trained on, as far as checkpoints name them.
    """
    checkpoint = checkpoint_of(settings)
    known, fitted = describe(checkpoint), describe(FITTED)
    links, beside = lineage(known), fitted["config"]["camera"] == settings.camera
    return {
        "format": FORMAT,
        "dataset": dataset.name,
        "settings": settings.model_dump(mode="json", exclude={"checkpoint", "scenes"}),
        "engine": chosen_engine(settings, network),
        "checkpoint": {"name": checkpoint.name, "digest": known["digest"]},
        "baseline": {"name": FITTED.name, "digest": fitted["digest"]},
        "parameters": sum(p.numel() for p in network.parameters()),
        "gmac": round(multiply_adds(network, settings.steps), 3),
        "angle_edges": ANGLES.tolist(),
        "wavelengths_nm": [w for w in dataset.wavelengths if w in known["wavelengths_nm"]],
        "versions": {name: installed(name) for name in PACKAGES},
        "missing": list(dataset.missing(settings.split)) if settings.split else [],
        "trained_on": seen(links, dataset.name, names),
        "untold": untold(links),
        "baseline_trained_on": seen(lineage(fitted), dataset.name, names) if beside else [],
    }


def cautions(whole: dict[str, Any], count: int) -> list[str]:
    """What whoever reads the figures of ``count`` scenes must know first."""
    found = []
    failed = whole.get("failed", {})
    if missing := whole.get("missing"):
        found.append(shortfall(whole["settings"]["split"], count + len(failed), missing))
    if trained := whole.get("trained_on"):
        found.append(f"NOT a test: the model was trained on {', '.join(trained)}")
    if fitted := whole.get("baseline_trained_on"):
        found.append(f"NOT a test of the baseline: it was fitted on {', '.join(fitted)}")
    if silent := whole.get("untold"):
        which = ", ".join(digest[:12] for digest in silent)
        found.append(f"perhaps no test: it is not said which scenes {which} was trained on")
    if failed:
        found.append(f"NOT scored, as they could not be read: {', '.join(failed)}")
    if whole["settings"].get("rgb") == "published":
        found.append("more than others are given: photographs' exposure, taken from the references")
    return found


def means(rows: list[Row]) -> list[Row]:
    """A row a method: the mean of each metric over scenes and its bootstrap interval of 95 %."""
    methods = dict.fromkeys(row["method"] for row in rows)
    found = []
    for method in methods:
        mine = [row for row in rows if row["method"] == method]
        values = {key: [row[key] for row in mine] for key in METRICS}
        by_wavelength = {
            key: np.mean([row["by_wavelength"][key] for row in mine], axis=0).tolist()
            for key in mine[0]["by_wavelength"]
        }
        found.append(
            {"method": method}
            | {key: float(np.mean(value)) for key, value in values.items()}
            | {"interval": {key: bootstrap(value) for key, value in values.items()}}
            | {"tiles": sum(row["tiles"] for row in mine)}
            | {"seconds": round(sum(row["seconds"] for row in mine), 3)}
            | {"by_wavelength": by_wavelength}
            | {"angles": np.sum([row["angles"] for row in mine], axis=0).tolist()}
        )
    return found


def differences(rows: list[Row]) -> list[Row]:
    """What each other method has more than the first, scene by scene, with its interval.

    Of the frame as one tile against tiles it is what the tiles cost.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    of = {(row["scene"], row["method"]): row for row in rows}
    found = []
    for method in methods[1:]:
        scenes = [row["scene"] for row in rows if row["method"] == method]
        less = {
            key: [of[scene, method][key] - of[scene, methods[0]][key] for scene in scenes]
            for key in METRICS
        }
        found.append(
            {"method": method, "less": methods[0]}
            | {key: float(np.mean(values)) for key, values in less.items()}
            | {"interval": {key: bootstrap(values) for key, values in less.items()}}
        )
    return found


def refuse_other(out: Path) -> None:
    """Raise Refusal where a folder's evaluation.json or .csv is none of ours; cut ones may be."""
    start = f'{{\n  "format": {FORMAT},\n  "dataset": '.encode()
    for path, sign in ((out / JSON, start), (out / CSV, b"scene,method")):
        refuse_foreign(str(path), "Choose another folder.", sign)


def forget(out: Path) -> None:
    """Delete the figures of an earlier evaluation: its cubes are being replaced."""
    for name in (JSON, CSV, EVALUATION):
        (out / name).unlink(missing_ok=True)


def json_of(whole: dict[str, Any], indent: int | None = None) -> str:
    """An evaluation as JSON, which has no number that is not finite: null in its place."""

    def finite(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(_each(whole, finite), indent=indent, allow_nan=False)


def read(folder: Path) -> dict[str, Any]:
    """What `write` wrote, with NaN for null among its figures."""
    whole: dict[str, Any] = json.loads((folder / JSON).read_text("utf-8"))
    figures = {key: whole[key] for key in ("scenes", "means", "differences") if key in whole}
    known: dict[str, Any] = _each(figures, lambda value: math.nan if value is None else value)
    return whole | known


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same lists and dictionaries, every value in them changed."""
    if isinstance(value, dict):
        return {key: _each(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_each(inner, change) for inner in value]
    return change(value)


def write(whole: dict[str, Any], out: Path) -> None:
    """Write evaluation.json, and evaluation.csv with a row a scene and method."""
    put(str(out / JSON), json_of(whole, 2).encode())
    rows = io.StringIO()
    keys = ["scene", "method", *SHOWN, "peak_bytes"]
    writer = csv.DictWriter(rows, keys, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(whole["scenes"])
    put(str(out / CSV), rows.getvalue().encode())


def table(whole: dict[str, Any]) -> str:
    """The evaluation as text in columns: scenes, means with their intervals, and what it was."""
    wide = max(len(str(row["scene"])) for row in whole["scenes"]) + 2
    rows = [(row["scene"], row) for row in whole["scenes"]]
    rows += [("mean", row) for row in whole["means"]]
    lines = [f"{'scene':<{wide}}{'method':<18}" + "".join(f"{key:>10}" for key in SHOWN)]
    for name, row in rows:
        lines.append(
            f"{name:<{wide}}{row['method']:<18}" + "".join(_cell(row[key]) for key in SHOWN)
        )
    several = len({row["scene"] for row in whole["scenes"]}) > 1  # one has no interval
    for row in whole["means"] if several else ():
        ends = ", ".join(f"{k} {a:.3f} to {b:.3f}" for k, (a, b) in row["interval"].items())
        lines.append(f"{row['method']}, 95 % of means over scenes drawn again: {ends}")
    for row in whole["differences"]:
        ends = ", ".join(
            f"{k} {row[k]:+.3f}" + (f" ({a:+.3f} to {b:+.3f})" if several else "")
            for k, (a, b) in row["interval"].items()
        )
        lines.append(f"{row['method']} less {row['less']}: {ends}")
    settings = whole["settings"]
    lines += cautions(whole, len({row["scene"] for row in whole["scenes"]}))
    lines.append(
        f"{whole['dataset']}, {settings['protocol']}, {settings['rgb']} {settings['rendering']}, "
        f"{settings['camera']}; {whole['engine']}, tile {settings['tile']}, overlap "
        f"{settings['overlap']}, start {settings['start']}; {whole['parameters']:,} parameters, "
        f"{whole['gmac']} GMAC at 256 x 256; checkpoint {whole['checkpoint']['digest'][:12]}"
    )
    return "\n".join(lines)


def _cell(value: float) -> str:
    return f"{value:>10d}" if isinstance(value, int) else f"{value:>10.4f}"
