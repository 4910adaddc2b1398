"""The checkpoints that come with the package, and what they reached."""

import json
from typing import Any

from model.checkpoint import describe
from model.shipped import SHIPPED
from model.uncertainty import beside

FIGURES = SHIPPED.with_name("figures.json")
"""Evaluations of the shipped checkpoints, summed up by `benchmarks.figures`."""


def shipped() -> list[dict[str, Any]]:
    """Name, kind, digest, training data and figures of each; only figures of that very digest."""
    known = json.loads(FIGURES.read_text())
    found = []
    paths = sorted(SHIPPED.parent.glob("*.safetensors"))
    for path in (path for path in paths if path not in map(beside, paths)):
        about = describe(path)
        training = about["training"]
        scenes = len(training.get("scenes") or ()) or training.get("split")
        others = len(training.get("beside_scenes") or ())
        found.append(
            {
                "name": path.name,
                "kind": about["kind"],
                "digest": about["digest"],
                "trained_on": f"{training.get('dataset', 'cave')}, {scenes} scenes"
                + (f", {others} of others beside" if others else ""),
                "figures": [f for f in known if f["digest"] == about["digest"]],
            }
        )
    return found
