import subprocess
import sys

import pytest

HEAVY = {
    "torch", "rasterio", "zarr", "xarray", "prefect", "matplotlib", "onnxruntime", "openvino",
    "dask",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "without"),
    [
        # Help, and every mistake in options, shall come at once.
        ("import flows.cli", HEAVY),
        # What tells of a cube, and exports it, computes nothing.
        ("import pipeline.whole, pipeline.export, pipeline.report", {"torch"}),
        ("import model; model.load()", {"sympy"}),
    ],
)
def test_nothing_is_imported_that_takes_seconds_and_is_not_used(words, without):
    code = f"import sys; {words}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not without & set(done.stdout.split())
