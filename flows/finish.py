"""The end of a run: what it measured, what lies beside its cube, the seal."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from fsspec.core import url_to_fs

from flows.forecast import peak_resident
from flows.job import Job
from flows.record import unchanged_input, write_record
from flows.settings import ReconstructSettings
from pipeline import layers
from pipeline.companion import Companion
from pipeline.cube import SpectralCube
from pipeline.moment import Moment, given
from pipeline.scene import RasterScene
from pipeline.seam import certificate
from pipeline.sidecar import publish, there, write_sidecars

ENDS = {"max_seam", "datetime", "sidecars"}
"""Settings that decide how a cube is finished, not what is in it."""
logger = logging.getLogger("r2h")


class SeamError(RuntimeError):
    """Tiles disagree more than the run allows; the cube is whole but not sealed."""


def stages(start: float, ready: float) -> dict[str, float]:
    """Seconds until the cube was prepared and since then, of two times by perf_counter."""
    return {"prepare": ready - start, "fill": time.perf_counter() - ready}


def finish(
    job: Job,
    cube: SpectralCube,
    taken: Mapping[str, float],
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Seal the cube and complete `run.json` beside it; returns that record.

    ``taken`` are the seconds of each stage, and ``more`` is what else is to be recorded.

    Raises SeamError, with the record written, where tiles disagree more than ``max_seam``.
    """
    original = unchanged_input(job)
    seam = certificate(cube.companion.seam())
    measured = {
        "seconds": round(sum(taken.values()), 3),
        "stages": {stage: round(seconds, 3) for stage, seconds in taken.items()},
        "peak_bytes": peak_resident(),
        "read_bytes": job.plan.read_bytes,
        "stored_bytes": sum(_stored(uri) for uri in (cube.uri, Companion.uri(cube.uri))),
        "retries": job.scene.retries,
        "seam": seam,
        "quality": layers.certificate(cube.companion.census()),
    }
    about = {**measured, **(more or {})}
    write_record(job, original, about)
    worst, allowed = seam["disagreement_p99"], job.settings.max_seam
    if allowed is not None and worst is not None and worst > allowed:
        state = "is sealed by an earlier run" if cube.sealed else "is not sealed"
        raise SeamError(
            f"tiles must agree within --max-seam {allowed} in 99 % of the pixels they share; got "
            f"{worst:.4f}. The cube {state}: --resume with a higher limit seals it, --overwrite "
            "with larger tiles begins again."
        )
    cube.seal(lambda: write_sidecars(cube) if job.settings.sidecars else None)
    if job.settings.sidecars:
        _publish(job, cube)
    # Last of all: what says so has all beside it that was asked for.
    record = write_record(job, original, {**about, "ended": ended(job)})
    log_done(record, job.settings)
    return record


def log_done(record: Mapping[str, Any], settings: ReconstructSettings) -> None:
    """Log that a scene is done, and what it took."""
    kept = ("megapixels", "tiles", "seconds", "retries")
    facts = {"source": settings.source, "destination": settings.destination}
    logger.info("scene done", extra={**facts, **{key: record[key] for key in kept}})


def ended(job: Job) -> dict[str, Any]:
    """What was asked of a cube's end, and which sidecars are there now."""
    asked = job.settings.model_dump(mode="json", include=ENDS)
    return {**asked, "beside": there(job.settings.destination) if asked["sidecars"] else []}


def _stored(uri: str) -> int:
    fs, path = url_to_fs(uri)
    return int(fs.du(path))


def _publish(job: Job, cube: SpectralCube) -> None:
    """The STAC item, last of all: what finds it finds a cube that is whole."""
    if job.settings.datetime:
        when: Moment | None = given(job.settings.datetime)
    else:
        when = job.scene.taken if isinstance(job.scene, RasterScene) else None
    if when is None:
        logger.warning(
            "no STAC item is written: it needs the time the picture was taken, and the input names "
            "none. Set datetime (a batch's is of all scenes; a catalog names each), and run again, "
            "a single scene with --resume.",
            extra=job.settings.model_dump(include={"source", "destination"}),
        )
        return
    publish(cube, when)
