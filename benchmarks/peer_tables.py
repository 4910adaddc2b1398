"""Other ways to bring the same tiles through the same network into the same store."""

from dataclasses import replace

from benchmarks.harness import Run, Series, ratio
from benchmarks.options import Options
from benchmarks.tables import Table, cells, number

JOBS = {
    "R2H": "ours.pipeline",
    "R2H in torch": "ours.pipeline",
    "MONAI SlidingWindowInferer": "contenders.monai",
    "MONAI ZarrAvgMerger": "contenders.monai_zarr",
    "dask map_overlap": "contenders.dask",
    "loop by hand": "contenders.loop",
}
TASKS = ("R2H", "R2H in torch", "dask map_overlap")
"""Those that compute a tile a core, on one thread each; the others a tile on all cores."""


def peers(options: Options) -> Table:
    """Time, memory and seams with the shipped model."""
    (size,) = options.size((2048,), (512,))
    return _table(options, "r2h", size, "Peers with the shipped model")


def memory(options: Options) -> Table:
    """The same with a light network, where the scene is large."""
    (size,) = options.size((8192,), (1024,))
    return _table(options, "light", size, "Peers with a light network")


def _table(options: Options, network: str, size: int, title: str) -> Table:
    found = options.measure({name: _run(options, name, network, size) for name in JOBS})
    ours = found["R2H"]
    rows = [[name, *cells(series), *_against(series, ours)] for name, series in found.items()]
    notes = [
        "seams: mean step between pixels where tiles join over that elsewhere, over the same of "
        "the scene's RGB; 1 where no tile shows",
        f"tile {options.tile}, overlap {options.overlap}; the same scene, decoding, uint16 counts, "
        "chunks (31, 256, 256) and zstd 1",
        "others run the network in torch, as their users would; R2H in its default engine and, to "
        "compare the tools alone, in torch",
        f"R2H and dask have {options.cores} workers of one thread, the others one of "
        f"{options.cores} threads",
    ]
    heading = (f"{title}, {size} x {size}", "What do other tools take for the same work?")
    columns = "| wall s | CPU s | peak MB | times R2H's wall | times R2H's peak | seams"
    return options.table(heading, columns, rows, notes)


def _run(options: Options, name: str, network: str, size: int) -> Run:
    threads = 1 if name in TASKS else options.cores
    case = options.case(network, size)
    case = replace(case, engine="torch") if name == "R2H in torch" else case
    return options.run(JOBS[name], case, threads)


def _against(series: Series, ours: Series) -> list[str]:
    if series.reason or ours.reason:
        return ["-", "-", "-"]
    times = [f"{ratio(series.of(key), ours.of(key)):.2f}" for key in ("wall", "peak")]
    seam = series.samples[-1].facts["seam"]
    return [*times, number(seam)]
