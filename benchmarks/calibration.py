"""Whether sigma can be believed: ``python -m benchmarks.calibration CAVE RUN [--airborne FOLDER]``.

RUN is the folder of `r2h calibrate`: its check leaves each group of training scenes out. Beside it
the shipped weights and their sigma are scored on the validation scenes of CAVE and, where their
folder is named, from the air, with 90 % bootstrap intervals over scenes, and the reliability
diagram is drawn. Five minutes on one core.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

import model
from benchmarks.airborne import VALIDATION, surfaces
from flows.calibrate import Row, left_out, scored
from flows.learn_settings import CalibrateSettings, EvaluateSettings
from flows.settings import load
from model.shipped import SHIPPED
from model.uncertainty import LEVELS, beside
from pipeline.cave import WAVELENGTHS, cave
from pipeline.own import own
from pipeline.reference import Reference

Floats = NDArray[np.float64]
DRAWS = 200
"""Of scenes, for an interval."""
NORMAL = (2 / np.pi) ** 0.5
"""Mean absolute error over sigma of normal errors."""


def ranks(values: Floats) -> Floats:
    """Ranks of values, ties in order of place; of floats there are next to none."""
    out = np.empty(len(values))
    out[values.argsort(kind="stable")] = np.arange(len(values))
    return out


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def coverage(rows: list[Row]) -> Floats:
    """(levels, bands): share of pixels inside, mean over groups of their scenes' means."""
    of: dict[str, list[list[float]]] = {}
    for row in rows:
        of.setdefault(row.get("group") or row["scene"], []).append(list(row["covered"].values()))
    shares: Floats = np.mean([np.mean(scenes, axis=0) for scenes in of.values()], axis=0)
    return shares


def figures(rows: list[Row]) -> dict[str, float]:
    """What is asked of sigma, in one number each; coverage in percent."""
    shares = coverage(rows)
    error, sigma, light = (
        np.concatenate([row[key] for row in rows]) for key in ("error", "sigma", "brightness")
    )
    found = {f"inside {level:.0%}": 100 * s.mean() for level, s in zip(LEVELS, shares, strict=True)}
    away = np.abs(shares - np.array(LEVELS)[:, None]).max(axis=1)
    found |= {f"worst {level:.0%}": 100 * a for level, a in zip(LEVELS, away, strict=True)}
    found["rank"] = spearman(sigma, error)
    found["rank of brightness"] = spearman(light, error)
    found["rank in a scene"] = float(
        np.mean([spearman(np.array(r["sigma"]), np.array(r["error"])) for r in rows])
    )
    found["brightness in a scene"] = float(
        np.mean([spearman(np.array(r["brightness"]), np.array(r["error"])) for r in rows])
    )
    return found


def bootstrap(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """90 % intervals of the figures, scenes drawn with replacement."""
    random = np.random.default_rng(0)
    drawn = [
        figures([rows[i] for i in random.integers(len(rows), size=len(rows))]) for _ in range(DRAWS)
    ]
    return {key: tuple(np.percentile([found[key] for found in drawn], (5, 95))) for key in drawn[0]}


def indoors(root: Path) -> Iterable[Reference]:
    """CAVE's validation scenes."""
    return map(cave(root).read, load(EvaluateSettings, "evaluate-cave.toml").scenes)


def from_above(root: Path) -> Iterable[Reference]:
    """The airborne validation scenes, of reflectance."""
    return map(surfaces, map(own(root, WAVELENGTHS).read, VALIDATION))


def validation(scenes: Iterable[Reference], samples: int = 0) -> list[Row]:
    """The shipped weights' own rows on scenes."""
    settings = load(CalibrateSettings, "calibrate-cave.toml")
    uncertainty = model.Uncertainty.load(beside(SHIPPED))
    law = uncertainty.samples if samples else uncertainty.one
    found = left_out(settings, model.load(), scenes, samples)
    return [scored(law, errors) for errors in found]


def draw(tables: dict[str, list[Row]], path: Path) -> None:
    """Shares inside against nominal, along wavelengths, and error against sigma."""
    mpl.use("Agg")
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for colour, (name, rows) in zip(("tab:blue", "tab:orange"), tables.items(), strict=True):
        shares = coverage(rows)
        for row in rows:
            alone = 100 * np.mean(list(row["covered"].values()), axis=1)
            left.plot([100 * v for v in LEVELS], alone, color=colour, alpha=0.25, lw=0.8)
        left.plot(
            [100 * v for v in LEVELS], 100 * shares.mean(axis=1), "o-", color=colour, label=name
        )
        for level, line in zip(LEVELS, shares, strict=True):
            middle.plot(WAVELENGTHS, 100 * line, color=colour)
            middle.axhline(100 * level, color="grey", ls=":", lw=0.8)
        error, sigma = (np.concatenate([r[key] for r in rows]) for key in ("error", "sigma"))
        bins = np.array_split(sigma.argsort(), 12)
        right.plot(
            [sigma[b].mean() for b in bins], [error[b].mean() for b in bins], "o-", color=colour
        )
    left.plot([40, 100], [40, 100], color="grey", ls=":")
    left.set(
        xlabel="nominal, %", ylabel="pixels inside, %", title="Intervals (a thin line a scene)"
    )
    left.legend()
    middle.set(xlabel="wavelength, nm", ylabel="pixels inside, %", title="Along wavelengths")
    low, high = right.get_xlim()
    right.plot([low, high], [NORMAL * low, NORMAL * high], color="grey", ls=":")
    right.set(xscale="log", yscale="log", xlabel="sigma", ylabel="mean absolute error")
    right.set_title("Error against sigma, mean over wavelengths")
    figure.savefig(path, dpi=110)


def main(root: str, run: str, picture: str = "docs/images/reliability.png", air: str = "") -> None:
    """Print the figures and draw the diagram."""
    check: dict[str, list[Row]] = json.loads((Path(run) / "calibration.json").read_text())
    for law, samples in (("one", 0), ("samples", 4)):
        tables = {
            "left out of training": check[law],
            "validation": validation(indoors(Path(root)), samples),
        }
        if law == "one":
            draw(tables, Path(picture))
        if air:
            tables["validation, from the air"] = validation(from_above(Path(air)), samples)
        for name, rows in tables.items():
            found, around = figures(rows), bootstrap(rows)
            print(f"{law}, {name}")
            for key, value in found.items():
                print(f"  {key:<22} {value:8.3f}  ({around[key][0]:.3f} to {around[key][1]:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("root")
    parser.add_argument("run")
    parser.add_argument("picture", nargs="?", default="docs/images/reliability.png")
    parser.add_argument("--airborne", default="", help="folder of airborne scenes")
    given = parser.parse_args()
    main(given.root, given.run, given.picture, given.airborne)
