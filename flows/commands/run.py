"""`r2h reconstruct` and `r2h plan`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, cast

import typer

from flows.commands.common import (
    STOPPED,
    Config,
    Json,
    Log,
    Metrics,
    answered,
    begin,
    begin_at,
    fail,
    figures,
    say,
    tell,
)
from flows.options import with_options
from flows.settings import ReconstructSettings, load
from pipeline.errors import Refusal, Stopped
from pipeline.redact import redacted

app = typer.Typer()


@app.command()
@with_options(ReconstructSettings)
def reconstruct(  # noqa: PLR0913, PLR0917 (a parameter is an option)
    source: Annotated[str, typer.Argument(help="RGB raster: GeoTIFF, COG, JP2, PNG or JPEG.")],
    destination: Annotated[str, typer.Argument(help="Cube to write, by custom NAME.zarr.")],
    config: Config = None,
    prefect: Annotated[bool, typer.Option("--prefect", help="Run as a Prefect flow.")] = False,
    dask: Annotated[
        str | None, typer.Option(help="Run on a Dask cluster: ADDRESS or local:N.")
    ] = None,
    log: Log = None,
    metrics: Metrics = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Reconstruct a hyperspectral cube from an RGB raster.

    Example: r2h reconstruct ortho.tif ortho.zarr --window 0,0,512,512
    """
    from flows.metrics import write_metrics  # noqa: PLC0415
    from flows.progress import in_sight  # noqa: PLC0415 (torch takes a second to import)

    with figures(metrics), _told(destination, far=dask is not None):
        given |= {"source": source, "destination": destination}
        settings = load(ReconstructSettings, config, **given)
        begin_at(settings.endpoint, metrics)
        if prefect and dask:
            raise Refusal("a run is of Prefect or of Dask", f"--prefect --dask {dask}", "Give one.")
        begin(log)
        if prefect:
            record = _with_prefect(settings, log)
        elif dask:
            record = _on_dask(settings, dask, log)
        else:
            record = in_sight(settings, bar=log is None)
    if as_json:
        typer.echo(json.dumps(record))
    elif not log:
        none = "" if record["quality"]["pixels"] else ", no pixel of it valid,"
        tell(f"{record['cube']}: {record['megapixels']:.2f} Mpx{none} in {record['seconds']:.1f} s")
    if metrics:  # last: a place that is gone by now takes no other answer with it
        write_metrics(metrics, [record])


@contextmanager
def _told(destination: str, far: bool) -> Iterator[None]:
    """What ends a run early, in a line and with its exit code.

    The destination may be another machine's, whose workers are ``far``: then it is not looked at.
    """
    from flows.finish import SeamError  # noqa: PLC0415
    from pipeline.cube import SpectralCube  # noqa: PLC0415
    from pipeline.device import out_of_memory  # noqa: PLC0415
    from pipeline.place import is_free  # noqa: PLC0415
    from pipeline.store import reason, storage_errors  # noqa: PLC0415

    kept = "what is finished is kept: run again with --resume"
    try:
        yield
    except storage_errors() as error:
        fail(f"{reason(error)}. {kept.capitalize()}", 1)
    except SeamError as error:
        fail(error, 1)
    except Stopped:
        begun = True
        with suppress(*storage_errors(Refusal)):  # a store that is out of reach takes no exit code
            # A whole one is that which --overwrite would have replaced.
            begun = far or not (is_free(destination) or SpectralCube.open(destination).sealed)
        fail(f"stopped; {kept if begun else 'nothing was begun: run again'}", STOPPED)
    except Exception as error:
        if not out_of_memory(error):
            raise
        # Not another batch by itself: its shape may move a last bit.
        less = "fewer --threads or --batch, or a smaller --region"
        fail(f"out of memory ({error}); {kept} and {less}", 1)


def _on_dask(settings: ReconstructSettings, cluster: str, log: str | None) -> dict[str, Any]:
    from flows.cluster import reconstruct_on  # noqa: PLC0415

    return reconstruct_on(cluster, settings, log)


def _with_prefect(settings: ReconstructSettings, log: str | None) -> dict[str, Any]:
    from flows.forecast import line  # noqa: PLC0415
    from flows.job import open_job  # noqa: PLC0415
    from flows.progress import stopped_by_signals  # noqa: PLC0415
    from flows.reconstruct import check  # noqa: PLC0415
    from flows.tasks import REGIONS, reconstruct_flow  # noqa: PLC0415 (it takes seconds to import)

    # Bad input, and what does not fit, is told in a line before a server starts.
    with stopped_by_signals() as stop:
        job = open_job(settings, REGIONS, stop=stop)
        planned = line(job, check(job, stop))
        if not log:
            tell(planned)
    if stop.is_set():
        raise Stopped
    with answered():
        state = reconstruct_flow(settings, return_state=True)
    if state.is_cancelled():
        raise Stopped
    return cast(dict[str, Any], state.result())


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
    if as_json:
        return say(json.dumps(redacted(facts(job, known))))
    tell(job.assumptions)
    return say(line(job, known))
