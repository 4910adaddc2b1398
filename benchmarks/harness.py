"""Runs jobs in fresh processes, interleaved, and keeps what they cost."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.case import Case, Facts

_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "BLOSC")


@dataclass(frozen=True, slots=True)
class Run:
    """A contender: a job, what it is asked, and the machine it gets."""

    job: str
    """`module.function` in `benchmarks`."""
    case: Case
    cores: int
    """Cores the process is pinned to; also the threads of Zarr's pool."""
    threads: int = 1
    """Threads of a torch, OpenMP or engine call."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run cost."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, all threads."""
    peak: float
    """High-water mark of resident memory, MB, with Python and its imports."""
    base: float
    """The same before the work began, MB."""
    facts: Facts


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of a contender, one a round; or why there are none."""

    samples: list[Sample] = field(default_factory=list)
    reason: str = ""

    def of(self, key: str) -> list[float]:
        """Every sample's figure."""
        return [float(getattr(sample, key)) for sample in self.samples]

    def median(self, key: str) -> float:
        """Of one figure over the rounds."""
        return median(self.of(key))

    def spread(self) -> float:
        """Largest less smallest wall time, over the median."""
        walls = self.of("wall")
        return (max(walls) - min(walls)) / median(walls)

    def fact(self, key: str) -> float:
        """A fact of the last round; they do not differ."""
        return float(self.samples[-1].facts[key])


def ratio(over: list[float], under: list[float]) -> float:
    """Median of the rounds' ratios: what disturbs a round disturbs both."""
    return median(a / b for a, b in zip(over, under, strict=True))


def interleaved(runs: Mapping[str, Run], rounds: int, scratch: Path) -> dict[str, Series]:
    """A B A B: every contender once a round; one that cannot run is left out after its first."""
    series = {name: Series() for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if not series[name].reason:
                series[name] = _extended(series[name], name, run, scratch)
    return series


def _extended(series: Series, name: str, run: Run, scratch: Path) -> Series:
    result = measure(run, scratch)
    if isinstance(result, str):
        print(f"  {name}: {result}", file=sys.stderr)
        return Series(reason=result)
    print(f"  {name}: {result.wall:.2f} s, {result.peak:.0f} MB", file=sys.stderr)
    return Series([*series.samples, result])


def measure(run: Run, scratch: Path) -> Sample | str:
    """A run in a fresh process with an empty folder of its own; a text says why it could not."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        asked = json.dumps({**asdict(run), "folder": folder})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", asked],
            env={**os.environ, **{f"{name}_NUM_THREADS": str(run.threads) for name in _THREADS}},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return f"failed ({done.returncode}): {last}"
    answer = json.loads(done.stdout.splitlines()[-1])
    return str(answer["skipped"]) if "skipped" in answer else Sample(**answer)
