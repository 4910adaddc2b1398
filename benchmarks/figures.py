"""Keep evaluations as the figures that `r2h model list` shows.

``python -m benchmarks.figures EVALUATION.json ...`` puts them into model/weights/figures.json, in
place of what the same weights reached on the same before.
"""

import json
import sys
from pathlib import Path
from typing import Any

from flows.evaluate import BASELINE, OURS
from flows.models import FIGURES
from flows.scorebook import METRICS


def figures(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a checkpoint of an evaluation: what was scored, and the means over its scenes."""
    settings = whole["settings"]
    scenes = len({row["scene"] for row in whole["scenes"]})
    what = (
        f"{whole['dataset']}, {scenes} scenes, {settings['camera']}, {settings['rgb']} "
        f"{settings['rendering']}, {settings['protocol']}, tile {settings['tile']}"
    )
    digests = {OURS: whole["checkpoint"]["digest"], BASELINE: whole["baseline"]["digest"]}
    return [
        {
            "digest": digests[row["method"]],
            "what": what,
            "mean": {key: round(row[key], 4) for key in METRICS},
            "interval": {key: [round(v, 4) for v in row["interval"][key]] for key in METRICS},
        }
        for row in whole["means"]
        if row["method"] in digests
    ]


def main(*paths: str) -> None:
    """Sum up and write."""
    rows = json.loads(FIGURES.read_text())
    rows += [row for path in paths for row in figures(json.loads(Path(path).read_text()))]
    latest = {(row["digest"], row["what"]): row for row in rows}
    FIGURES.write_text(json.dumps(list(latest.values()), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
