"""A run that is tried again: when, and from where it goes on."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from distributed import KilledWorker
from prefect.states import Failed

from flows.cluster import _killed
from flows.deploy import evaluate_task
from flows.patience import may_pass
from flows.progress import in_sight
from flows.reconstruct import prepare
from flows.regions import going_on, opened
from flows.settings import ReconstructSettings
from flows.tasks import plan_task, region_task, seal_task
from flows.train_flow import train_task
from model.shipped import CheckpointError
from model.train import Diverged
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal, Stopped
from pipeline.plan import ONE
from tests.model_fixtures import small_checkpoint
from tests.toys import objects


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError("the disk is full"), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (Refusal("a rule", "a value", "A fix."), False),
        (CheckpointError("not a checkpoint"), False),
        (Diverged("nan", 3, "A fix."), False),
        (Stopped(), False),
        (TypeError(), False),
    ],
)
def test_what_is_tried_again_is_what_can_pass(error, passes):
    async def within_a_loop():
        return may_pass(None, None, Failed(data=error))

    assert may_pass(None, None, Failed(data=error)) is passes
    # In a thread of its own: another test's loop may run in this one.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: asyncio.run(within_a_loop())).result() is passes


def test_every_task_is_tried_again_under_that_one_condition():
    for task in (plan_task, region_task, seal_task, evaluate_task, train_task):
        assert task.retry_condition_fn is may_pass
        assert task.retries > 0


@pytest.fixture
def settings(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    profile = {"driver": "GTiff", "height": 32, "width": 32, "count": 3, "dtype": "uint8"}
    place = {"crs": 32632, "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    with rasterio.open(tmp_path / "a.tif", "w", photometric="RGB", **profile, **place) as file:
        file.write(values)

    def make(**more):
        return ReconstructSettings(
            source=str(tmp_path / "a.tif"),
            destination=str(tmp_path / "a.zarr"),
            checkpoint=str(small_checkpoint(tmp_path / "small.safetensors")),
            **{"tile": 16, "overlap": 4, "chunk": 16, "threads": 1, "engine": "torch", **more},
        )

    return make


def test_a_run_tried_again_goes_on_with_what_it_began_and_no_older_cube(settings, tmp_path):
    in_sight(settings())
    older = objects(tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "reflectance" / "0.0.0"
    chunk.write_bytes(bytes(9))  # what an overwrite is to get rid of
    again = settings(overwrite=True)
    # The first try failed before it began: a second replaces the older cube like the first.
    assert going_on(again, "run") == again
    with pytest.raises(Refusal, match="a finished cube"):
        prepare(opened(going_on(settings(), "run"), ONE, "run"))
    prepare(opened(going_on(again, "run"), ONE, "run"))
    assert not SpectralCube.open(again.destination).finished()
    # Now it has begun: a second try of it resumes, one of another run does not.
    kept = going_on(again, "run")
    assert (kept.resume, kept.overwrite) == (True, False)
    assert going_on(again, "another run") == again
    prepare(opened(kept, ONE, "run"))
    assert going_on(again, "run") == kept, "also when it was tried twice"
    in_sight(kept)
    assert objects(tmp_path / "a.zarr") == older


def test_what_killed_dasks_workers_is_told_as_a_store_that_fails_is():
    with pytest.raises(OSError, match="workers died, as of too little memory"), _killed():
        raise KilledWorker("fill", SimpleNamespace(address="tcp://127.0.0.1:1"), 3)
