"""What may move a last bit of a result, and no more: recorded, and compared when it is verified."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from flows.job import Job

PACKAGES = ("r2h", "torch", "onnxruntime", "numpy", "zarr", "rasterio", "prefect")


def environment(job: Job) -> dict[str, Any]:
    """What may move a last bit of the result."""
    here = {
        "device": job.device,
        "processor": _processor() if job.device == "cpu" else _card(),
        "threads_per_tile": torch.get_num_threads(),
        "batch": job.settings.batch,
    }
    packages = (*PACKAGES, "openvino") if job.engine == "openvino-bfloat16" else PACKAGES
    return here | {f"{name} version": installed(name) for name in packages}


@cache
def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _card() -> str:
    name, cudnn = torch.cuda.get_device_name(), torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"{name}, CUDA {torch.version.cuda}, cuDNN {cudnn}"


@cache
def installed(name: str) -> str | None:
    """Version of a package; None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
