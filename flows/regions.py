"""What those who run regions apart from each other share: a job opened once, and what is to do."""

from functools import lru_cache

from flows.job import Job, open_job
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube


@lru_cache(maxsize=1)
def opened(settings: ReconstructSettings, parts: int, run: str) -> Job:  # noqa: ARG001
    """`open_job`, once a run and process; ``run`` keeps a later run from an older input."""
    return open_job(settings, parts)


def tiles_to_do(job: Job) -> list[int]:
    """Of each region of a prepared cube, how many tiles its missing chunks take."""
    cube = SpectralCube.open(job.settings.destination)
    # Listed once: a large cube has more objects than a region.
    stream, written = job.connect(cube), cube.finished()
    return [sum(map(stream.tiles, stream.unfinished(r, written))) for r in job.plan.regions]
