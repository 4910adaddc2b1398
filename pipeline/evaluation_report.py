"""What `r2h report` says of an evaluation: against the baseline, and what others published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline import charts
from pipeline.page import Picture, Section, flat, number, page

Row = Mapping[str, Any]
PSNR = "PSNR (dB), higher is better"
PUBLISHED = (
    ("HSCNN+", 4.65, 304.45, 0.3814, 0.0588, 26.36),
    ("HRNet", 31.70, 163.81, 0.3476, 0.0550, 26.89),
    ("EDSR", 2.42, 158.32, 0.3277, 0.0437, 28.29),
    ("AWAN", 4.04, 270.61, 0.2500, 0.0367, 31.22),
    ("HDNet", 2.66, 173.81, 0.2048, 0.0317, 32.13),
    ("HINet", 5.21, 31.04, 0.2032, 0.0303, 32.51),
    ("MIRNet", 3.75, 42.95, 0.1890, 0.0274, 33.29),
    ("Restormer", 15.11, 93.77, 0.1833, 0.0274, 33.40),
    ("MPRNet", 3.62, 101.59, 0.1817, 0.0270, 33.50),
    ("MST-L", 2.45, 32.07, 0.1772, 0.0256, 33.90),
    ("MST++", 1.62, 23.05, 0.1645, 0.0248, 34.32),
    ("R2H-Diff (the paper's claim)", 0.58, 12.25, None, None, 35.37),
)
"""Method, parameters in millions, GMAC, MRAE, RMSE, PSNR on the validation scenes of ARAD_1K
(NTIRE 2022), as the README of MST++ has them; the last as arXiv 2605.05688 claims."""

_LISTS = ("scenes", "means", "differences", "angle_edges")
_ENDS = 3
"""Of the best and of the worst scenes, as many are shown."""
_HEADS = {
    "mrae": "MRAE (1)",
    "rmse": "RMSE (reflectance)",
    "psnr": "PSNR (dB)",
    "sam": "SAM (degrees)",
    "ssim": "SSIM (1)",
    "ergas": "ERGAS (1)",
    "seconds": "time (s)",
    "peak_bytes": "peak memory (GB)",
}


def evaluation_report(
    name: str, whole: Mapping[str, Any], maps: Mapping[str, bytes], told: Sequence[str] = ()
) -> str:
    """The HTML of an evaluation, with what must be ``told`` first.

    ``whole`` is what evaluation.json holds: of `scenes` a row a scene and method, of `means` a row
    a method with its `interval`, both with `by_wavelength`, of `differences` a row a method but the
    first, and all that decided them. ``maps`` are PNGs of the methods' errors by scene, for as many
    as there are.
    """
    scenes, means = whole["scenes"], whole["means"]
    known = {k: v for k, v in whole.items() if k not in _LISTS}
    sections = [
        _means(means),
        *_differences(whole.get("differences", ())),
        *_curves(means, whole["wavelengths_nm"]),
        _ranked(scenes, maps),
        _every(scenes),
        _published(),
        Section("Settings", "What decided the figures.", rows=flat(known)),
    ]
    lead = ". ".join([f"{whole['dataset']}, {_count(whole)}", *told])
    return page(name, f"{lead}.", sections)


def _count(whole: Mapping[str, Any]) -> str:
    return f"{len({row['scene'] for row in whole['scenes']})} scenes"


def _means(means: Sequence[Row]) -> Section:
    metrics = list(means[0]["interval"])
    rows = [[row["method"], *(_ranged(row, key) for key in metrics)] for row in means]
    text = "In brackets: 95 % of the means over scenes drawn again."
    return Section("Means over scenes", text, rows=rows, head=_heads("method", *metrics))


def _differences(found: Sequence[Row]) -> Iterator[Section]:
    """Better and worse, scene by scene: the intervals of means overlap where scenes differ more."""
    if found:
        metrics = list(found[0]["interval"])
        rows = [
            [f"{row['method']} less {row['less']}", *(_ranged(row, key) for key in metrics)]
            for row in found
        ]
        text = "Scene by scene; in brackets as above. An interval without 0 is a difference."
        yield Section("Differences", text, rows=rows, head=_heads("methods", *metrics))


def _heads(*keys: str) -> list[str]:
    return [_HEADS.get(key, key) for key in keys]


def _ranged(row: Row, key: str) -> str:
    low, high = row["interval"][key]
    return f"{row[key]:.3g} ({low:.3g} to {high:.3g})"


def _every(scenes: Sequence[Row]) -> Section:
    head = ["scene", *(key for key in scenes[0] if isinstance(scenes[0][key], (float, int)))]
    head.insert(1, "method")
    rows = [[_cell(key, row[key]) for key in head] for row in scenes]
    return Section("Every scene", rows=rows, head=_heads(*head))


def _cell(key: str, value: Any) -> str:
    return f"{value / 1e9:.2f}" if key == "peak_bytes" else number(value)


def _curves(means: Sequence[Row], nm: Sequence[float]) -> list[Section]:
    pictures = []
    for key, label in (("rmse", "RMSE (reflectance)"), ("mrae", "MRAE (1)")):
        lines = {row["method"]: row["by_wavelength"][key] for row in means}
        figure = charts.curves(nm, lines, (charts.WAVELENGTH, label))
        pictures.append(
            Picture(charts.png(figure), f"{key.upper()} by wavelength, mean over scenes.")
        )
    return [Section("By wavelength", pictures=pictures)]


def _ranked(scenes: Sequence[Row], maps: Mapping[str, bytes]) -> Section:
    found: dict[str, dict[str, float]] = {}
    for row in scenes:
        found.setdefault(str(row["scene"]), {})[row["method"]] = row["psnr"]
    first = scenes[0]["method"]
    ranked = dict(sorted(found.items(), key=lambda item: item[1][first], reverse=True))
    figure = charts.dots(ranked, PSNR)
    pictures = [Picture(charts.png(figure), f"Best to worst by {first}.", wide=True)]
    names = list(ranked)
    for place, name in enumerate(names, 1):
        if name in maps and min(place, len(names) + 1 - place) <= _ENDS:
            caption = f"Place {place} of {len(names)}: {name}."
            pictures.append(Picture(maps[name], caption, wide=True))
    return Section("Best and worst scenes", pictures=pictures)


def _published() -> Section:
    text = (
        "Published figures on the validation scenes of ARAD_1K (NTIRE 2022), for orientation: they "
        "compare with the above only where that was scored on the same scenes by the same protocol."
    )
    head = ("method", "parameters, M", "GMAC", "MRAE", "RMSE", "PSNR, dB")
    shown = [["" if cell is None else number(cell) for cell in row] for row in PUBLISHED]
    return Section("Published figures", text, rows=shown, head=head)
