"""What the pipeline adds to its model and to Zarr, and how it grows with scene and workers."""

from dataclasses import replace

from benchmarks.harness import Run, Series, ratio
from benchmarks.options import Options
from benchmarks.tables import Table, cells, number

LIMIT = 1.05


def first_reason(found: dict[str, Series]) -> str:
    """Why a table cannot be made; empty where it can."""
    return next((series.reason for series in found.values() if series.reason), "")


def bound(options: Options) -> Table:
    """The whole against its model and the pipeline without one."""
    (size,) = options.size((4096,), (512,))
    case = options.case("r2h", size)
    runs = {
        "reconstruction": options.run("ours.pipeline", case),
        "model alone": options.run("ours.model_alone", case),
        "null pipeline": options.run("ours.pipeline", replace(case, network="texture")),
    }
    found = options.measure(runs)
    rows = [[name, *cells(series)] for name, series in found.items()]
    if any(series.reason for series in found.values()):
        notes = ["a part could not be measured, so there is no ratio"]
    else:
        notes = _bound_notes(found, options.cores)
    heading = (
        f"Model-bound, {size} x {size}",
        f"Does a reconstruction take at most {LIMIT} times the CPU seconds of the model alone over "
        "the same tiles and of the pipeline with a null model, shared by the cores?",
    )
    return options.table(heading, "| wall s | CPU s | peak MB", rows, notes)


def _bound_notes(found: dict[str, Series], cores: int) -> list[str]:
    whole, alone, null = (series.of("wall") for series in found.values())
    _, model, rest = (series.of("cpu") for series in found.values())
    parts = [(a + b) / cores for a, b in zip(model, rest, strict=True)]
    value = ratio(whole, parts)
    return [
        f"reconstruction / ((model CPU + null CPU) / {cores} cores): **{value:.3f}**, "
        f"limit {LIMIT}: {'met' if value <= LIMIT else 'missed'}",
        f"reconstruction / model alone, wall: {ratio(whole, alone):.3f}; "
        f"null pipeline / model alone, wall: {ratio(null, alone):.3f}",
        f"{found['model alone'].fact('tiles'):.0f} calls of the model; {cores} at once, each on "
        "one thread, in both",
    ]


def null(options: Options) -> Table:
    """The pipeline with a model that takes no time against Zarr alone."""
    (size,) = options.size((4096,), (1024,))
    rows, notes = [], []
    for network in ("constant", "texture"):
        case = options.case(network, size)
        jobs = {"Zarr, the cube alone": "ours.zarr_alone", "pipeline": "ours.pipeline"}
        jobs["Zarr, layers and overviews too"] = "ours.zarr_all"
        found = options.measure({name: options.run(job, case) for name, job in jobs.items()})
        if reason := first_reason(found):
            notes.append(f"{network}: {reason}")
            continue
        raw, stored = (found["Zarr, the cube alone"].fact(key) for key in ("raw", "stored"))
        alone, whole, same = (series.of("wall") for series in found.values())
        share = ratio(same, whole)
        rows += [
            [f"{network}, {name}", *cells(series), number(raw / 1e6 / series.median("wall"))]
            for name, series in found.items()
        ]
        verdict = "met" if share >= 0.7 else "missed"
        notes.append(
            f"{network}: the pipeline reaches **{share:.2f}** of Zarr writing the same chunks, "
            f"limit 0.7: {verdict}; {ratio(alone, whole):.2f} of Zarr writing the cube's alone; "
            f"{raw / 1e6:.0f} MB that compress {raw / stored:.1f} times"
        )
    heading = (
        f"Null, {size} x {size}",
        "How near does the pipeline come to what Zarr alone reaches writing the same bytes in the "
        "same chunks, with the same codec and threads, both until all is on the disk?",
    )
    return options.table(heading, "| wall s | CPU s | peak MB | MB/s", rows, notes)


