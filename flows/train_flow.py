"""Training as a Prefect flow: one task, which goes on from the last save when it is tried again."""

from pathlib import Path

from prefect import flow, get_run_logger, task

from flows.artifacts import show_progress
from flows.baseline import fit_baseline
from flows.learn_settings import TrainSettings
from flows.patience import PATIENT
from flows.scenes import shortfall_of
from flows.train import train

TOLD = 100
"""Iterations between lines in the log."""


@task(name="train", **PATIENT)
def train_task(settings: TrainSettings, root: str, folder: str) -> str:
    """Train to the end, or on from the last save; returns the checkpoint's path."""
    logger = get_run_logger()
    if note := shortfall_of(settings, root):
        logger.warning(note)
    if settings.kind == "root-polynomial":
        return str(fit_baseline(settings, root, Path(folder)))

    advance, seen = show_progress(settings.iterations, "iterations"), 0

    def tell(iteration: int, loss: float) -> None:
        nonlocal seen
        advance(iteration - seen)
        seen = iteration
        if iteration % TOLD == 0 or iteration == settings.iterations:
            logger.info("iteration %d of %d, loss %.4f", iteration, settings.iterations, loss)

    return str(train(settings, root, Path(folder), tell))


@flow(name="train", persist_result=False)
def train_flow(settings: TrainSettings, root: str, folder: str) -> str:
    """Train one checkpoint; returns its path."""
    return train_task(settings, root, folder)
