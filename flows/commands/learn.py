"""`r2h train`, `r2h calibrate` and `r2h evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.commands.common import Config, Json, show, stderr, tell
from flows.options import with_options
from flows.settings import CalibrateSettings, EvaluateSettings, TrainSettings, load
from model.checkpoint import SHIPPED
from pipeline.errors import Refusal

app = typer.Typer()


@app.command()
@with_options(EvaluateSettings)
def evaluate(
    dataset: Annotated[str, typer.Argument(help="cave.")],
    root: Annotated[Path, typer.Option(help="Folder with the data set's own layout.")],
    out: Annotated[Path, typer.Option(help="Folder for cubes, JSON and CSV.")] = Path("evaluation"),
    config: Config = "evaluate-cave.toml",
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Score a checkpoint on a benchmark, with the baseline beside it.

    Example: r2h evaluate cave --root CAVE --out runs/evaluation
    """
    from flows.evaluate import evaluate as score  # noqa: PLC0415
    from flows.evaluate import table  # noqa: PLC0415

    if dataset != "cave":
        raise Refusal("the data set must be one of cave", dataset, "Evaluate on cave.")
    rows = score(load(EvaluateSettings, config, **given), root, out, tell)
    typer.echo(json.dumps(rows) if as_json else table(rows))


@app.command()
@with_options(TrainSettings)
def train(
    config: Annotated[str, typer.Argument(help="TOML file, or the name of one shipped.")],
    root: Annotated[Path, typer.Option(help="CAVE, in the database's own layout.")],
    out: Annotated[Path, typer.Option(help="Folder for the state and the checkpoint.")],
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train a checkpoint; run it again to go on from the last save.

    Example: r2h train train-cave.toml --root CAVE --out runs/cave
    """
    settings = load(TrainSettings, config, **given)
    if settings.kind == "root-polynomial":
        from flows.baseline import fit_baseline  # noqa: PLC0415

        return show({"checkpoint": str(fit_baseline(settings, root, out))}, as_json)
    from flows.train import train as run  # noqa: PLC0415

    with Progress(*_train_columns(), console=stderr()) as bar:
        row = bar.add_task("train", total=settings.iterations, loss=0.0)
        path = run(settings, root, out, lambda i, loss: bar.update(row, completed=i, loss=loss))
    return show({"checkpoint": str(path)}, as_json)


@app.command()
def calibrate(
    config: Annotated[str, typer.Argument(help="TOML file, or the name of one shipped.")],
    root: Annotated[Path, typer.Option(help="CAVE, in the database's own layout.")],
    out: Annotated[Path, typer.Option(help="Folder for networks, numbers and the check.")],
    checkpoint: Annotated[Path, typer.Option(help="Whose sigma it will be.")] = SHIPPED,
    as_json: Json = False,
) -> None:
    """Fit sigma on the errors of networks that have not seen the scene.

    Example: r2h calibrate calibrate-cave.toml --root CAVE --out runs/calibration
    """
    from flows.calibrate import calibrate as run  # noqa: PLC0415

    path = run(load(CalibrateSettings, config), checkpoint, root, out, tell)
    return show({"calibration": str(path)}, as_json)


def _train_columns() -> tuple[Any, ...]:
    loss = TextColumn("loss {task.fields[loss]:.4f}  left")
    return BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn()
