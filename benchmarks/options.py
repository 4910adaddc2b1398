"""What is measured at which size, and on what."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.case import Case
from benchmarks.harness import Run, Series, interleaved
from benchmarks.tables import Table, measured


@dataclass(frozen=True, slots=True)
class Options:
    """Of the command line."""

    cores: int
    rounds: int
    scratch: Path
    """Where cubes are written, and deleted after each run."""
    quick: bool = False
    sizes: tuple[int, ...] = ()
    """Scene sizes; none for each benchmark's own."""
    tile: int = 256
    overlap: int = 32
    mst: str = ""
    cave: str = ""
    """Folder of the CAVE scenes."""

    def size(self, full: tuple[int, ...], quick: tuple[int, ...]) -> tuple[int, ...]:
        """Scene sizes: those asked for, and for the rest a benchmark's own."""
        own = quick if self.quick else full
        return self.sizes[: len(own)] + own[len(self.sizes) :]

    def case(self, network: str, size: int) -> Case:
        """A case with these tiles, and a worker a core."""
        case = Case(network, size=size, tile=self.tile, overlap=self.overlap, mst=self.mst)
        return replace(case, workers=self.cores, megapixels=0.02 if self.quick else 0.5)

    def run(self, job: str, case: Case, threads: int = 1) -> Run:
        """A contender on all cores."""
        return Run(job, case, self.cores, threads)

    def measure(self, runs: Mapping[str, Run]) -> dict[str, Series]:
        """Every contender, in turns."""
        return interleaved(runs, self.rounds, self.scratch)

    def table(
        self, heading: tuple[str, str], columns: str, rows: list[list[str]], notes: list[str]
    ) -> Table:
        """A table of title and question, columns named in a line with | between them."""
        names = [name.strip() for name in columns.split("|")]
        if self.quick:
            notes = [*notes, "tiny and one round: it runs, nothing is measured"]
        return Table(*heading, names, rows, notes, measured(self.cores, self.rounds))
