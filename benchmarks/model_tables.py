"""What the model costs: under each engine, against MST++, and its start noise."""

from dataclasses import replace

from benchmarks.case import Case
from benchmarks.engines import ENGINES
from benchmarks.harness import Run, Series, ratio
from benchmarks.options import Options
from benchmarks.tables import Table, number

_COLUMNS = "s/Mpx | times as fast as eager | largest difference"
OURS = {
    "project default": "",
    "project torch": "torch",
    "project torch-bfloat16": "torch-bfloat16",
    "project onnxruntime": "onnxruntime",
    "project openvino-bfloat16": "openvino-bfloat16",
}


def engines(options: Options) -> Table:
    """Every engine, at the tile and batch that are the default."""
    case = replace(options.case("r2h", options.tile), tile=options.tile)
    names = {engine: engine for engine in ENGINES} | OURS
    runs = {name: _run(options, case, engine) for name, engine in names.items()}
    found = options.measure(runs)
    rows = [[name, *_cells(series, found["eager"])] for name, series in found.items()]
    notes = [
        f"five steps, tile {options.tile}, batch 1; all float32 but bf16, which is autocast, and "
        "what says so; seconds a megapixel of tiles",
        f"{options.cores} cores: one tile on all of them, or, for the project's own, a tile a core",
        "what an engine spends on building is not counted",
    ]
    heading = ("Engines", "What does the five-step model cost on the CPU?")
    return options.table(heading, f"engine | {_COLUMNS}", rows, notes)


def shapes(options: Options) -> Table:
    """The default engine at every tile and batch, as the pipeline runs it."""
    tiles, batches = ((64,), (1,)) if options.quick else ((128, 256, 512), (1, 4))
    runs = {}
    for tile in tiles:
        for batch in batches:
            # The same number of pixels at once, so that large batches and tiles are not idle.
            case = replace(options.case("r2h", 1024), tile=tile, batch=batch)
            runs[f"{tile} | {batch}"] = options.run("ours.model_alone", case)
    rows = []
    for name, series in options.measure(runs).items():
        if series.reason:
            rows.append([*name.split(" | "), series.reason, "-", "-"])
            continue
        tile, batch = map(int, name.split(" | "))
        pixels = series.fact("tiles") * tile**2 / 1e6
        pace = series.median("wall") / pixels
        area = (tile / (tile - options.overlap)) ** 2
        peak = number(series.median("peak"))
        rows.append([str(tile), str(batch), number(pace), number(pace * area), peak])
    notes = [f"{options.cores} batches at once, one thread each, over the tiles of 1024 x 1024"]
    heading = ("Shapes", "Which tile and batch are best for the default engine?")
    columns = f"tile | batch | s/Mpx of tiles | s/Mpx of scene, overlap {options.overlap} | peak MB"
    return options.table(heading, columns, rows, notes)


def _run(options: Options, case: Case, engine: str) -> Run:
    threads = options.cores if engine in ENGINES else 1
    return options.run("engines.alone", replace(case, engine=engine), threads)


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
        f"tile {tile}, batch 1, {options.cores} cores: one tile on all of them, or, for the "
        "project default, a tile a core",
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
