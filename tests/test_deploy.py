"""Prefect as it is used: a server and a worker on loopback, prefect.yaml deployed to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import tasks
from flows.commands.run import _with_prefect
from flows.deploy import batch_flow, evaluate_flow
from flows.learn_settings import EvaluateSettings, TrainSettings
from flows.progress import in_sight
from flows.settings import BatchSettings, ReconstructSettings, load
from pipeline.errors import Refusal, Stopped
from tests.model_fixtures import small_checkpoint
from tests.toys import objects, write_scene

# A server and a worker take minutes: make deploy-check.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parent.parent
DEPLOYMENTS = {
    d["name"]: d for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
}
PATIENCE = 1200
"""Seconds after which a state that is waited for is given up: a busy machine takes minutes to start
a run, and what fails says so by its state."""
QUICK = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_UI_ENABLED": "false",
}


def test_deployments_begin_with_settings_that_hold():
    assert DEPLOYMENTS.keys() == {"reconstruct", "batch", "evaluate", "train"}
    of = {name: d["parameters"]["settings"] for name, d in DEPLOYMENTS.items()}
    ReconstructSettings(**of["reconstruct"])
    BatchSettings(**of["batch"])
    assert EvaluateSettings(**of["evaluate"]) == load(EvaluateSettings, "evaluate-cave.toml")
    assert TrainSettings(**of["train"]) == load(TrainSettings, "train-cave.toml")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server: what asks it, its URL, and what begins another of Prefect's commands beside it."""
    folder = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    env = {**os.environ, **QUICK, "PREFECT_HOME": str(folder), "PREFECT_API_URL": url}
    started = []

    def begin(*words):
        call = [sys.executable, "-m", "prefect", *words]
        with (folder / f"{words[0]}.log").open("w") as log:
            started.append(subprocess.Popen(call, cwd=ROOT, env=env, stdout=log, stderr=log))
        return started[-1]

    ask = partial(request, url)

    try:
        begin("server", "start", "--host", "127.0.0.1", "--port", str(port))
        until(lambda: alive(ask))
        yield SimpleNamespace(ask=ask, url=url, begin=begin)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def prefect(server):
    """The server with a worker and the deployments."""
    server.ask("/work_pools/", {"name": "r2h", "type": "process"})
    assert server.begin("--no-prompt", "deploy", "--all").wait(PATIENCE) == 0
    server.begin("worker", "start", "--pool", "r2h", "--type", "process", "--limit", "1")
    return server