def stages(options: Options) -> Table:
    """Where the null pipeline's CPU seconds go."""
    (size,) = options.size((4096,), (1024,))
    case = options.case("texture", size)
    jobs = ("pipeline", "read", "decode", "unwritten", "quantising", "zarr_alone")
    found = options.measure({job: options.run(f"ours.{job}", case) for job in jobs})
    heading = (f"Stages of null, {size} x {size}", "Where do its CPU seconds go? (`texture`)")
    columns = "stage, called alone | CPU s | share of the whole"
    if reason := first_reason(found):
        return options.table(heading, columns, [], [reason])
    cpu = {job: series.median("cpu") for job, series in found.items()}
    parts = {
        "read": cpu["read"],
        "decode": cpu["decode"],
        "blend and hand over": cpu["unwritten"] - cpu["read"] - cpu["decode"],
        "quantise": cpu["quantising"],
        "compress and write": cpu["zarr_alone"],
    }
    parts["not in a stage"] = cpu["pipeline"] - sum(parts.values())
    parts["whole"] = cpu["pipeline"]
    rows = [[name, number(s), f"{s / cpu['pipeline']:.0%}"] for name, s in parts.items()]
    notes = ["blending is the pipeline that writes nothing, less reading and decoding"]
    return options.table(heading, columns, rows, notes)


def flat(options: Options) -> Table:
    """Time a megapixel and memory: a small scene against as wide and as large a one."""
    small, large = options.size((2048, 16384), (512, 1024))
    sides = {(small, small): "", (large**2 // small, small): "as wide", (large, large): "square"}
    rows, notes = [], []
    for network in ("texture", "light"):
        cases = {side: replace(options.case(network, side[1]), rows=side[0]) for side in sides}
        runs = {
            f"{network}, {height} x {width}": options.run("ours.pipeline", case)
            for (height, width), case in cases.items()
        }
        found = options.measure(runs)
        if reason := first_reason(found):
            notes.append(f"{network}: {reason}")
            continue
        for (height, width), (name, series) in zip(sides, found.items(), strict=True):
            rows.append([name, *cells(series, height * width / 1e6)])
        few, *others = found.values()
        for shape, many in zip(list(sides.values())[1:], others, strict=True):
            notes.append(f"{network}, {shape}: {_flat(few, many, (large / small) ** 2)}")
    question = f"Do {large**2 / 1e6:.0f} megapixels cost as much each as {small} x {small} pixels?"
    heading = ("Flat", f"{question} Memory is rows of chunks x the width of a region.")
    return options.table(heading, "| wall s/Mpx | CPU s/Mpx | peak MB", rows, notes)


def _flat(few: Series, many: Series, pixels: float) -> str:
    """What so many times the pixels cost more each, and in memory."""
    time = ratio(many.of("wall"), [wall * pixels for wall in few.of("wall")]) - 1
    memory = ratio(many.of("peak"), few.of("peak")) - 1
    verdict = "met" if time <= 0.05 and memory <= 0.1 else "missed"
    return (
        f"time a megapixel **{time:+.1%}** (limit 5 %), peak memory **{memory:+.1%}** "
        f"(limit 10 %): {verdict}"
    )


def scaling(options: Options) -> Table:
    """Two workers against one."""
    (size,) = options.size((2048,), (512,))
    runs = {}
    for job, name in (("ours.pipeline", "reconstruction"), ("ours.model_alone", "model alone")):
        for workers in (1, 2):
            case = replace(options.case("r2h", size), workers=workers)
            runs[f"{name}, {workers} workers"] = Run(job, case, cores=workers)
    found = options.measure(runs)
    if reason := first_reason(found):
        return options.table(("Scaling", "What does a second worker bring?"), "|", [], [reason])
    one, two, alone, both = (series.of("wall") for series in found.values())
    speed = ratio(one, two)
    notes = [
        f"two workers are **{speed:.2f}** times as fast as one, limit 1.85: "
        f"{'met' if speed >= 1.85 else 'missed'}",
        f"the model alone: {ratio(alone, both):.2f}; each worker has one thread and one core",
    ]
    heading = (f"Scaling, {size} x {size}", "What does a second worker bring?")
    rows = [[name, *cells(series)] for name, series in found.items()]
    return options.table(heading, "| wall s | CPU s | peak MB", rows, notes)
