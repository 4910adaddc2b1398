"""The command: measures, prints and keeps tables."""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import model_tables, peer_tables, pipeline_tables
from benchmarks.options import Options
from benchmarks.tables import Table, keep, render
from benchmarks.tiling import tiling

TABLES: dict[str, Callable[[Options], Table]] = {
    "bound": pipeline_tables.bound,
    "null": pipeline_tables.null,
    "stages": pipeline_tables.stages,
    "flat": pipeline_tables.flat,
    "scaling": pipeline_tables.scaling,
    "peers": peer_tables.peers,
    "memory": peer_tables.memory,
    "engines": model_tables.engines,
    "mst": model_tables.mst,
    "noise": model_tables.noise,
    "tiling": tiling,
}


def main() -> None:
    """Measure the tables named, or all."""
    given = _parser().parse_args()
    options = Options(
        cores=given.cores,
        rounds=given.rounds or (1 if given.quick else 3),
        scratch=given.scratch,
        quick=given.quick,
        sizes=tuple(given.sizes),
        tile=64 if given.quick else given.tile,
        overlap=16 if given.quick else given.overlap,
        mst=given.mst,
        cave=given.cave,
    )
    out = given.out or Path("runs/benchmarks-quick.json" if given.quick else "docs/benchmarks.json")
    for name in given.names or TABLES:
        table = TABLES[name](options)
        keep(name, table, out)
        print(table.markdown(), end="\n\n", flush=True)
    print(render(out, list(TABLES)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *TABLES], help="tables; all if none")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: does it run?")
    parser.add_argument("--sizes", nargs="*", type=int, default=[], help="scene sizes, pixels")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--overlap", type=int, default=32)
    parser.add_argument("--rounds", type=int, help="of A B A B (3)")
    available = len(os.sched_getaffinity(0))
    parser.add_argument("--cores", type=int, default=available, help="that every contender has")
    parser.add_argument("--mst", default=os.environ.get("R2H_MST", ""), help="folder of MST++ code")
    parser.add_argument("--cave", default="", help="folder of the CAVE scenes, for tiling")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, help="JSON of the tables, their Markdown beside it")
    return parser


if __name__ == "__main__":
    main()