def request(url, path, body=None, method=None):
    """Ask the server; again while SQLite is busy, which it says by 503."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    asked.method = method or ("GET" if body is None else "POST")
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > end:
                raise
            error.close()
            time.sleep(1)


def alive(ask):
    try:
        return ask("/health")
    except OSError:
        return False


def until(condition, seconds=PATIENCE):
    """Wait for a condition; returns what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Settings of a run, as parameters, by the name of its cube; of a scene of so many rows."""
    folder = tmp_path_factory.mktemp("job")
    weights = small_checkpoint(folder / "small.safetensors")

    def settings(name, rows=96, **more):
        return {
            "source": str(folder / f"{rows}.tif"),
            "destination": str(folder / f"{name}.zarr"),
            "checkpoint": str(weights),
            **{"tile": 16, "overlap": 4, "chunk": 32, "threads": 1, "engine": "torch", **more},
        }

    for rows in (96, 640):
        made = settings(f"plain-{rows}", rows)
        write_raster(made["source"], rows)
        in_sight(ReconstructSettings(**made))
    return settings


def write_raster(path, rows):
    values = np.random.default_rng(0).integers(0, 256, (3, rows, 64), np.uint8)
    profile = {"driver": "GTiff", "height": rows, "width": 64, "count": 3, "dtype": "uint8"}
    place = {
        "crs": 32632,
        "transform": rasterio.Affine(1, 0, 500000, 0, -1, 4000000),
        "photometric": "RGB",
    }
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(values)


def chunks(settings):
    return len(list(Path(settings["destination"]).glob("reflectance/0.*.*")))


def same_as_plain(settings):
    cube = Path(settings["destination"])
    for end in (".zarr", "_aux.zarr"):
        plain = cube.with_name(f"plain-{Path(settings['source']).stem}{end}")
        assert objects(plain) == objects(cube.with_name(cube.stem + end))


def state_of(prefect, run):
    return prefect.ask(f"/flow_runs/{run}")["state"]


def ended(prefect, run):
    """The state in which a run ended."""
    final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    state = state_of(prefect, run)
    return state if state["type"] in final else None


def deployed(prefect, name="reconstruct"):
    return prefect.ask(f"/deployments/name/{name}/{name}")


def fired(runs):
    """The first run that a schedule has brought to a worker."""
    begun = (r for r in runs if r["auto_scheduled"] and r["state_type"] != "SCHEDULED")
    return next(begun, None)


def artifacts(prefect, run):
    found = prefect.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    return {artifact["key"]: artifact for artifact in found}


def test_a_scheduled_run_fires_and_finishes(prefect, job):
    # With resume, so that those that follow have nothing to do.
    settings, deployment = job("scheduled", resume=True), deployed(prefect)
    often = [{"schedule": {"interval": 20}, "active": True}]
    change = {"parameters": {"settings": settings}, "schedules": often}
    prefect.ask(f"/deployments/{deployment['id']}", change, "PATCH")
    mine = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    run = until(lambda: fired(prefect.ask("/flow_runs/filter", mine)))
    # Takes back those that are still to come, and those that are late behind it.
    prefect.ask(f"/deployments/{deployment['id']}", {"schedules": []}, "PATCH")
    late = {**mine, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    for waiting in prefect.ask("/flow_runs/filter", late):
        prefect.ask(f"/flow_runs/{waiting['id']}", method="DELETE")
    state = until(lambda: ended(prefect, run["id"]))
    assert state["type"] == "COMPLETED", state
    same_as_plain(settings)
    shown = artifacts(prefect, run["id"])
    assert shown.keys() == {"progress", "regions", "report"}
    assert shown["progress"]["data"] == 100
    rows = json.loads(shown["regions"]["data"])
    assert sum(row["height"] for row in rows) == 96
    assert "data:image/png;base64," in shown["report"]["data"]
    assert settings["destination"] in shown["report"]["data"].replace("\\", "")


def test_a_run_cancelled_from_the_api_stops_in_order_and_resumes(prefect, job):
    settings, deployment = job("cancelled", 640, region=320), deployed(prefect)

    def begin(**more):
        path = f"/deployments/{deployment['id']}/create_flow_run"
        return prefect.ask(path, {"parameters": {"settings": {**settings, **more}}})["id"]

    run = begin()
    until(lambda: chunks(settings) > 2)
    prefect.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    state = until(lambda: ended(prefect, run))
    assert state["type"] == "CANCELLED", state
    # The task says so itself: it was not killed.
    of = {"flow_runs": {"id": {"any_": [run]}}}
    until(lambda: "CANCELLED" in states(prefect, of))
    assert 0 < chunks(settings) < 40
    again = begin(resume=True)
    state = until(lambda: ended(prefect, again))
    assert state["type"] == "COMPLETED", state
    same_as_plain(settings)


def states(prefect, of):
    return [task["state_type"] for task in prefect.ask("/task_runs/filter", of)]


def test_bad_parameters_are_refused_where_they_are_given(prefect, job):
    deployment = deployed(prefect)
    form = deployment["parameter_openapi_schema"]["definitions"]["ReconstructSettings"]
    assert form["properties"]["tile"]["description"] == "Side of a tile in pixels."
    path = f"/deployments/{deployment['id']}/create_flow_run"
    for wrong in ({"tile": 20}, {"tiles": 16}, {"device": "tpu"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            prefect.ask(path, {"parameters": {"settings": job("bad", **wrong)}})
        assert refused.value.code == 409
        refused.value.close()


def test_a_region_is_tried_again_where_that_can_help(server, job, monkeypatch):
    tried, run_region = [], tasks.run_region

    def flaky(job, region, *more):
        tried.append(region)
        if len(tried) == 1:
            raise OSError("the network went away")
        return run_region(job, region, *more)

    def hopeless(job, region, *more):
        tried.append(region)
        raise Refusal("a rule", "a value", "A fix.")

    with temporary_settings({PREFECT_API_URL: server.url}):
        monkeypatch.setattr(tasks, "run_region", flaky)
        record = _with_prefect(ReconstructSettings(**job("flaky", region=64)), None)
        assert (record["regions"], len(tried)) == (2, 3)
        # The first try of a region and the wait after it are of the run.
        assert record["stages"]["fill"] > 2
        same_as_plain(job("flaky"))
        tried.clear()
        monkeypatch.setattr(tasks, "run_region", hopeless)
        with pytest.raises(Refusal, match="a rule; got a value"):
            _with_prefect(ReconstructSettings(**job("hopeless", region=64)), None)
        assert len(tried) == 1


def test_a_batch_fails_after_the_others_and_goes_on(server, job, tmp_path):
    scene = job("batch-96")
    good, cube = scene.pop("source"), Path(scene.pop("destination"))
    (tmp_path / "b.tif").write_text("no raster")
    of = {"output": str(cube.parent), "name": "batch-{stem}.zarr", "keep_going": True}
    of["scene"], inputs = scene, [str(tmp_path / "b.tif"), good]
    with temporary_settings({PREFECT_API_URL: server.url}):
        state = batch_flow(BatchSettings(inputs=inputs, **of), return_state=True)
        assert state.is_failed()
        assert "1 of 2 scenes failed" in state.message
        same_as_plain(job("batch-96"))
        assert [row["state"] for row in batch_flow(BatchSettings(inputs=inputs[1:], **of))] == [
            "skipped"
        ]


def test_an_evaluation_shows_its_scores(server, tmp_path):
    planes = np.random.default_rng(0).integers(0, 65536, (31, 16, 16), np.uint16)
    write_scene(tmp_path / "one_ms" / "one_ms", "one", planes)
    settings = EvaluateSettings(tile=16, overlap=0, chunk=16, threads=1)
    with temporary_settings({PREFECT_API_URL: server.url}):
        whole = evaluate_flow(settings, "cave", str(tmp_path), str(tmp_path / "out"))
    kept = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert kept == json.loads(json.dumps(whole))
    shown = server.ask("/artifacts/filter", {"artifacts": {"key": {"any_": ["scores"]}}})
    rows = json.loads(shown[0]["data"])
    assert [row["scene"] for row in rows] == ["one", "one", "mean", "mean"]
    assert rows[0]["sam"] == whole["scenes"][0]["sam"]


def test_a_signal_ends_it_in_order(server, job):
    settings = job("told", 640, region=320)

    def tell():
        until(lambda: chunks(settings) > 2)
        os.kill(os.getpid(), signal.SIGTERM)

    with temporary_settings({PREFECT_API_URL: server.url}):
        Thread(target=tell).start()
        with pytest.raises(Stopped):
            _with_prefect(ReconstructSettings(**settings), None)
        assert 0 < chunks(settings) < 40
        _with_prefect(ReconstructSettings(**settings, resume=True), None)
    same_as_plain(settings)
