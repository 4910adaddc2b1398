"""`r2h info` and `r2h look`: what a cube is."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import Json, show

app = typer.Typer()


@app.command()
def info(cube: Annotated[str, typer.Argument(help="Cube.")], as_json: Json = False) -> None:
    """Say what a cube is: size, wavelengths, place, model, camera, white.

    Example: r2h info ortho.zarr
    """
    from flows.reconstruct import describe_cube  # noqa: PLC0415

    show(describe_cube(cube), as_json)


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
    show({key: str(path) for key, path in paths.items()}, as_json)
