"""Whole runs on S3, Google's and Azure's stores, as servers on loopback play them, and in memory:
the same bytes as on disk."""

import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from flows import hold, tasks
from flows.batch import plan_batch
from flows.commands.common import STOPPED
from flows.progress import in_sight
from flows.settings import BatchSettings, ReconstructSettings, SceneSettings
from flows.tasks import reconstruct_flow
from pipeline import charts, lock, reach, store
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.grid import Window
from pipeline.lock import locked
from pipeline.reach import endpoint_options
from pipeline.remote import Source
from pipeline.store import open_store, put, use_endpoint
from pipeline.sums import Sums
from pipeline.view import CubeView
from tests.faults.proxy import faulty
from tests.servers import azurite, serving
from tests.toys import objects

PASSING = ["500", "503", "reset", "cut", "stall"]
ASK = r"HEAD /.*/in/ortho\.tif"
READ, WRITE = r"GET /.*/in/ortho\.tif", r"PUT /.*a\.zarr/reflectance/0\."
TILING = ("--tile", "16", "--overlap", "4", "--chunk", "32")
AZURITE = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Not a secret: Azurite has one account with one key."""
ENVIRONMENT = {
    "s3": {
        "AWS_ACCESS_KEY_ID": "testing-access-key-id",
        "AWS_SECRET_ACCESS_KEY": "testing-secret-access-key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": "{0}",
    },
    "gs": {
        "STORAGE_EMULATOR_HOST": "{0}",
        # gcsfs would ask Google itself what kind of bucket it is.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "CPL_GS_ENDPOINT": "{0}/",
        "GS_NO_SIGN_REQUEST": "YES",
        # The server does not know HEAD.
        "CPL_VSIL_CURL_USE_HEAD": "NO",
    },
    "az": {
        "AZURE_STORAGE_CONNECTION_STRING": (
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
            f"AccountKey={AZURITE};BlobEndpoint={{0}}/devstoreaccount1;"
        )
    },
}
later = partial(pytest.param, marks=pytest.mark.slow)  # by `make faults` alone


@pytest.fixture(scope="module")
def servers():
    """Address of a cloud's server, started when it is first asked for."""
    with ExitStack() as running:
        yield cache(lambda kind: running.enter_context(serving(kind)))


