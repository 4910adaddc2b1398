"""Tables of numbers over wavelength, from CSV files."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Refusal

WAVELENGTH = "wavelength_nm"


def read_table(path: Path, columns: Sequence[str] | None = None) -> NDArray[np.float64]:
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


def parse_table(name: str, text: str, columns: Sequence[str] | None = None) -> NDArray[np.float64]:
    """(rows, columns) of a CSV whose lines that start with # are comments; None: all columns.

    Raises Refusal unless it has the columns, with three or more rows of finite numbers at rising
    wavelengths, the first column.
    """
    columns = columns or header(text)
    fix = f"Give columns {','.join(columns)} with a number in each cell."
    rows = list(csv.DictReader(_lines(text), skipinitialspace=True))
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
    is coarser, the same values where it is the same.
    """
    at = np.union1d(known, wanted)
    # Of one shape to both sides, or a slope would move the mean: so none at the table's own ends.
    reach = np.minimum(np.gradient(wanted), np.minimum(wanted - known[0], known[-1] - wanted))
    away = np.abs(np.subtract.outer(at, wanted)) / np.maximum(reach, 1e-9)
    weights = np.maximum(1 - away, 0) * np.gradient(at)[:, None]
    fine = np.apply_along_axis(lambda row: np.interp(at, known, row), -1, rows)
    mean: NDArray[np.float64] = fine @ (weights / weights.sum(axis=0))
    return mean


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]
