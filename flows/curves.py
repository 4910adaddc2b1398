"""Learning curves: a picture of loss.csv, and TensorBoard's records where they are asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pipeline.errors import Refusal

SMOOTH = 50
"""Most iterations that a point of the smooth curve is a mean of."""


def draw_curve(folder: Path) -> None:
    """Write loss.png beside loss.csv: the loss of each iteration, its mean, and the rate."""
    table = folder / "loss.csv"
    if not table.exists():
        return
    rows = np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2)
    if not len(rows):
        return
    iteration, loss, rate = rows[:, 0], rows[:, 1], rows[:, 2]
    width = min(SMOOTH, len(loss))
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(iteration, loss, color="0.8", linewidth=0.7, label="each iteration")
    axes.plot(iteration[width - 1 :], smooth, color="C0", label=f"mean of {width}")
    axes.set(xlabel="iteration", ylabel="loss", yscale="log" if loss.min() > 0 else "linear")
    rates = axes.twinx()
    rates.plot(iteration, rate, color="C1", linewidth=0.8)
    rates.set_ylabel("learning rate", color="C1")
    axes.legend()
    figure.savefig(folder / "loss.png", dpi=120)


@contextmanager
def tensorboard(wanted: bool, folder: Path) -> Iterator[Callable[[int, float], None]]:
    """What records a loss under ``folder``/tensorboard, or does nothing.

    Raises Refusal where it is wanted and not installed.
    """
    if not wanted:
        yield lambda _iteration, _loss: None
        return
    if find_spec("tensorboard") is None:
        raise Refusal("--tensorboard needs the package", "none", "pip install tensorboard.")
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (an extra)

    with SummaryWriter(folder / "tensorboard") as writer:
        yield lambda iteration, loss: writer.add_scalar("loss", loss, iteration)
