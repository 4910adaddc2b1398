"""Figures of a run that a scheduler can scrape: Prometheus' text format, by its own library."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from flows.written import refuse_unwritable, write

SIGN = b"# HELP r2h_"
"""How they begin."""
FIGURES = {
    "megapixels": "Megapixels of the scenes that were finished, whole",
    "seconds": "Seconds of the scenes",
    "read_bytes": "Bytes of pixels read, decoded; what tiles share counts for each",
    "stored_bytes": "Bytes of the cubes and their companions as stored",
    "retries": "Reads that had to be tried again",
}


def refuse_no_metrics(uri: str) -> None:
    """Raise Refusal where figures cannot be written, or something that is not R2H's is there."""
    refuse_unwritable(uri, "--metrics", SIGN)


def write_metrics(uri: str, records: Sequence[dict[str, Any]]) -> None:
    """Write the sums of the records of one run: `run.json` of each scene, or lines of a batch.

    Pixels count where they were reconstructed in it: those of other lines are of what was asked.
    Raises Refusal as `refuse_no_metrics` does: what a store holds it may not have told before.
    """
    refuse_no_metrics(uri)
    done = [record for record in records if record.get("state", "done") == "done"]
    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float, **labels: str) -> None:
        made = known.get(name) or Gauge(name, text, list(labels), registry=registry)
        known[name] = made
        (made.labels(**labels) if labels else made).set(value)

    known: dict[str, Gauge] = {}
    for key, text in FIGURES.items():
        of = done if key == "megapixels" else records
        gauge(f"r2h_{key}", text, sum(record.get(key) or 0 for record in of))
    peak = max((record.get("peak_bytes") or 0 for record in records), default=0)
    gauge("r2h_peak_memory_bytes", "Most memory of the process", peak)
    stages: Counter[str] = Counter()
    for record in records:
        stages.update(record.get("stages") or {})
    for name, value in stages.items():
        gauge("r2h_stage_seconds", "Seconds by stage", value, stage=name)
    for state, count in Counter(record.get("state", "done") for record in records).items():
        gauge("r2h_scenes", "Scenes by how they ended", count, state=state)
    # A collector that reads meanwhile finds no half of it.
    write(uri, generate_latest(registry))
