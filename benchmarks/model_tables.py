"""What the model costs: under each engine, against MST++, and its start noise."""

from dataclasses import replace

from benchmarks.case import Case
from benchmarks.engines import ENGINES
from benchmarks.harness import Run, Series, ratio
from benchmarks.options import Options
from benchmarks.tables import Table, number

OURS = {"project default": "", "project torch": "torch", "project onnxruntime": "onnxruntime"}


def engines(options: Options) -> Table:
    """Every engine at every tile and batch."""
    tiles, batches = ((64,), (1,)) if options.quick else ((128, 256, 512), (1, 2, 4))
    names = {engine: engine for engine in ENGINES} | OURS
    rows = []
    for tile in tiles:
        for batch in batches:
            case = replace(options.case("r2h", tile), tile=tile, batch=batch)
            runs = {name: _run(options, case, engine) for name, engine in names.items()}
            found = options.measure(runs)
            rows += [
                [str(tile), str(batch), name, *_cells(series, found["eager"])]
                for name, series in found.items()
            ]
    notes = [
        "five steps; all under float32 but bf16, which is autocast; seconds a megapixel of tiles",
        f"each call on {options.cores} threads; what an engine spends on building is not counted",
    ]
    heading = ("Engines", "What does the five-step model cost on the CPU?")
    columns = "tile | batch | engine | s/Mpx | eager is this times slower | largest difference"
    return options.table(heading, columns, rows, notes)


def _run(options: Options, case: Case, engine: str) -> Run:
    return options.run("engines.alone", replace(case, engine=engine), options.cores)


def _cells(series: Series, eager: Series) -> list[str]:
    if series.reason:
        return [series.reason, "-", "-"]
    pace = series.median("wall") / series.fact("megapixels")
    times = ratio(eager.of("wall"), series.of("wall"))
    difference = f"{series.fact('difference'):.1e}"
    return [f"{number(pace)} ± {series.spread():.0%}", f"{times:.2f}", difference]


def mst(options: Options) -> Table:
    """MST++ against R2H-Diff, as shipped and like for like."""
    tile = 64 if options.quick else options.tile
    ours = replace(options.case("r2h", tile), tile=tile)
    peer = replace(ours, network="mst")
    runs = {
        "as shipped: MST++, eager": _run(options, peer, "eager"),
        "as shipped: R2H-Diff, project default": _run(options, ours, ""),
        "eager: MST++": _run(options, peer, "eager"),
        "eager: R2H-Diff": _run(options, ours, "eager"),
        "ONNX Runtime: MST++": _run(options, peer, "onnxruntime-plain"),
        "ONNX Runtime: R2H-Diff": _run(options, ours, "onnxruntime-plain"),
    }
    series = options.measure(runs)
    rows = []
    for first, second in zip(list(runs)[::2], list(runs)[1::2], strict=True):
        rows += [[name, *_cells(series[name], series[first])[:1]] for name in (first, second)]
        rows[-2].append("1")
        rows[-1].append(_times(series[first], series[second]))
    notes = [
        "MST++ has 1.62 M parameters and one pass, R2H-Diff 0.59 M and five steps; float32",
        "MST++ runs its authors' code with fresh weights, which take the same time",
        f"tile {tile}, batch 1, {options.cores} threads",
    ]
    heading = ("MST++", "How much faster or slower than the usual one-pass network?")
    return options.table(heading, "| s/Mpx | times as fast as MST++", rows, notes)


def _times(first: Series, second: Series) -> str:
    if first.reason or second.reason:
        return "-"
    return f"{ratio(first.of('wall'), second.of('wall')):.2f}"


def noise(options: Options) -> Table:
    """Start noise on one core."""
    tiles = (64, 256) if options.quick else (128, 256, 512)
    cases = {tile: replace(options.case("r2h", tile), tile=tile) for tile in tiles}
    runs = {str(tile): Run("ours.drawing", case, cores=1) for tile, case in cases.items()}
    rows = [
        [tile, f"{number(_nanoseconds(found))} ± {found.spread():.0%}"]
        for tile, found in options.measure(runs).items()
    ]
    heading = ("Noise", "What does a value of start noise cost on one core?")
    return options.table(heading, "tile | ns/value", rows, [])


def _nanoseconds(series: Series) -> float:
    return series.median("wall") / series.fact("values") * 1e9
