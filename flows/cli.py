"""The `r2h` command."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.options import with_options
from flows.settings import EvaluateSettings, ReconstructSettings, TrainSettings, load
from model.checkpoint import SHIPPED, CheckpointError
from pipeline.errors import Refusal, Stopped

app = typer.Typer(
    help="Large RGB images to hyperspectral cubes, estimated by a diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
model_app = typer.Typer(help="Checkpoints.", no_args_is_help=True)
app.add_typer(model_app, name="model")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Config = Annotated[str | None, typer.Option(help="TOML file; the command line wins over it.")]
STOPPED = 75
"""Exit code of a run that was told to stop: EX_TEMPFAIL of sysexits.h, try again later."""


def _tell(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
@with_options(ReconstructSettings)
def reconstruct(
    source: Annotated[str, typer.Argument(help="RGB raster: GeoTIFF, COG, JP2, PNG or JPEG.")],
    destination: Annotated[str, typer.Argument(help="Cube to write, by custom NAME.zarr.")],
    config: Config = None,
    prefect: Annotated[bool, typer.Option("--prefect", help="Run as a Prefect flow.")] = False,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Reconstruct a hyperspectral cube from an RGB raster.

    Example: r2h reconstruct ortho.tif ortho.zarr --window 0,0,512,512
    """
    from flows.progress import in_sight  # noqa: PLC0415 (torch takes a second to import)
    from flows.reconstruct import SeamError  # noqa: PLC0415

    given |= {"source": source, "destination": destination}
    settings = load(ReconstructSettings, config, **given)
    try:
        record = _with_prefect(settings) if prefect else in_sight(settings)
    except OSError as error:
        return _fail(f"{error}. What is finished is kept: run again with --resume", 1)
    except SeamError as error:
        return _fail(error, 1)
    except Stopped:
        return _fail("stopped; what is finished is kept: run again with --resume", STOPPED)
    if as_json:
        return typer.echo(json.dumps(record))
    return _tell(f"{record['cube']}: {record['megapixels']:.2f} Mpx in {record['seconds']:.1f} s")


def _with_prefect(settings: ReconstructSettings) -> dict[str, Any]:
    from flows.job import open_job  # noqa: PLC0415
    from flows.reconstruct import check_destination  # noqa: PLC0415
    from flows.tasks import reconstruct_flow  # noqa: PLC0415 (prefect takes seconds to import)

    # Bad input is told in a line, before a server starts.
    check_destination(open_job(settings))
    return reconstruct_flow(settings)


@app.command()
@with_options(ReconstructSettings)
def plan(
    source: Annotated[str, typer.Argument(help="RGB raster: GeoTIFF, COG, JP2, PNG or JPEG.")],
    destination: Annotated[str, typer.Argument(help="Where the cube would be.")] = "plan.zarr",
    config: Config = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Say what `r2h reconstruct` would do and take, and write nothing.

    Example: r2h plan ortho.tif --memory 4
    """
    from flows.forecast import facts, forecast, line, refuse_what_does_not_fit  # noqa: PLC0415
    from flows.job import open_job  # noqa: PLC0415

    given |= {"source": source, "destination": destination}
    job = open_job(load(ReconstructSettings, config, **given))
    known = forecast(job)
    refuse_what_does_not_fit(job, known)
    typer.echo(json.dumps(facts(job, known)) if as_json else line(job, known))


def _stderr() -> Any:
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True)


@app.command()
def info(cube: Annotated[str, typer.Argument(help="Cube.")], as_json: Json = False) -> None:
    """Say what a cube is: size, wavelengths, place, model, camera, white.

    Example: r2h info ortho.zarr
    """
    from flows.reconstruct import describe_cube  # noqa: PLC0415

    _print(describe_cube(cube), as_json)


@app.command()
def look(cube: Annotated[str, typer.Argument(help="Cube.")], as_json: Json = False) -> None:
    """Draw a cube: a picture rendered back to sRGB, and spectra at distinct pixels.

    Example: r2h look ortho.zarr
    """
    from pipeline.cube import SpectralCube  # noqa: PLC0415
    from pipeline.report import write_quicklook, write_spectra  # noqa: PLC0415

    stem = cube.rstrip("/").removesuffix(".zarr")
    opened = SpectralCube.open(cube)
    # Not NAME.png: that may be the very image the cube was made from.
    write_quicklook(opened, picture := Path(f"{stem}.quicklook.png"))
    write_spectra(opened, spectra := Path(f"{stem}.spectra.png"))
    paths = {"cube": cube, "quicklook": picture, "spectra": spectra}
    _print({key: str(path) for key, path in paths.items()}, as_json)


@model_app.command("info")
def model_info(
    checkpoint: Annotated[Path, typer.Argument(help="Weights. [default: shipped]")] = SHIPPED,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint is: parameters, multiply-adds, steps, wavelengths, digest.

    Example: r2h model info
    """
    from model.cost import cost  # noqa: PLC0415

    _print(cost(checkpoint), as_json)


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
    rows = score(load(EvaluateSettings, config, **given), root, out, _tell)
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

        return _print({"checkpoint": str(fit_baseline(settings, root, out))}, as_json)
    from flows.train import train as run  # noqa: PLC0415

    with Progress(*_train_columns(), console=_stderr()) as bar:
        row = bar.add_task("train", total=settings.iterations, loss=0.0)
        path = run(settings, root, out, lambda i, loss: bar.update(row, completed=i, loss=loss))
    return _print({"checkpoint": str(path)}, as_json)


def _train_columns() -> tuple[Any, ...]:
    loss = TextColumn("loss {task.fields[loss]:.4f}  left")
    return BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn()


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        typer.echo(f"{key:<{width}}  {value}")


def main() -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    try:
        app()
    except (Refusal, CheckpointError) as error:
        _fail(error, 2)
    except OSError as error:
        _fail(error, 1)


def _fail(error: object, code: int) -> None:
    _tell(f"r2h: {' '.join(str(error).split())}")
    sys.exit(code)
