"""`r2h info` and `r2h look`: what a cube is."""

from pathlib import PurePosixPath
from typing import Annotated

import typer

from flows.commands.common import Json, show, tell
from pipeline.errors import Refusal

app = typer.Typer()


@app.command()
def info(cube: Annotated[str, typer.Argument(help="Cube.")], as_json: Json = False) -> None:
    """Say what a cube is: size, wavelengths, place, model, camera, white.

    Example: r2h info ortho.zarr
    """
    from pipeline.whole import describe_cube  # noqa: PLC0415

    show(describe_cube(cube), as_json)


@app.command()
def look(
    cube: Annotated[str, typer.Argument(help="Cube.")],
    out: Annotated[str | None, typer.Option(help="Folder (default: beside the cube).")] = None,
    as_json: Json = False,
) -> None:
    """Draw a cube: a picture rendered back to sRGB, and spectra at distinct pixels.

    Example: r2h look ortho.zarr
    """
    from pipeline.ours import LOOK, SPECTRA, refuse_foreign  # noqa: PLC0415
    from pipeline.publish import published, refuse_web  # noqa: PLC0415
    from pipeline.report import quicklook, write_quicklook, write_spectra  # noqa: PLC0415
    from pipeline.sidecar import stem  # noqa: PLC0415
    from pipeline.view import CubeView  # noqa: PLC0415
    from pipeline.whole import refuse_lost, unfinished  # noqa: PLC0415

    view = CubeView.open(cube)
    refuse_lost(view.cube, beside=True)
    if missing := unfinished(view.cube):
        tell(f"NOT complete: {missing} chunks are not made yet, and look like nodata.")
    # Not NAME.png: that may be the very image the cube was made from.
    at = stem(cube)
    if out is not None:
        if not out:
            raise Refusal("a folder has a name", "--out ''", "Leave --out out, or name one.")
        at = f"{out.rstrip('/')}/{PurePosixPath(at).name}"
    picture, spectra = at + LOOK, at + SPECTRA
    for uri in (picture, spectra):
        refuse_web(uri, "Name a folder with --out.")
        refuse_foreign(uri, "Move it away.")
    image = quicklook(view)
    for uri, write in ((picture, write_quicklook), (spectra, write_spectra)):
        with published(uri) as path:
            write(view, image, path)
    show({"cube": cube, "quicklook": picture, "spectra": spectra}, as_json)
