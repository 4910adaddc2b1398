"""Tables of numbers over wavelength, from CSV files."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal

WAVELENGTH = "wavelength_nm"
_CLOSEST = 1.0
"""nm between rows that are close enough to be summed one by one."""
_PARTS = 1000
"""Most parts of one gap, or a mistyped wavelength would fill the memory."""


def is_csv(name: str) -> bool:
    """Whether a name is that of a CSV file, not of what comes with the package."""
    return name.lower().endswith(".csv")


def read_table(path: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """(rows, columns) of a CSV file; see `parse_table`. Raises Refusal."""
    return parse_table(path.name, read_text(path), columns)


def read_text(path: Path) -> str:
    """A CSV file's text. Raises Refusal where it cannot be read."""
    try:
        # A spreadsheet begins its CSV with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal("a table must be a readable CSV file", error, "Check it.") from error


def header(text: str) -> list[str]:
    """The columns that a CSV names in its first line that is no comment."""
    rows = csv.reader(_lines(text))
    return [name.strip() for name in next(rows, [])]


def parse_table(name: str, text: str, columns: Sequence[str]) -> NDArray[np.float64]:
    """(rows, columns) of a CSV whose lines that start with # are comments.

    Raises Refusal unless it has the columns, with three or more rows of finite numbers at rising
    wavelengths, the first column, and no row has more cells than columns: of decimal commas the
    halves of a number would be taken for two.
    """
    if len(set(named := header(text))) < len(named):
        rule, fix = "a table's columns have names of their own", "Rename one."
        raise Refusal(rule, f"{name}: {','.join(named)}", fix)
    fix = f"Give columns {','.join(columns)}, a number in each cell, sorted by wavelength."
    if len(named) == 1 and (other := [mark for mark in ";\t" if mark in named[0]]):
        rule = "a CSV's cells are parted by commas, and its numbers have decimal points"
        raise Refusal(rule, f"{name} with {other[0]!r} between them", "Write it so.")
    rows: list[dict[Any, Any]] = list(
        csv.DictReader(_lines(text)[1:], named, skipinitialspace=True)
    )
    # The csv module keeps them under None. A comma at the end of a line leaves an empty one.
    if any(cell for row in rows for cell in row.get(None, ())):
        rule, found = "a CSV has as many cells in a row as columns", f"more in {name}"
        raise Refusal(rule, found, "Write numbers with a decimal point, or name every column.")
    try:
        table = np.array([[float(row[c]) for c in columns] for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        found = f"{name}: {error!r}"
        raise Refusal("a CSV over wavelength must be a table of numbers", found, fix) from None
    if len(table) < 3 or not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        rule = "a CSV over wavelength must have 3 or more rows of finite numbers, at rising "
        raise Refusal(f"{rule}wavelengths", f"{len(table)} rows in {name}", fix)
    return table


def averaged(
    known: NDArray[np.float64], rows: NDArray[Any], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What rows (..., known) over wavelengths are around each of others, within ``known``: nm.

    A mean weighted by a triangle that reaches to the neighbours of each: a line between them counts
    with the nearest two, as it must where spectra are known at these alone. Linear where ``known``
    is coarser, the same values where it is the same. Rows may be unevenly spaced.
    """
    at = refined(np.union1d(known, wanted))
    # Of one shape to both sides, or a slope would move the mean: so none at the table's own ends.
    reach = np.minimum(np.gradient(wanted), np.minimum(wanted - known[0], known[-1] - wanted))
    away = np.abs(np.subtract.outer(at, wanted)) / np.maximum(reach, 1e-9)
    weights = np.maximum(1 - away, 0) * np.gradient(at)[:, None]
    mean: NDArray[np.float64] = linear(at, known, rows) @ (weights / weights.sum(axis=0))
    return mean


def refined(at: NDArray[np.float64], widest: float = np.inf) -> NDArray[np.float64]:
    """Wavelengths (nm) with others in their wider gaps, so that each weighs what it stands for.

    As close as the closest are, but 1 nm at least and ``widest`` at most: evenly spaced ones stay
    as they are.
    """
    gaps = np.diff(at)
    step = min(max(gaps.min(), _CLOSEST), widest)
    # Less than a hundredth more than a step is rounding.
    parts = np.clip(np.ceil(gaps / step - 0.01), 1, _PARTS).astype(int)
    steps = zip(at[:-1], at[1:], parts, strict=True)
    return np.concatenate([*(np.linspace(*step, endpoint=False) for step in steps), at[-1:]])


def linear(
    at: NDArray[np.float64], known: NDArray[np.float64], rows: NDArray[Any]
) -> NDArray[np.float64]:
    """Rows (..., known) over wavelengths, at others (nm), straight between those that are known."""
    values: NDArray[np.float64] = np.apply_along_axis(
        lambda row: np.interp(at, known, row), -1, rows
    )
    return values


def outside(
    known: NDArray[np.float64], rows: NDArray[Any], low: float, high: float
) -> NDArray[np.float64]:
    """Share (...) of the integral of |rows| (..., known) that lies beyond ``low`` to ``high``: nm.

    Straight between the wavelengths that are known, nothing beyond them; no row may be all zeros.
    """
    at = np.union1d(known, np.clip([low, high], known[0], known[-1]))
    height = np.abs(linear(at, known, rows))
    area = np.diff(at) * (height[..., 1:] + height[..., :-1])
    beyond = (at[1:] <= low) | (at[:-1] >= high)
    share: NDArray[np.float64] = area[..., beyond].sum(axis=-1) / area.sum(axis=-1)
    return share


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
