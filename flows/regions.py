"""What those who run regions apart from each other share: a job opened once, and what is to do."""

from dataclasses import replace
from functools import lru_cache
from threading import Event

from flows.job import Job, open_job
from flows.record import recorded
from flows.settings import ReconstructSettings
from pipeline.cube import SpectralCube
from pipeline.plan import Parts


@lru_cache(maxsize=1)
def opened(settings: ReconstructSettings, parts: Parts, run: str, stop: Event | None = None) -> Job:
    """`open_job`, once a run and process; ``run`` keeps a later run from an older input."""
    return replace(open_job(settings, parts, stop=stop), run=run)


def going_on(settings: ReconstructSettings, run: str) -> ReconstructSettings:
    """The settings of a run that may be tried again: it goes on with what it began itself.

    What an older run left is taken up, replaced or refused as the settings say, at every try.
    """
    before = recorded(settings.destination)
    if before is None or before.get("run") != run:
        return settings
    return settings.model_copy(update={"resume": True, "overwrite": False})


def tiles_to_do(job: Job) -> list[int]:
    """Of each region of a prepared cube, how many tiles its missing chunks take."""
    cube = SpectralCube.open(job.settings.destination)
    # Listed once: a large cube has more objects than a region.
    stream, written = job.connect(cube), cube.finished()
    return [sum(map(stream.tiles, stream.unfinished(r, written))) for r in job.plan.regions]
