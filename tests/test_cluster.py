"""The main job on Dask workers of their own processes: the same bytes, whatever befalls them."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from threading import Thread

import dask
import numpy as np
import pytest
import rasterio
from distributed import Client, Event, LocalCluster

from flows import cluster
from flows.environment import environment
from flows.hold import hold
from flows.job import open_job
from flows.progress import in_sight
from flows.record import refuse_elsewhere, with_places
from flows.regions import opened
from flows.settings import ReconstructSettings
from model import Reconstructor
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal, Stopped
from pipeline.lock import locked
from pipeline.sums import Sums
from tests.model_fixtures import small_checkpoint
from tests.toys import objects

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    # Of a worker that is killed in a test.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(scope="module")
def workers():
    options = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(n_workers=2, **options) as local, Client(local) as client:
        yield client


@pytest.fixture
def job(tmp_path):
    """Settings of a run over 6 regions, by the name of its cube."""
    values = np.random.default_rng(0).integers(0, 256, (3, 96, 48), np.uint8)
    profile = {"driver": "GTiff", "height": 96, "width": 48, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", photometric="RGB", **profile) as file:
        file.write(values)
    weights = small_checkpoint(tmp_path / "small.safetensors")

    def settings(name, **more):
        return ReconstructSettings(
            source=str(tmp_path / "a.tif"),
            destination=str(tmp_path / f"{name}.zarr"),
            checkpoint=str(weights),
            **{"tile": 16, "overlap": 4, "chunk": 16, "region": 32, "threads": 1, **more},
        )

    return settings


def slow():
    """Let a worker take its time, so that what befalls it does so amid a region."""
    add = Sums.add

    def late(self, tile, values):
        time.sleep(0.02)
        return add(self, tile, values)

    Sums.add = late


def holding(dask_worker):
    return any(key.startswith("hold") for key in dask_worker.state.tasks)


def finished(settings):
    """When each chunk that is there was written, by its path."""
    folder = Path(settings.destination) / "reflectance"
    written = (path for path in folder.glob("0.*.*") if path.suffix != ".partial")
    return {path: path.stat().st_mtime_ns for path in written}


@contextmanager
def amid(settings, befall):
    """While the body runs, do something once a first row of chunks is written; yields what was."""
    seen = {}

    def watch():
        until = time.monotonic() + 60
        while time.monotonic() < until and len(seen) < 3:
            seen.update(finished(settings))
            time.sleep(0.01)
        befall()

    thread = Thread(target=watch)
    thread.start()
    yield seen
    thread.join()


def same(one, other):
    for kind in ("", "_aux"):
        folders = (Path(s.destination.replace(".zarr", f"{kind}.zarr")) for s in (one, other))
        assert len({tuple(sorted(objects(folder).items())) for folder in folders}) == 1


def test_a_killed_worker_costs_its_unfinished_rows_and_no_byte(workers, job):
    in_sight(job("plain"))
    workers.run(slow)
    pids = workers.run(os.getpid)

    def kill():
        """The worker that holds the destination: another takes over."""
        holds = workers.run(holding)
        os.kill(pids[next(worker for worker in holds if holds[worker])], signal.SIGKILL)

    with amid(job("dask"), kill) as seen:
        record = cluster.reconstruct_on(workers.scheduler.address, job("dask"))
    same(job("plain"), job("dask"))
    assert 0 < len(seen) < 18, "it was killed amid the run"
    assert seen.items() <= finished(job("dask")).items(), (
        "nothing that was written is written again"
    )
    assert set(workers.run(os.getpid).values()) != set(pids.values())
    assert record["peak_bytes"] > 0
    assert record["stages"].keys() == {"prepare", "fill"}
    assert record["seconds"] == pytest.approx(sum(record["stages"].values()), abs=2e-3)
    assert SpectralCube.open(job("dask").destination).sealed


def test_one_run_at_a_time_has_the_destination(workers, job):
    workers.run(slow)
    place, refused = job("a").destination, []

    def intrude():
        with pytest.raises(Refusal) as found, locked(place):
            pass
        refused.append(str(found.value))

    with locked(place), pytest.raises(Refusal, match="one run at a time"):
        cluster.reconstruct_on(workers.scheduler.address, job("a"))
    assert not Path(place).exists()
    with amid(job("a"), intrude):
        cluster.reconstruct_on(workers.scheduler.address, job("a"))
    assert "one run at a time" in refused[0]
    assert not Path(place).with_suffix(".r2h.lock").exists()


def test_the_machine_that_asks_logs_and_nobody_else(job):
    settings = job("logged")
    words = ("reconstruct", settings.source, settings.destination, "--dask", "local:1")
    sizes = ("tile", "overlap", "chunk", "region", "threads", "checkpoint")
    more = [word for key in sizes for word in (f"--{key}", str(getattr(settings, key)))]
    command = [str(Path(sys.executable).with_name("r2h")), *words, *more, "--log", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("{")] == []
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "scene begun"
    assert events[-1] == "scene done"
    assert events.count("region done") == 6


def test_a_client_that_is_lost_lets_the_destination_go(workers, job):
    place = job("b").destination
    with Client(workers.scheduler.address, set_as_default=False) as lost:
        lost.submit(hold, job("b"), "run", pure=False)
        assert Event("held-run", client=lost).wait(30)
        with pytest.raises(Refusal, match="one run at a time"), locked(place):
            pass
    until = time.monotonic() + 30
    while Path(place).with_suffix(".r2h.lock").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    with locked(place):
        pass


def test_each_worker_opens_the_job_once(workers, job):
    before = workers.run(lambda: opened.cache_info().misses)
    record = cluster.reconstruct_on(workers.scheduler.address, job("a"))
    assert record["environments"] == [record["environment"]]
    after = workers.run(lambda: opened.cache_info().misses)
    assert all(after[worker] - before.get(worker, 0) <= 1 for worker in after)


def test_a_worker_of_another_version_is_refused_and_another_processor_recorded(job, tmp_path):
    in_sight(settings := job("a"))
    opened_ = open_job(settings.model_copy(update={"resume": True}))
    here = environment(opened_)
    refuse_elsewhere(opened_)
    path = tmp_path / "a.run.json"
    record = json.loads(path.read_text())
    for key, value, fits in (("processor", "another", True), ("torch version", "0", False)):
        there = [{**here, key: value}]
        path.write_text(json.dumps(record | {"environment": there[0], "environments": there}))
        assert with_places(opened_, [here, here]) == [*there, here]
        if fits:
            refuse_elsewhere(opened_)
            continue
        with pytest.raises(Refusal, match="torch version 0 where it was begun"):
            refuse_elsewhere(opened_)


def test_a_run_told_to_stop_ends_in_order_and_resumes(workers, job):
    workers.run(slow)
    in_sight(job("plain"))
    with (
        amid(job("a"), lambda: os.kill(os.getpid(), signal.SIGTERM)),
        pytest.raises(Stopped),
    ):
        cluster.reconstruct_on(workers.scheduler.address, job("a"))
    written = finished(job("a"))
    assert 0 < len(written) < 18
    time.sleep(0.3)
    assert finished(job("a")) == written, "nothing goes on behind its back"
    cluster.reconstruct_on(workers.scheduler.address, job("a", resume=True))
    same(job("plain"), job("a"))
    assert written.items() <= finished(job("a")).items()


def hesitate():
    """Let a worker's model take its time."""
    call = Reconstructor.__call__

    @wraps(call)
    def late(self, *given):
        time.sleep(1)
        return call(self, *given)

    Reconstructor.__call__ = late


