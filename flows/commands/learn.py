"""`r2h train`, `r2h calibrate` and `r2h evaluate`."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.commands.common import Json, answered, fail, show, stderr, tell
from flows.learn_settings import CalibrateSettings, EvaluateSettings, TrainFiles, TrainSettings
from flows.options import with_options
from flows.settings import load
from model.shipped import SHIPPED
from pipeline.datasets import Name
from pipeline.errors import Refusal

app = typer.Typer()


@app.command()
@with_options(EvaluateSettings)
def evaluate(
    dataset: Annotated[str, typer.Argument(help="arad, cave, harvard or own.")],
    root: Annotated[str, typer.Option(help="Folder or URI with the data set's own layout.")],
    out: Annotated[Path, typer.Option(help="Folder for cubes, JSON and CSV.")] = Path("evaluation"),
    config: Annotated[
        str | None, typer.Option(help="TOML file (default evaluate-DATASET.toml).")
    ] = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Score a checkpoint on measured cubes, with the baseline beside it.

    Example: r2h evaluate cave --root CAVE --out runs/evaluation
    """
    from flows.evaluate import evaluate as score  # noqa: PLC0415
    from flows.scorebook import json_of, table  # noqa: PLC0415

    if dataset not in get_args(Name):
        names = ", ".join(get_args(Name))
        raise Refusal(f"the data set must be one of {names}", dataset, "Choose one.")
    settings = load(EvaluateSettings, config or f"evaluate-{dataset}.toml", **given)
    whole = score(settings, dataset, root, out, tell)  # type: ignore[arg-type]
    typer.echo(json_of(whole) if as_json else table(whole))
    if whole["failed"]:
        raise typer.Exit(1)


@app.command()
@with_options(TrainSettings)
def train(
    config: Annotated[str, typer.Argument(help="TOML file, or the name of one shipped.")],
    root: Annotated[str, typer.Option(help="Folder or URI with the data set's own layout.")],
    out: Annotated[Path, typer.Option(help="Folder for the state and the checkpoint.")],
    prefect: Annotated[bool, typer.Option("--prefect", help="Run as a Prefect flow.")] = False,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train a checkpoint; run it again to go on from the last save.

    Example: r2h train train-cave.toml --root CAVE --out runs/cave
    """
    from flows.scenes import shortfall_of  # noqa: PLC0415
    from model.train import Diverged  # noqa: PLC0415 (torch takes a second to import)

    settings = load(TrainSettings, config, **given)
    if note := shortfall_of(settings, root):
        tell(note)
    try:
        show({"checkpoint": str(_train(settings, root, out, prefect))}, as_json)
    except Diverged as error:
        fail(error, 1)


def _train(settings: TrainSettings, root: str, out: Path, prefect: bool) -> Path | str:
    if prefect:
        from flows.train_flow import train_flow  # noqa: PLC0415 (it takes seconds to import)

        with answered():
            return train_flow(settings, root, str(out))
    if settings.kind == "root-polynomial":
        from flows.baseline import fit_baseline  # noqa: PLC0415

        return fit_baseline(settings, root, out)
    from flows.train import train as run  # noqa: PLC0415

    with Progress(*_train_columns(), console=stderr()) as bar:
        row = bar.add_task("train", total=settings.iterations, loss=0.0)
        return run(settings, root, out, lambda i, loss: bar.update(row, completed=i, loss=loss))


@app.command()
@with_options(TrainFiles)
def calibrate(
    config: Annotated[str, typer.Argument(help="TOML file, or the name of one shipped.")],
    root: Annotated[str, typer.Option(help="CAVE, in the database's own layout.")],
    out: Annotated[Path, typer.Option(help="Folder for networks, numbers and the check.")],
    checkpoint: Annotated[
        Path, typer.Option(help="Whose sigma it will be (default r2h-wide).", show_default=False)
    ] = SHIPPED,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Fit sigma on the errors of networks that have not seen the scene.

    Example: r2h calibrate calibrate-cave.toml --root CAVE --out runs/calibration
    """
    from flows.calibrate import calibrate as run  # noqa: PLC0415

    settings = load(CalibrateSettings, config)
    files = {name: file for name, file in given.items() if file is not None}
    of = load(TrainSettings, None, **(settings.train.model_dump(exclude_unset=True) | files))
    settings = settings.model_copy(update={"train": of})
    path = run(settings, checkpoint, root, out, tell)
    return show({"calibration": str(path)}, as_json)


def _train_columns() -> tuple[Any, ...]:
    loss = TextColumn("loss {task.fields[loss]:.4f}  left")
    return BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn()
