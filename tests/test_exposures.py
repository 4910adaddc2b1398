"""Whatever the exposure of linear values, a cube is the same but for its brightness."""

from threading import Event

import numpy as np
import pytest
import rasterio
from skimage import data

from flows.reconstruct import reconstruct
from flows.settings import ReconstructSettings
from pipeline.camera import load_camera
from pipeline.cube import SpectralCube
from pipeline.grid import Window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SIDE = 56


def cube(folder, linear):
    """What `r2h reconstruct --white 1 --dtype float32` makes of linear RGB."""
    with rasterio.open(folder / "a.tif", "w", driver="GTiff", count=3, height=SIDE, width=SIDE,
                       dtype="float32", photometric="RGB") as file:  # fmt: skip
        file.write(linear.astype(np.float32))
    given = {"source": str(folder / "a.tif"), "destination": str(folder / "a.zarr")}
    options = {"white": 1, "dtype": "float32", "tile": 40, "overlap": 8, "sidecars": False}
    settings = ReconstructSettings(**given, **options, overwrite=True)
    reconstruct(settings, lambda *_: lambda _: None, Event())
    return SpectralCube.open(given["destination"]).read(Window(0, 0, SIDE, SIDE))[0]


def test_linear_values_of_another_exposure_give_the_same_spectra(tmp_path):
    image = np.moveaxis(data.astronaut()[100 : 100 + SIDE, 190 : 190 + SIDE], 2, 0)
    linear = load_camera("srgb").reading("srgb", 255.0).decode(image)
    one = cube(tmp_path, linear)
    for times in (0.25, 1.9):
        other = cube(tmp_path, times * linear) / times
        assert np.sqrt(((other - one) ** 2).mean() / (one**2).mean()) < 2e-5
        # Of white: a dark pixel that renders back to 1e-4 at one exposure is off by more, and
        # closed, at another.
        assert np.abs(other - one).max() < 1e-3
