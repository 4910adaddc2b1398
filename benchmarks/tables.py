"""Tables of results: kept as JSON, each with its own date and machine, and shown as Markdown."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.harness import Series

PACKAGES = ("torch", "zarr", "numpy", "dask", "monai", "onnxruntime", "openvino")
HEAD = """# Benchmarks

Written by `make bench`; the code is in `benchmarks/`. Every figure comes from a fresh process
pinned to the cores named. Contenders take turns (A B A B); a figure is the median over the rounds,
a ratio the median of the rounds' ratios, and `±` the largest less the smallest wall time over their
median. Peak memory is the process's high-water mark, with Python and its imports. Scenes are a
photograph repeated by index, so they take no memory. A table measured earlier keeps its own date
and machine, and what it found on another processor stays beside it.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """What one benchmark found."""

    title: str
    question: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    measured: str = ""
    """When and on what."""
    elsewhere: dict[str, list[str]] = field(default_factory=dict)
    """What was found before on other processors, with the day."""

    def markdown(self) -> str:
        """A section."""
        lines = [" | ".join(row) for row in (self.columns, ["---"] * len(self.columns), *self.rows)]
        table = "\n".join(f"| {line} |" for line in lines)
        before = [f"{on}, {note}" for on, found in self.elsewhere.items() for note in found]
        notes = "\n".join(f"- {note}" for note in (*self.notes, *before))
        parts = [f"## {self.title}", self.question, table, notes, f"*{self.measured}*"]
        return "\n\n".join(part for part in parts if part)


def number(value: float | None) -> str:
    """Three significant digits; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def cells(series: Series, per: float = 1.0) -> list[str]:
    """Wall seconds with spread, CPU seconds (both over ``per``) and peak MB; or why not."""
    if series.reason:
        return [series.reason, "-", "-"]
    wall, cpu = series.median("wall") / per, series.median("cpu") / per
    spread = f"{number(wall)} ± {series.spread():.0%}"
    return [spread, number(cpu), number(series.median("peak"))]


def measured(cores: int, rounds: int) -> str:
    """Date, machine and versions, in a line."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{_cpu()}, {cores} of {os.cpu_count()} cores, {memory:.0f} GiB"
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    python = f"Python {platform.python_version()}"
    return f"{now}; {machine}; {rounds} rounds; r2h {_commit()}, {python}, {versions}"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or version("r2h")


def keep(name: str, table: Table, file: Path) -> None:
    """Put a table among those of a JSON file, in place of the one of its name."""
    kept = load(file)
    if name in kept:
        table = replace(table, elsewhere=_elsewhere(table, kept[name]))
    kept[name] = table
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({key: asdict(value) for key, value in kept.items()}, indent=1))


def _elsewhere(table: Table, before: Table) -> dict[str, list[str]]:
    """Of each other processor what was found there last: a ratio is that of a machine."""
    day, processor = _where(before)
    found = [f"{day}: {note}" for note in before.notes if "**" in note]
    others = before.elsewhere | ({processor: found} if found else {})
    others.pop(_where(table)[1], None)
    return others


def _where(table: Table) -> tuple[str, str]:
    """Day and processor, of the line that `measured` gives."""
    when, machine, *_ = table.measured.split("; ")
    return when.partition(" ")[0], machine.partition(",")[0]


def load(file: Path) -> dict[str, Table]:
    """The tables of a JSON file; none where there is no file."""
    found = json.loads(file.read_text()) if file.is_file() else {}
    return {name: Table(**table) for name, table in found.items()}


def render(file: Path, order: list[str]) -> Path:
    """Write the tables of a JSON file as Markdown beside it, in this order."""
    tables = load(file)
    sections = [tables[name].markdown() for name in order if name in tables]
    page = file.with_suffix(".md")
    page.write_text("\n\n".join([HEAD.strip(), *sections]) + "\n")
    return page
