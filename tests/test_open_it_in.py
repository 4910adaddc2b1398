"""The lines of docs/open-it-in.md do what they say."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from pipeline.export import export
from pipeline.sidecar import write_sidecars
from tests.beside import add_layers
from tests.cubes import expected, make

PAGE = (Path(__file__).parents[1] / "docs" / "open-it-in.md").read_text("utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # odc-geo's
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the lines close none
def test_the_lines_of_python_run_and_see_the_cube(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    factors = {"50%": 0.6, "80%": 1.2, "90%": 1.7}
    cube = make("ortho.zarr", settings={"model": "toy", "uncertainty": {"factors": factors}})
    layers = add_layers(cube.uri)
    sigma = layers["uncertainty"]
    write_sidecars(cube)
    export(cube, "ortho.img")
    seen = {}
    for lines in CODE:
        exec(lines, seen)
    assert seen["green"].shape == (40, 50)
    np.testing.assert_allclose(seen["green"].filled(np.nan), expected()[15], atol=1e-6)
    np.testing.assert_allclose(seen["image"][10, 40], expected()[:, 10, 40], atol=1e-6)
    np.testing.assert_allclose(seen["spectrum"], expected()[:, 10, 40], atol=1e-6)
    row, col = np.argwhere(np.isnan(expected()[0]))[0]
    (spy,) = [lines for lines in CODE if "import spectral" in lines]
    exec(spy.replace("[10, 40]", f"[{row}, {col}]"), seen)
    assert np.isnan(seen["spectrum"]).all()
    unclipped = np.where(layers["quality"] & 1, np.nan, expected())
    np.testing.assert_allclose(seen["unclipped"], unclipped, atol=1e-6)
    known = np.where(np.isnan(expected()), np.nan, sigma)
    np.testing.assert_allclose(seen["sigma"], known, rtol=1e-6)
    np.testing.assert_allclose(seen["high"], expected() + 1.2 * known, rtol=1e-5)
    np.testing.assert_allclose(seen["high"] - seen["low"], 2.4 * known, rtol=1e-4)


def test_the_page_names_what_is_written(tmp_path):
    write_sidecars(make(tmp_path / "ortho.zarr"))
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"ortho.zarr", "ortho_aux.zarr", "ortho.vrt", "ortho.quicklook.tif"}
    assert all(f"`{name}`" in PAGE for name in written)
