import subprocess
import sys

HEAVY = {
    "torch", "rasterio", "zarr", "xarray", "prefect", "matplotlib", "onnxruntime", "openvino",
    "dask",
}  # fmt: skip


def test_the_command_starts_without_what_is_heavy():
    """Its help, and every mistake in its options, shall come at once."""
    code = "import sys, flows.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_weights_are_loaded_without_what_takes_seconds():
    code = "import sys, model; model.load(); print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_cube_is_described_looked_at_and_exported_without_torch():
    modules = "pipeline.whole, pipeline.export, pipeline.report"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
