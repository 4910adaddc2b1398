"""The learning curve as a table."""

import csv
from pathlib import Path

COLUMNS = ("iteration", "loss", "rate", "gradient_norm")


class Record:
    """A CSV with a row an iteration, so that a run that goes on leaves no row twice."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, iteration: int, loss: float, rate: float, norm: float) -> None:
        """Append an iteration's loss, learning rate and norm of the gradient before clipping."""
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerow([iteration, f"{loss:.6f}", f"{rate:.6g}", f"{norm:.6g}"])

    def forget_after(self, iteration: int) -> None:
        """Drop the rows of iterations that came after a save."""
        if self._path.exists():
            lines = self._path.read_text().splitlines(keepends=True)
            self._path.write_text("".join(lines[: iteration + 1]))
