"""A fresh process: does one job and prints what it cost as a line of JSON."""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.case import Case, Facts, Job, Skip, Steps


def main(asked: str) -> dict[str, Any]:
    """Pin the process, then measure. Heavy modules are imported only after that."""
    run = json.loads(asked)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: run["cores"]])
    try:
        job = _job(run)
        return _measured(job(Case(**run["case"]), Path(run["folder"])))
    except (Skip, ImportError) as error:
        return {"skipped": str(error)}


def _job(run: dict[str, Any]) -> Job:
    import torch  # noqa: PLC0415
    import zarr  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    torch.set_num_threads(run["threads"])
    # NumPy's products have a thread a core, as users have it: a contender limits them itself.
    threadpool_limits(run["cores"], user_api="blas")
    zarr.config.set({"threading.max_workers": run["cores"]})
    module, name = run["job"].rsplit(".", maxsplit=1)
    job: Job = getattr(import_module(f"benchmarks.{module}"), name)
    return job


def _measured(steps: Steps) -> dict[str, Any]:
    next(steps)
    base = _high_water()
    wall, cpu = time.perf_counter(), time.process_time()
    next(steps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = _high_water()
    return {"wall": wall, "cpu": cpu, "peak": peak, "base": base, "facts": _facts(steps)}


def _facts(steps: Steps) -> Facts:
    try:
        next(steps)
    except StopIteration as end:
        facts: Facts = end.value
        return facts
    raise RuntimeError("a job yields twice")


def _high_water() -> float:
    """Peak resident memory of this process, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