@pytest.fixture
def bucket(request, servers, monkeypatch):
    """The URI of an empty bucket, of S3 if the test does not say where."""
    kind = getattr(request, "param", "s3")
    if kind == "az" and not azurite():
        pytest.skip("no azurite-blob on the PATH: npm install --global azurite")
    for key in [key for key in os.environ if key.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(key)
    for key, value in ENVIRONMENT[kind].items():
        monkeypatch.setenv(key, value.format(servers(kind)))
    if kind == "s3":
        at = {"use_listings_cache": False, "endpoint_url": servers(kind)}
        monkeypatch.setitem(fsspec.config.conf, "s3", at)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", servers(kind))
        monkeypatch.setattr(store, "_before", [])
    fs, name = fsspec.filesystem(kind), f"bucket-{os.urandom(4).hex()}"
    fs.mkdir(name)
    yield f"{kind}://{name}"
    fs.clear_instance_cache()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folders that a run to elsewhere must leave empty: the current one and the temporary one."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setattr("tempfile.tempdir", str(empty))
    return empty


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    values = np.random.default_rng(0).integers(100, 190, (3, 45, 50), np.uint8)
    values[:, 5:20, 8:30] = 0
    profile = {"height": 45, "width": 50, "count": 3, "dtype": "uint8", "nodata": 0, "crs": 32632}
    transform = Affine(0.5, 0, 350000, 0, -0.5, 4060000)
    path = tmp_path_factory.mktemp("input") / "ortho.tif"
    with rasterio.open(path, "w", driver="COG", transform=transform, **profile) as file:
        file.write(values)
    return path


@pytest.fixture(scope="module")
def plain(raster, weights):
    """The folder of the local cube."""
    small = {"tile": 16, "overlap": 4, "chunk": 32, "checkpoint": weights}
    to = str(raster.with_name("a.zarr"))
    in_sight(ReconstructSettings(source=str(raster), destination=to, **small))
    return raster.parent


def test_a_public_bucket_is_read_and_listed_without_a_name(bucket, raster, monkeypatch):
    public = {"ACL": "public-read"}
    fsspec.filesystem("s3").put_file(str(raster), f"{bucket}/in/a.tif", **public)
    for key in [key for key in os.environ if key.startswith("AWS_") and "ENDPOINT" not in key]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    fsspec.filesystem("s3").clear_instance_cache()
    settings = BatchSettings(inputs=[f"{bucket}/in/*.tif"], output=f"{bucket}/out")
    (entry,) = plan_batch(settings, Event()).entries
    assert (entry.state, entry.reason) == ("new", None)


@pytest.mark.parametrize("what", [later("destination"), "glob", later("list")])
def test_a_store_out_of_reach_is_no_bad_input(tmp_path, raster, command, monkeypatch, what):
    for key, value in ENVIRONMENT["s3"].items():
        monkeypatch.setenv(key, value)
    at = {"endpoint_url": "http://127.0.0.1:9", "use_listings_cache": False}
    monkeypatch.setitem(fsspec.config.conf, "s3", at)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    fsspec.filesystem("s3").clear_instance_cache()
    inputs = {"glob": 'inputs = ["s3://b/*.tif"]', "list": 'listed = "s3://b/list.txt"'}
    if what == "destination":
        code, _, said = command("reconstruct", raster, "s3://b/a.zarr")
    else:
        (tmp_path / "b.toml").write_text(f'{inputs[what]}\noutput = "{tmp_path}/out"\n')
        code, _, said = command("batch", tmp_path / "b.toml")
    assert (code, "is out of reach" in said) == (1, True), said


@pytest.fixture
def r2h(command, weights):
    def run(*words):
        more = ("--checkpoint", weights, *TILING) if "info" not in words else ()
        return command(*words, *more)

    return run


def stored(uri):
    fs, root = fsspec.core.url_to_fs(uri)
    return {name.removeprefix(f"{root}/"): fs.cat_file(name) for name in fs.find(root)}


def copy(raster, uri):
    with fsspec.open(f"{uri}/in/ortho.tif", "wb") as file:
        file.write(raster.read_bytes())
    return f"{uri}/in/ortho.tif"


def same(plain, uri):
    for kind in ("", "_aux"):
        there = stored(f"{uri}/a{kind}.zarr")
        assert there == objects(plain / f"a{kind}.zarr")


@pytest.mark.parametrize("bucket", ENVIRONMENT, indirect=True)
def test_a_run_from_bucket_to_bucket_is_the_local_run(r2h, raster, plain, bucket, place):
    source = copy(raster, bucket)
    code, out, err = r2h("reconstruct", source, f"{bucket}/a.zarr", "--json")
    assert code == 0, err
    same(plain, bucket)
    assert not list(place.iterdir())
    record = json.loads(stored(f"{bucket}/a.run.json").popitem()[1])
    assert record == json.loads(out)
    assert record["input"]["files"][0]["etag"]
    # The consolidated metadata are written after the record.
    sizes = [
        len(value)
        for kind in ("", "_aux")
        for name, value in objects(plain / f"a{kind}.zarr").items()
        if name != ".zmetadata"
    ]
    assert record["stored_bytes"] == sum(sizes)
    assert not any(secret in json.dumps(record) for secret in ("testing-", AZURITE))
    opened = xr.open_zarr(open_store(f"{bucket}/a.zarr"), consolidated=True).reflectance
    xr.testing.assert_identical(opened, xr.open_zarr(plain / "a.zarr").reflectance)
    assert json.loads(r2h("info", f"{bucket}/a.zarr", "--json")[1])["sealed"]


@pytest.mark.parametrize("bucket", ["s3", later("gs"), later("az")], indirect=True)
def test_a_stopped_run_in_a_bucket_goes_on(r2h, raster, plain, bucket, place, monkeypatch):
    add, source = Sums.add, copy(raster, bucket)

    def told(self, tile, values):
        if tile.at == (3, 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, tile, values)

    with monkeypatch.context() as patch:
        patch.setattr(Sums, "add", told)
        assert r2h("reconstruct", source, f"{bucket}/a.zarr")[0] == STOPPED
    begun = stored(f"{bucket}/a.zarr/reflectance")
    assert 0 < sum("." in name[1:] for name in begun) < 4
    code, _, err = r2h("reconstruct", source, f"{bucket}/a.zarr")
    assert code == 2
    assert "half-finished" in err
    assert r2h("reconstruct", source, f"{bucket}/a.zarr", "--resume")[0] == 0
    same(plain, bucket)
    SpectralCube.remove(f"{bucket}/a.zarr")
    assert not stored(f"{bucket}/a.zarr")
    assert not stored(f"{bucket}/a_aux.zarr")
    assert not list(place.iterdir())


def test_a_run_in_memory_is_the_local_run(r2h, raster, plain, place):
    code, _, err = r2h("reconstruct", copy(raster, "memory://run"), "memory://run/a.zarr")
    assert code == 0, err
    same(plain, "memory://run")
    assert not list(place.iterdir())
    fsspec.filesystem("memory").rm("/run", recursive=True)


def test_viewer_and_report_of_a_bucket_are_the_local_ones(
    command, plain, bucket, place, monkeypatch
):
    pytest.importorskip("bokeh", reason="r2h view needs the extra 'viewer'")
    from starlette.testclient import TestClient  # noqa: PLC0415

    from flows.view import application  # noqa: PLC0415

    for name, data in objects(plain).items():
        if name.startswith(("a.zarr", "a_aux.zarr", "a.run.json")):
            put(f"{bucket}/{name}", data)
    asked = ["facts.json", "pixel.json?row=30&col=40"]
    asked += ["region.json?row=3&col=25&height=20&width=20"]
    picture = "picture.png?row=0&col=0&height=45&width=50&down=23&across=25&show="
    asked += [picture + show for show in ("colour", "closure", "quality")]
    answers = []
    for folder in (plain, bucket):
        app = application(CubeView.open(f"{folder}/a.zarr"), "t")
        with TestClient(app, "http://127.0.0.1") as client:
            answers.append([client.get(f"/t/{path}") for path in asked])
    for path, here, there in zip(asked, *answers, strict=True):
        assert here.status_code == 200, path
        assert here.content == there.content, path
    stored_there = SpectralCube.open(f"{bucket}/a.zarr").read(Window(30, 40, 1, 1))[0]
    assert np.array_equal(np.float32(answers[1][1].json()["spectrum"]), stored_there[:, 0, 0])
    monkeypatch.setattr(charts, "_DPI", 20)
    code, out, err = command("report", f"{bucket}/a.zarr", "--json")
    assert code == 0, err
    assert json.loads(out)["report"] == f"{bucket}/a.report.html"
    report = stored(f"{bucket}/a.report.html").popitem()[1]
    local = Path(command("report", plain / "a.zarr", "--json")[1].split('"')[-2])
    assert report == local.read_bytes()
    assert not list(place.iterdir())


def test_a_batch_over_a_bucket(command, raster, tmp_path, bucket, place, weights):
    copy(raster, bucket)
    config = tmp_path / "batch.toml"
    config.write_text(
        f'inputs = ["{bucket}/in/*.tif"]\noutput = "{bucket}/out"\n[scene]\n'
        f'checkpoint = "{weights}"\ntile = 16\noverlap = 4\nchunk = 16\n'
    )
    for state in ("done", "skipped"):
        assert command("batch", config)[0] == 0
        rows = stored(f"{bucket}/out/batch.jsonl").popitem()[1].splitlines()
        assert [json.loads(row)["state"] for row in rows] == [state]
    assert not list(place.iterdir())


def test_an_endpoint_is_one_runs_own(raster, bucket, place, weights):
    small = {"tile": 16, "overlap": 4, "chunk": 32, "checkpoint": weights}
    with serving("s3") as other:
        address = {"endpoint_url": other, "skip_instance_cache": True, "use_listings_cache": False}
        there, here = fsspec.filesystem("s3", **address), fsspec.filesystem("s3")
        there.mkdir(bucket)
        there.put_file(str(raster), f"{bucket}/in/ortho.tif")
        here.put_file(str(raster), f"{bucket}/in/ortho.tif")
        # From the first request on: what has a cube's name here is nothing to it.
        here.pipe_file(f"{bucket}/one.zarr/notes.txt", b"mine")
        source = {"source": f"{bucket}/in/ortho.tif", **small}
        elsewhere = ReconstructSettings(
            **source, destination=f"{bucket}/one.zarr", endpoint=other, sidecars=False
        )
        in_sight(elsewhere)
        # As in a process that goes on: a Dask worker, a server of flows.
        in_sight(ReconstructSettings(**source, destination=f"{bucket}/two.zarr", sidecars=False))
        assert there.exists(f"{bucket}/one.zarr/.zattrs")
        assert here.exists(f"{bucket}/two.zarr/.zattrs")
        assert not here.exists(f"{bucket}/one.zarr/.zattrs")
        assert not there.exists(f"{bucket}/two.zarr/.zattrs")
        # And from the first request on: what a batch lists, where a lock lies.
        there.put_file(str(raster), f"{bucket}/new/only.tif")
        scene = SceneSettings(endpoint=other, **small)
        batch = {"inputs": (f"{bucket}/new/*.tif",), "output": f"{bucket}/out"}
        assert len(plan_batch(BatchSettings(**batch, scene=scene), Event()).entries) == 1
        use_endpoint(None)
        with pytest.raises(Refusal, match="locked where it was asked"):
            locked_by(reconstruct_flow.fn, elsewhere)
        use_endpoint(None)
        with pytest.raises(Refusal, match="locked where it was asked"):
            locked_by(lambda settings: hold.hold(settings, "run"), elsewhere)


def locked_by(run, settings):
    """A run that ends where it takes its lock, by saying where that is."""

    @contextmanager
    def said(destination, *_):
        assert destination == settings.destination
        asked = os.environ["AWS_ENDPOINT_URL_S3"] == settings.endpoint
        raise Refusal("locked where it was asked" if asked else "locked elsewhere", "", "")
        yield

    with pytest.MonkeyPatch.context() as patch:
        for module in (hold, tasks):
            patch.setattr(module, "locked", said)
        worker = SimpleNamespace(get_current_task=lambda: "key")
        patch.setattr("distributed.get_worker", lambda: worker)
        patch.setattr("distributed.secede", lambda: None)
        run(settings)


def test_what_is_out_of_reach_is_told_in_a_line(r2h, raster, tmp_path, bucket):
    code, _, err = r2h("reconstruct", f"{bucket}/none.tif", tmp_path / "a.zarr")
    assert (code, len([line for line in err.splitlines() if line])) == (2, 1), err
    code, _, err = r2h("reconstruct", raster, "s3://no-such-bucket-here/a.zarr")
    assert code == 2, err
    assert err.splitlines()[-1].startswith("r2h: the destination must be")
    assert not list(tmp_path.glob("*.zarr"))


def test_gdal_is_told_of_the_endpoint(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.example.org:9000")
    assert endpoint_options() == {
        "AWS_S3_ENDPOINT": "minio.example.org:9000",
        "AWS_HTTPS": "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


@pytest.fixture(scope="module")
def proxy(servers):
    with faulty(servers("s3")) as proxy:
        yield proxy


@pytest.fixture
def through(r2h, proxy, monkeypatch):
    """Runs from S3 to S3 through the proxy, with as little patience as a busy machine allows."""
    monkeypatch.setattr(reach, "SILENCE", 4.0)
    monkeypatch.setattr(reach, "BUDGET", 30.0)
    yield lambda *words: r2h("reconstruct", *words, "--endpoint", proxy.address)
    proxy.heal()


@pytest.mark.parametrize("what", ["destination", later("list"), later("catalog")])
def test_a_store_that_is_busy_is_no_bad_input(bucket, proxy, through, raster, command, what):
    text = {
        "list": f'listed = "{bucket}/list.txt"',
        "catalog": f'catalog = "{bucket}/c.json"',
    }
    proxy.fail(["503"], "bucket", times=10**6)
    if what == "destination":
        code, _, said = through(raster, f"{bucket}/a.zarr")
    else:
        end = f'output = "{bucket}/out"\n[scene]\nendpoint = "{proxy.address}"\n'
        (batch := raster.with_name("busy.toml")).write_text(f"{text[what]}\n{end}")
        code, _, said = command("batch", batch)
    assert (code, "is out of reach" in said) == (1, True), said


@pytest.mark.parametrize(
    "passing",
    [
        pytest.param((["503", "cut"], 1), id="some"),
        later((PASSING, 0), id="opening"),
        later((PASSING, 1), id="reading"),
    ],
)
def test_what_passes_is_tried_again(through, raster, plain, bucket, proxy, passing):
    source, (kinds, skip) = copy(raster, bucket), passing
    proxy.fail(kinds, READ, times=len(kinds), skip=skip)
    proxy.fail(kinds, WRITE, times=len(kinds), skip=1)
    code, _, said = through(source, f"{bucket}/a.zarr")
    assert code == 0, said
    seen = proxy.seen()
    for verb in ("GET", "PUT"):
        failed = sum(count for asked, count in seen.items() if asked.startswith(verb))
        assert failed == len(kinds)
    same(plain, bucket)


@pytest.mark.parametrize("kind", ["stall", "500", "reset", "expired"])
def test_a_raster_out_of_reach_is_tried_again_and_no_bad_image(
    raster, bucket, proxy, monkeypatch, kind
):
    monkeypatch.setattr(reach, "SILENCE", 1.0)
    monkeypatch.setattr(reach, "RETRIES", 0)
    source = copy(raster, bucket)
    use_endpoint(proxy.address)
    proxy.fail([kind], READ, times=10**6)
    try:
        with pytest.raises(ConnectionError, match=r"in/ortho\.tif is out of reach: [^?]+$"):
            Source(source).open()
        assert sum(proxy.seen().values()) >= reach.TRIES
    finally:
        proxy.heal()


@pytest.mark.parametrize(
    ("name", "rule", "tries"),
    [("none.tif", "can be reached", 1), ("text.tif", "is a readable GeoTIFF", reach.TRIES)],
)
def test_what_is_not_there_is_said_at_once(bucket, monkeypatch, name, rule, tries):
    with fsspec.open(f"{bucket}/text.tif", "wb") as file:
        file.write(b"no image")
    opened, opens = [], Source._open
    monkeypatch.setattr(Source, "_open", lambda self: (opened.append(self), opens(self))[1])
    with pytest.raises(Refusal, match=rf"{rule}.*; got {bucket}/{name}\."):
        Source(f"{bucket}/{name}").open()
    assert len(opened) == tries


LASTING = [
    ("missing", READ, r"ortho\.tif"),
    # Minutes with the others.
    later("expired", ASK, r"ortho\.tif"),
    *(
        later(kind, match, name)
        for match, name in ((READ, r"ortho\.tif"), (WRITE, r"a\.zarr/reflectance/0\.\d\.\d"))
        for kind in ("500", "503", "reset", "stall", "quota", "expired")
    ),
]


@pytest.mark.parametrize(("kind", "match", "name"), LASTING)
def test_what_lasts_ends_with_the_objects_name(  # noqa: PLR0917
    through, raster, plain, bucket, proxy, monkeypatch, kind, match, name
):
    monkeypatch.setattr(reach, "RETRIES", 1)
    source = copy(raster, bucket)
    proxy.fail([kind], match, times=10**6, skip=6 if match == READ else 2)
    code, _, said = through(source, f"{bucket}/a.zarr")
    assert code == 1, said
    last = said.splitlines()[-1]
    assert re.search(name, last)
    assert "Debug" not in last
    assert "--resume" in last
    proxy.heal()
    assert through(source, f"{bucket}/a.zarr", "--resume")[0] == 0
    same(plain, bucket)


def test_a_lease_on_s3_is_one_runs_until_its_owner_is_dead(bucket, monkeypatch):
    monkeypatch.setattr(lock, "LEASE", 3.0)
    place, together = f"{bucket}/a.zarr", Barrier(8)
    codes = []

    def run(_):
        together.wait()
        try:
            with locked(place):
                time.sleep(1)
            codes.append(0)
        except Refusal:
            codes.append(2)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
    assert sorted(codes) == [0] + 7 * [2]
    assert not stored(f"{bucket}/a.r2h.lock")
    # What a killed owner leaves: nobody renews it.
    about = {"owner": "process 1 on elsewhere", "run": "r", "until": time.time() + 2}
    with fsspec.open(f"{bucket}/a.r2h.lock/00000007", "w") as file:
        json.dump(about, file)
    with pytest.raises(Refusal, match="process 1 on elsewhere until"), locked(place, "another"):
        pass
    with locked(place, "r"):
        assert [name[-8:] for name in stored(f"{bucket}/a.r2h.lock")] == ["00000008"]
    about["until"] = time.time()
    with fsspec.open(f"{bucket}/a.r2h.lock/00000007", "w") as file:
        json.dump(about, file)
    with locked(place) as held:
        time.sleep(4)  # longer than a lease: it is renewed
        held()
        with pytest.raises(Refusal, match="one run at a time"), locked(place):
            pass