def run_out():
    """Let a worker's model fail as a store does that does not answer."""

    @wraps(Reconstructor.__call__)
    def late(self, *given):
        raise TimeoutError("read timed out")

    Reconstructor.__call__ = late


def no_longer():
    Reconstructor.__call__ = Reconstructor.__call__.__wrapped__


def test_a_run_told_to_stop_while_a_worker_plans_makes_no_cube(workers, job):
    workers.run(hesitate)

    def befall():
        while not any("begin" in key for keys in workers.processing().values() for key in keys):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=befall)
    thread.start()
    try:
        with pytest.raises(Stopped):
            cluster.reconstruct_on(workers.scheduler.address, job("a"))
    finally:
        thread.join()
        workers.run(no_longer)
    time.sleep(0.3)
    assert not Path(job("a").destination).exists()
    cluster.reconstruct_on(workers.scheduler.address, job("a"))


def test_a_time_out_of_planning_is_told(workers, job):
    workers.run(run_out)
    try:
        with pytest.raises(TimeoutError, match="read timed out"):
            cluster.reconstruct_on(workers.scheduler.address, job("a"))
    finally:
        workers.run(no_longer)


def test_bad_input_is_refused_in_the_same_words_from_a_worker(workers, job):
    with pytest.raises(Refusal, match="overlap is 0 to 8"):
        cluster.reconstruct_on(workers.scheduler.address, job("a", overlap=9))
    broken = job("a").model_copy(update={"source": str(Path(job("a").source).with_name("b.tif"))})
    Path(broken.source).write_text("no raster")
    with pytest.raises(Refusal, match="the input is"):
        cluster.reconstruct_on(workers.scheduler.address, broken)
    with pytest.raises(Refusal, match="local:N"):
        cluster.reconstruct_on("local:none", job("a"))
    patience = {"distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(patience), pytest.raises(Refusal, match="scheduler must answer"):
        cluster.reconstruct_on("tcp://127.0.0.1:9", job("a"))


def test_a_refusal_passes_between_processes():
    refusal = Refusal("a rule", "a value", "A fix.")
    assert str(pickle.loads(pickle.dumps(refusal))) == "a rule; got a value. A fix."
