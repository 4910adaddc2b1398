import subprocess
import sys

HEAVY = {"rasterio", "zarr", "xarray", "prefect", "matplotlib", "onnxruntime", "openvino", "dask"}


def test_the_command_starts_without_what_is_heavy():
    """Beside torch: its help, and every mistake in its options, shall come at once."""
    code = "import sys, flows.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_weights_are_loaded_without_what_takes_seconds():
    code = "import sys, model; model.load(); print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
