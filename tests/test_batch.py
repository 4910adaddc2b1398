"""Many scenes under one configuration, by the command."""

import json
import os
import shutil
import signal
from datetime import UTC, datetime

import fsspec
import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import batch, finish
from flows.commands.common import STOPPED
from flows.naming import destination
from model.folded import build
from pipeline.cube import SpectralCube
from pipeline.errors import Refusal
from pipeline.lock import locked
from pipeline.sums import Sums
from tests.servers import serving
from tests.toys import objects

TAKEN = "taken as srgb of camera srgb in light E, white = 255"
TRANSFORM = Affine(0.5, 0, 350000, 0, -0.5, 4060000)


def save(path, seed=0, size=(20, 24)):
    values = np.random.default_rng(seed).integers(100, 190, (3, *size), np.uint8)
    profile = {"height": size[0], "width": size[1], "count": 3, "dtype": "uint8", "crs": 32632}
    with rasterio.open(path, "w", driver="GTiff", transform=TRANSFORM, **profile) as file:
        file.write(values)
    return path


@pytest.fixture
def scenes(tmp_path):
    (tmp_path / "in").mkdir()
    return [save(tmp_path / "in" / f"{name}.tif", seed) for seed, name in enumerate("abc")]


@pytest.fixture
def r2h(command, weights, tmp_path):
    """Run `r2h batch` of a configuration; returns exit code, standard output and error."""

    def run(*options, scene="", **config):
        config = {"inputs": [f"{tmp_path}/in/*.tif"], "output": f"{tmp_path}/out", **config}
        lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
        tiling = "tile = 16\noverlap = 4\nchunk = 16\n"
        body = "\n".join([*lines, "[scene]", f'checkpoint = "{weights}"', tiling + scene])
        (tmp_path / "batch.toml").write_text(body)
        return command("batch", tmp_path / "batch.toml", *options)

    return run


def report(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out/batch.jsonl").read_text().splitlines()]


def states(tmp_path):
    return [row["state"] for row in report(tmp_path)]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(r2h, scenes, tmp_path):
    code, out, err = r2h("--dry-run", "--json")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["source"] for row in rows] == list(map(str, scenes))
    assert {row["state"] for row in rows} == {"new"}
    assert {row["assumptions"] for row in rows} == {TAKEN}
    assert "3 of 3 scenes to do" in err
    assert not (tmp_path / "out").exists()


def test_where_all_is_read_as_one_each_scene_is_told_once(r2h, scenes, monkeypatch):
    monkeypatch.setattr("flows.commands.batch.read_as_one", lambda: True)
    code, out, err = r2h()
    assert (code, out, err.count("done ")) == (0, "", 3)
    assert len(r2h("--json")[1].splitlines()) == 3


def test_done_scenes_are_skipped_half_done_ones_resumed_and_changed_ones_done_again(
    r2h, scenes, tmp_path
):
    code, out, err = r2h()
    assert code == 0, err
    assert states(tmp_path) == ["done"] * 3
    assert out.count("done ") == 3
    assert out.count(f"\n        {TAKEN}, scene scale ") == 3
    assert all(row["assumptions"].startswith(f"{TAKEN}, scene scale ") for row in report(tmp_path))
    told = json.loads((tmp_path / "out/a.run.json").read_text())["assumptions"]
    assert told == report(tmp_path)[0]["assumptions"]
    before = {name: objects(tmp_path / f"out/{name}.zarr") for name in "abc"}
    (tmp_path / "out/b.zarr/reflectance/0.1.1").unlink()
    (tmp_path / "out/b.zarr/.zmetadata").unlink()
    os.utime(scenes[2], (1, 1))
    code, out, err = r2h("--dry-run", "--json")
    assert [json.loads(row)["state"] for row in out.splitlines()] == ["done", "resume", "resume"]
    assert r2h()[0] == 0
    assert states(tmp_path) == ["skipped", "done", "done"]
    assert {name: objects(tmp_path / f"out/{name}.zarr") for name in "abc"} == before
    save(scenes[2], seed=9)
    code, out, err = r2h("--dry-run", "--json")
    assert [json.loads(row)["state"] for row in out.splitlines()] == ["done", "done", "failed"]
    code, _, err = r2h()
    assert (code, states(tmp_path)) == (1, ["skipped", "skipped", "failed"])
    assert "an input stays what it was" in report(tmp_path)[2]["reason"]
    # What is there is of another picture: that is what overwrite is for.
    code, out, err = r2h("--dry-run", "--json", scene="overwrite = true\n")
    assert [json.loads(row)["state"] for row in out.splitlines()] == ["done", "done", "replace"]
    assert r2h(scene="overwrite = true\n")[0] == 0
    assert states(tmp_path) == ["skipped", "skipped", "done"]


@pytest.mark.parametrize("kind", [".vrt", ".quicklook.tif", ".json"])
def test_a_scene_whose_sidecars_are_gone_is_finished_again(r2h, scenes, tmp_path, kind):
    dated = 'datetime = "2024-05-06T07:08:09Z"\n'
    assert r2h(scene=dated)[0] == 0
    (tmp_path / f"out/b{kind}").unlink()
    for expected in ("done", "skipped"):
        assert r2h(scene=dated)[0] == 0
        assert states(tmp_path) == ["skipped", expected, "skipped"]
        assert (tmp_path / f"out/b{kind}").exists()


def test_an_end_that_failed_is_not_taken_for_done(r2h, scenes, tmp_path, monkeypatch):
    found = finish.certificate

    def apart(sums):
        return {**found(sums), "disagreement_p99": 0.02}

    monkeypatch.setattr(finish, "certificate", apart)
    assert r2h()[0] == 0
    for _ in range(2):
        assert r2h(scene="max_seam = 0.01\n")[0] == 1
        assert states(tmp_path) == ["failed"] * 3
        assert "--max-seam" in report(tmp_path)[0]["reason"]
    # The disk is full when the item is written, after the seal.
    dated = 'datetime = "2024-05-06T07:08:09Z"\n'

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(finish, "publish", full)
        assert r2h(scene=dated)[0] == 1
    assert r2h(scene=dated)[0] == 0
    assert states(tmp_path) == ["done"] * 3
    assert (tmp_path / "out/a.json").exists()


def test_a_finished_scene_is_finished_again_where_that_is_asked_for_otherwise(
    r2h, scenes, tmp_path
):
    assert r2h()[0] == 0
    before = objects(tmp_path / "out/a.zarr")
    dated = 'datetime = "2024-05-06T07:08:09Z"\n'
    for state in ("done", "skipped"):
        assert r2h(scene=dated)[0] == 0
        assert states(tmp_path) == [state] * 3
        assert (tmp_path / "out/a.json").exists()
    assert objects(tmp_path / "out/a.zarr") == before


def test_other_settings_are_refused_or_replace(r2h, scenes, tmp_path):
    assert r2h()[0] == 0
    code, _, err = r2h(scene="steps = 2\n")
    assert code == 2
    assert "3 of 3 that cannot" in err
    assert "steps" in err
    assert r2h(scene="steps = 2\noverwrite = true\n")[0] == 0
    assert SpectralCube.open(str(tmp_path / "out/a.zarr")).settings["steps"] == 2
    assert r2h(scene="steps = 2\noverwrite = true\n")[0] == 0
    assert states(tmp_path) == ["skipped"] * 3


def test_a_scene_that_fails_is_told_and_the_others_go_on(r2h, scenes, tmp_path):
    whole = scenes[1].read_bytes()
    scenes[1].write_bytes(b"no image")
    code, _, err = r2h()
    assert code == 2
    assert "1 of 3 that cannot" in err
    assert not (tmp_path / "out").exists()
    code, _, err = r2h(keep_going=True)
    assert (code, states(tmp_path)) == (1, ["done", "failed", "done"])
    # Its header can be read, but not its pixels: found at its turn.
    shutil.rmtree(tmp_path / "out")
    scenes[1].write_bytes(whole[: len(whole) - 900])
    code, _, err = r2h()
    assert (code, states(tmp_path)) == (1, ["done", "failed", "done"]), err
    assert "is whole" in report(tmp_path)[1]["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_batch_told_to_stop_reports_and_goes_on_later(r2h, scenes, tmp_path, monkeypatch, number):
    add, seen = Sums.add, []

    def told(self, tile, values):
        seen.append(tile)
        if len(seen) == 6:
            os.kill(os.getpid(), number)
        return add(self, tile, values)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
    with monkeypatch.context() as patch:
        patch.setattr(Sums, "add", told)
        assert r2h()[0] == STOPPED
    signal.signal(signal.SIGHUP, before)
    assert states(tmp_path) == ["done", "stopped", "waiting"]
    assert r2h()[0] == 0
    assert states(tmp_path) == ["skipped", "done", "done"]


def test_a_scene_that_another_run_writes_is_told_and_can_be_done_later(
    r2h, scenes, tmp_path, monkeypatch
):
    carry_out, busy = batch.carry_out, tmp_path / "out/b.zarr"

    def beside_another(job, *more):
        # The other run has begun the second scene since this batch was planned.
        if job.settings.destination != str(busy):
            return carry_out(job, *more)
        with locked(str(busy)):
            return carry_out(job, *more)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "carry_out", beside_another)
        code = r2h("--metrics", tmp_path / "run.prom")[0]
    assert code == STOPPED
    assert states(tmp_path) == ["done", "busy", "done"]
    assert "another run that is writing it" in report(tmp_path)[1]["reason"]
    assert 'r2h_scenes{state="busy"} 1.0' in (tmp_path / "run.prom").read_text()
    assert r2h()[0] == 0
    assert states(tmp_path) == ["skipped", "done", "skipped"]


def test_what_another_batch_did_since_the_plan_is_known_at_its_turn(
    r2h, scenes, tmp_path, monkeypatch
):
    run_batch = batch.run_batch

    def late(planned, *more):
        monkeypatch.setattr(batch, "run_batch", run_batch)
        assert r2h()[0] == 0
        (tmp_path / "out/c.zarr/reflectance/0.0.0").unlink()
        (tmp_path / "out/c.zarr/.zmetadata").unlink()
        return run_batch(planned, *more)

    monkeypatch.setattr(batch, "run_batch", late)
    code, _, err = r2h()
    assert code == 0, err
    assert states(tmp_path) == ["skipped", "skipped", "done"]


def test_a_killed_batch_reports_too(r2h, scenes, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "carry_out", interrupted)
    assert r2h()[0] != 0
    assert states(tmp_path) == ["stopped", "waiting", "waiting"]


def test_the_network_is_loaded_once_and_a_graph_made_a_scene(r2h, scenes, tmp_path, monkeypatch):
    built = []

    def counted(*arguments):
        built.append(arguments)
        return build(*arguments)

    monkeypatch.setattr("model.runtimes.build", counted)
    code, _, err = r2h(scene="steps = 3\n")
    assert code == 0, err
    # One for the trial, and one with the attention of each scene.
    assert len(built) == 1 + 3
    assert len({id(network) for network, *_ in built}) == 1


def test_logs_and_metrics(r2h, scenes, tmp_path):
    figures = tmp_path / "run.prom"
    code, _, err = r2h("--log", "json", "--metrics", str(figures))
    assert code == 0, err
    lines = [json.loads(line) for line in err.splitlines()]
    events = [e for line in lines if (e := line["event"]).startswith(("scene ", "region "))]
    assert events == ["scene begun", "region done", "scene done"] * 3
    assert lines[-1]["destination"] == f"{tmp_path}/out/c.zarr"
    assert 'r2h_scenes{state="done"} 3.0' in figures.read_text()
    assert "r2h_stored_bytes" in figures.read_text()
    assert f"r2h_megapixels {3 * 480 / 1e6}" in figures.read_text()
    assert r2h("--metrics", str(figures))[0] == 0
    assert 'r2h_scenes{state="skipped"} 3.0' in figures.read_text()
    assert "r2h_megapixels 0.0\n" in figures.read_text()
    # Of one that was refused, not those of the batch before.
    code, _, err = r2h("--log", "xml", "--metrics", str(figures))
    assert code == 2
    assert 'r2h_scenes{state="failed"} 1.0' in figures.read_text()


@pytest.mark.parametrize("kind", ["json", "text"])
def test_no_secret_is_told_or_kept(r2h, scenes, tmp_path, monkeypatch, kind):
    signature, key = "5ca1ab1e0ddba11c0ffee", "wJalrXUtnFEMI+K7MDENG+bPxRfiCYKEY"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    options = ("--log", kind, "--json", "--metrics", str(tmp_path / "run.prom"))
    with serving("files", tmp_path / "in") as address:
        signed = f"{address}/{{}}?X-Amz-Signature={signature}&token={key}"
        inputs = [signed.format(name) for name in ("a.tif", "none.tif")]
        at = 'datetime = "2026-05-01T12:00:00Z"\n'
        code, out, err = r2h(*options, inputs=inputs, keep_going=True, scene=at)
    assert code == 1, err
    assert states(tmp_path) == ["done", "failed"]
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"batch.jsonl", "a.json", "a.run.json"} <= {path.name for path in made}
    kept = b"".join(path.read_bytes() for path in [*made, tmp_path / "run.prom"])
    for secret in (signature, key):
        assert secret not in out + err
        assert secret.encode() not in kept


def test_a_record_that_is_cut_fails_its_scene_alone(r2h, scenes, tmp_path):
    assert r2h()[0] == 0
    for text in ("", "[]", "{}", '{"input": 3}', '{"input": {"files": ['):
        (tmp_path / "out/b.run.json").write_text(text)
        code, _, err = r2h(keep_going=True)
        assert code == 1, err
        assert states(tmp_path) == ["skipped", "failed", "skipped"]
        assert "the record beside a cube" in report(tmp_path)[1]["reason"]


def test_cubes_that_are_replaced_make_room(r2h, scenes, monkeypatch):
    assert r2h()[0] == 0
    usage = shutil.disk_usage("/")._replace(free=100)
    planned = "overwrite = true\nseed = 3\n"
    monkeypatch.setattr(batch, "room_of", lambda *_: 10**6, raising=False)
    monkeypatch.setattr(batch.shutil, "disk_usage", lambda _: usage)
    code, _, err = r2h("--dry-run", scene=planned)
    assert code == 0, err


def test_a_batch_that_is_told_to_stop_while_it_plans_says_so(r2h, scenes, tmp_path, monkeypatch):
    plan = batch.plan_batch

    def told(*given):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)
        return plan(*given)

    monkeypatch.setattr(batch, "plan_batch", told)
    code, _, err = r2h()
    assert code == STOPPED, err
    assert states(tmp_path) == ["waiting"] * 3


def test_a_batch_that_is_told_to_stop_looks_at_no_further_scene(r2h, scenes, tmp_path, monkeypatch):
    look, looked = batch._look, []

    def told(*given):
        if not looked:
            os.kill(os.getpid(), signal.SIGTERM)
        looked.append(given)
        return look(*given)

    def tried(*_):
        raise AssertionError("a trial of the model after a stop")

    monkeypatch.setattr(batch, "_look", told)
    monkeypatch.setattr(batch, "forecast", tried)
    for options in ((), ("--dry-run",)):
        code, _, err = r2h(*options)
        assert code == STOPPED, err
        assert len(looked) == 1
        looked.clear()
    assert states(tmp_path) == ["waiting"] * 3


def test_a_home_is_one_place_for_all_who_read_and_write(
    r2h, command, weights, scenes, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("~/in/b.tif\n~/in/c*.tif\n")
    given = {"inputs": ["~/in/a.tif"], "listed": "~/list.txt", "output": "~/out"}
    code, _, err = r2h("--metrics=~/run.prom", **given)
    assert code == 0, err
    assert states(tmp_path) == ["done"] * 3
    assert "done" in (tmp_path / "run.prom").read_text()
    (tmp_path / "one.toml").write_text("tile = 16\noverlap = 4\nchunk = 16\n")
    shutil.copy("batch.toml", "~.toml")
    for words in (
        ("look", "~/out/a.zarr"),
        ("batch", "~/batch.toml", "--dry-run"),
        ("batch", "~.toml", "--dry-run"),
        ("plan", "in/a.tif", "--config=~/one.toml", "--checkpoint", weights),
    ):
        code, _, err = command(*words)
        assert code == 0, err
    assert not (tmp_path / "~").exists()


def test_what_is_out_of_reach_fails_alone(r2h, scenes, tmp_path):
    inputs = [f"{tmp_path}/in/*.tif", "http://127.0.0.1:9/x.tif"]
    code, _, err = r2h(inputs=inputs)
    assert (code, states(tmp_path)) == (1, ["done"] * 3 + ["failed"]), err
    assert "out of reach" in report(tmp_path)[3]["reason"]


def test_what_is_told_of_a_scene_is_of_what_was_done(r2h, scenes, tmp_path, monkeypatch):
    planned = batch.plan_batch

    def planned_and_changed(*given):
        found = planned(*given)
        save(scenes[1], size=(32, 40))
        return found

    monkeypatch.setattr(batch, "plan_batch", planned_and_changed)
    assert r2h()[0] == 0
    record = json.loads((tmp_path / "out/b.run.json").read_text())
    assert [report(tmp_path)[1][key] for key in ("megapixels", "tiles")] == [
        record[key] for key in ("megapixels", "tiles")
    ]
    assert record["megapixels"] == 32 * 40 / 1e6


def test_a_report_that_fails_at_the_end_takes_no_rows_with_it(r2h, scenes, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch, "write", full)
    figures = tmp_path / "run.prom"
    code, out, err = r2h("--json", "--metrics", str(figures))
    assert (code, [json.loads(line)["state"] for line in out.splitlines()]) == (1, ["done"] * 3)
    assert "No space left" in err
    assert 'r2h_scenes{state="done"} 3.0' in figures.read_text()


def test_figures_that_cannot_be_written_are_told_before_any_work(r2h, scenes, tmp_path):
    code, _, err = r2h("--metrics", "/proc/x/run.prom")
    assert code == 2
    assert "--metrics must be writable" in err
    assert not (tmp_path / "out").exists()


def test_figures_and_report_appear_in_one_move(r2h, scenes, tmp_path):
    before = {"run.prom": "# HELP r2h_scenes before\n", "report.jsonl": '{"source": "before"}\n'}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
        os.link(tmp_path / name, tmp_path / f"{name}.read")
    assert r2h("--metrics", f"{tmp_path}/run.prom", report=f"{tmp_path}/report.jsonl")[0] == 0
    for name, text in before.items():
        assert (tmp_path / f"{name}.read").read_text() == text
        assert "done" in (tmp_path / name).read_text()


def test_a_file_uri_that_leads_nowhere_fails_alone(r2h, scenes):
    odd = [f"file://{scenes[0]}?raw=1", f"file://far{scenes[0]}", "file:///no%23pe.tif"]
    code, out, err = r2h("--json", inputs=[*odd, str(scenes[1])], keep_going=True, name="{index}")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1, err
    assert [row["state"] for row in rows] == ["failed", "failed", "failed", "done"]


@pytest.mark.parametrize("name", ["run.prom", "report.jsonl"])
def test_neither_figures_nor_report_replace_what_is_not_theirs(r2h, scenes, tmp_path, name):
    (tmp_path / name).write_bytes(scenes[0].read_bytes())
    code, _, err = r2h("--metrics", f"{tmp_path}/run.prom", report=f"{tmp_path}/report.jsonl")
    assert (code, "only what R2H made is replaced" in err) == (2, True)
    assert (tmp_path / name).read_bytes() == scenes[0].read_bytes()
    assert not (tmp_path / "out").exists()


def test_what_nobody_foresaw_ends_a_scene_and_no_batch(r2h, scenes, monkeypatch, caplog):
    plain = batch.carry_out

    def odd(job, *more):
        if job.settings.source == str(scenes[0]):
            raise AttributeError("odd https://me:S3CRET@example.org")
        return plain(job, *more)

    monkeypatch.setattr(batch, "carry_out", odd)
    code, out, _ = r2h("--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, [row["state"] for row in rows]) == (1, ["failed", "done", "done"])
    assert rows[0]["reason"].startswith("AttributeError: odd")
    assert "in odd" in caplog.text
    assert "S3CRET" not in out + caplog.text


BAD = {
    "report": ({"report": "/proc/x/batch.jsonl"}, "report must be writable"),
    "infinite": ({"scene": "noise_level = inf\n"}, "finite"),
    "unknown key": ({"outputs": "x"}, "outputs"),
    "unknown scene key": ({"scene": "tiles = 3\n"}, "scene.tiles"),
    "overlap": ({"scene": "steps = 9\n"}, "steps"),
    "no inputs": ({"inputs": []}, "has inputs"),
    "no match": ({"inputs": ["none/*.tif"]}, "matches a file"),
    "no list": ({"listed": "none.txt"}, "readable text"),
    "field": ({"name": "{nothing}.zarr"}, "fields"),
    "same name": ({"name": "x.zarr"}, "own cube"),
    "outside": ({"name": "../{stem}.zarr"}, "below the output"),
    "disk": ({"scene": "disk = 0.000001\n"}, "room"),
    "memory": ({"scene": "memory = 0.000001\n"}, "memory"),
    "not a place": ({"output": "nothing://there"}, "reachable"),
    "no output": ({"output": ""}, "got ''"),
    "root as output": ({"output": "/"}, "is a folder"),
    "no bucket": ({"output": "s3://"}, "is a folder"),
    "no folder": ({"name": "/{stem}.zarr"}, "below the output"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_configuration_is_told_before_any_work(r2h, scenes, tmp_path, case):
    config, said = BAD[case]
    before = sorted(tmp_path.rglob("*"))
    code, _, err = r2h(**config)
    (tmp_path / "batch.toml").unlink()
    assert code == 2, err
    assert said in err
    assert sorted(tmp_path.rglob("*")) == before


WORDS = st.text(max_size=9)


@settings(max_examples=40)
@given(
    st.text(max_size=9),
    st.text(max_size=9),
    st.sampled_from(["{id}.zarr", "{collection}/{id}.zarr", "{stem}"]),
)
def test_no_name_leaves_the_output(identity, collection, template):
    fields = {"id": identity, "collection": collection}
    try:
        place = destination("/out", template, f"s3://b/{identity}.tif", fields)
    except Refusal:
        return
    assert os.path.normpath(place) == place.removesuffix("/")
    assert place.startswith("/out/")


def catalog(folder, paths, kind):
    made = pystac.Catalog("all", "scenes")
    group = pystac.Collection(
        "flights",
        "x",
        pystac.Extent.from_dict(
            {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}
        ),
    )
    made.add_child(group)
    for path in paths:
        when = datetime(2024, 5, 6, tzinfo=UTC)
        item = pystac.Item(f"item-{path.stem}", None, None, when, {})
        item.add_asset("visual", pystac.Asset(str(path)))
        group.add_item(item)
    if kind == "collection":
        items = [item.to_dict(transform_hrefs=False) for item in made.get_items(recursive=True)]
        (folder / "items.json").write_text(
            json.dumps({"type": "FeatureCollection", "features": items})
        )
        return folder / "items.json"
    made.normalize_hrefs(str(folder))
    made.make_all_asset_hrefs_relative()
    made.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


@pytest.mark.parametrize("kind", ["catalog", "collection", "memory"])
def test_a_static_stac_catalog_names_inputs(r2h, scenes, tmp_path, kind):
    uri = str(catalog(tmp_path / "in", scenes, kind))
    if kind == "memory":
        files = fsspec.filesystem("memory")
        files.put(str(tmp_path / "in"), "/stac", recursive=True)
        uri = "memory://stac/catalog.json"
    name = "{date}/{id}.zarr" if kind == "collection" else "{collection}/{id}.zarr"
    code, out, err = r2h("--dry-run", "--json", inputs=[], catalog=uri, name=name)
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    first = "2024-05-06" if kind == "collection" else "flights"
    wanted = [f"{tmp_path}/out/{first}/item-{path.stem}.zarr" for path in scenes]
    assert sorted(row["destination"] for row in rows) == wanted
    code, _, err = r2h(inputs=[], catalog=uri, asset="data")
    assert code == 2
    assert "asset 'data'" in err


@pytest.mark.parametrize("href", ["../b c%25.tif", "../b%20c%2525.tif"])
def test_an_href_is_a_uri_or_a_bare_path(r2h, scenes, tmp_path, href):
    scenes[0].rename(tmp_path / "b c%25.tif")
    uri = catalog(tmp_path / "in", scenes[1:2], "catalog")
    path = next(uri.parent.rglob("item-*.json"))
    item = json.loads(path.read_text())
    item["assets"]["visual"]["href"] = "../../" + href
    path.write_text(json.dumps(item))
    code, out, err = r2h("--dry-run", "--json", inputs=[], catalog=str(uri))
    assert code == 0, err
    assert json.loads(out)["source"] == str(tmp_path / "b c%25.tif")


def test_what_an_item_says_of_its_asset_counts(r2h, scenes, tmp_path):
    uri = catalog(tmp_path / "in", scenes[:1], "collection")
    plain = json.loads(uri.read_text())
    with rasterio.open(scenes[0], "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2026:03:01 12:00:00")
    code, _, err = r2h(inputs=[], catalog=str(uri))
    assert code == 0, err
    item = tmp_path / "out" / "a.json"
    assert json.loads(item.read_text())["properties"]["datetime"] == "2024-05-06T00:00:00Z"
    bands = {"raster:bands": 3 * [{"offset": -0.1}]}, {"bands": 3 * [{"raster:offset": -0.1}]}
    nodata = {"nodata": 0}, {"raster:bands": 3 * [{"nodata": 0}]}
    names = [{"common_name": name} for name in ("nir", "red", "green")]
    others = {"raster:bands": 3 * [{"scale": 0.005}]}, {"bands": 3 * [{"raster:scale": 0.005}]}
    units = {"unit": "W/m2/sr/um"}, {"raster:bands": 3 * [{"unit": "K"}]}
    orders = {"eo:bands": names}, {"bands": [{"eo:common_name": n["common_name"]} for n in names]}
    saids = {"no offset": bands, "in the file": nodata, "a scale is declared": others}
    saids |= {"reflectance or in sRGB": units, "red, green and blue": orders}
    for more, said in [(one, said) for said, ones in saids.items() for one in ones]:
        changed = json.loads(json.dumps(plain))
        changed["features"][0]["assets"]["visual"] |= more
        uri.write_text(json.dumps(changed))
        code, _, err = r2h(inputs=[], catalog=str(uri))
        assert code == 2
        assert said in err
    changed["features"][0]["assets"]["visual"] = {"href": str(scenes[0]), "nodata": "nan"}
    uri.write_text(json.dumps(changed))
    assert r2h("--dry-run", inputs=[], catalog=str(uri), output=str(tmp_path / "n"))[0] == 0
    changed["features"][0]["assets"]["visual"]["nodata"] = 0
    uri.write_text(json.dumps(changed))
    with rasterio.open(scenes[0], "r+") as file:
        file.nodata = 0
    assert r2h("--dry-run", inputs=[], catalog=str(uri), output=str(tmp_path / "b"))[0] == 0
    with rasterio.open(scenes[0], "r+") as file:
        file.nodata = 255
    code, _, err = r2h("--dry-run", inputs=[], catalog=str(uri), output=str(tmp_path / "c"))
    assert code == 2
    assert "nodata is declared" in err
    colours = [{"eo:common_name": name} for name in ("red", "green", "blue")]
    changed["features"][0]["assets"]["visual"] = {"href": str(scenes[0]), "bands": colours}
    uri.write_text(json.dumps(changed))
    assert r2h("--dry-run", inputs=[], catalog=str(uri), output=str(tmp_path / "d"))[0] == 0


@pytest.mark.parametrize(
    ("shared", "own", "said"),
    [
        ({"raster:offset": -0.1}, {}, "no offset"),
        ({"raster:bands": 3 * [{"offset": -0.1}]}, {}, "no offset"),
        ({"bands": 3 * [{"raster:offset": -0.1}]}, {"eo:bands": [{"name": "red"}]}, "no offset"),
        ({"raster:offset": -0.1}, {"bands": [{"raster:offset": 0}, {}, {}]}, "no offset"),
        ({"raster:offset": -0.1}, {"raster:offset": 0}, None),
        ({"raster:offset": -0.1}, {"bands": 3 * [{"raster:offset": 0}]}, None),
        ({"bands": 3 * [{"raster:offset": -0.1}]}, {"raster:bands": 3 * [{"offset": 0}]}, None),
        ({"raster:scale": 0.005}, {}, "a scale is declared"),
        ({"raster:scale": 0.005}, {"raster:bands": 3 * [{"scale": 1}]}, None),
        ({"nodata": 0}, {}, "in the file"),
        ({"raster:bands": [{"nodata": 0}]}, {"nodata": "nan"}, None),
        ({"unit": "K"}, {}, "reflectance or in sRGB"),
        ({"scale": 5000, "offset": 3, "unit": "1", "description": "any"}, {}, None),
        ({"bands": [{"name": n} for n in ("B02", "B03", "B04")]}, {}, "red, green and blue"),
        ({"eo:bands": [{"name": n} for n in ("B02", "B03", "B04")]}, {}, "red, green and blue"),
        ({"eo:bands": [{"name": n} for n in ("B04", "B03", "B02")]}, {}, None),
        # Of all assets together, which says nothing of the order in one of fewer bands.
        ({"eo:bands": [{"name": n} for n in ("B01", "B02", "B03", "B04")]}, {}, None),
        (
            {"bands": [{"name": n} for n in ("B02", "B03", "B04")]},
            {"eo:bands": [{"name": n} for n in ("B04", "B03", "B02")]},
            None,
        ),
        ({"bands": 5}, {}, "a list of objects"),
    ],
)
def test_what_an_item_says_of_all_its_assets_counts_but_for_what_one_says_itself(
    r2h, scenes, tmp_path, shared, own, said
):
    uri = catalog(tmp_path / "in", scenes[:1], "collection")
    found = json.loads(uri.read_text())
    found["features"][0]["properties"] |= shared
    found["features"][0]["assets"]["visual"] |= own
    uri.write_text(json.dumps(found))
    code, _, err = r2h("--dry-run", inputs=[], catalog=str(uri))
    assert (code, said or "") == (2 if said else 0, said if said and said in err else ""), err


CODES = [{"name": name} for name in ("B04", "B03", "B02")]
CENTRES = [{"name": f"{n}", "center_wavelength": um} for n, um in enumerate((0.66, 0.56, 0.49))]
WORDS_OF = [
    {"name": f"{n}", "description": f"{word} light"}
    for n, word in enumerate(("Red", "Green", "Blue"))
]
MIXED = [{"common_name": "red", "name": "B8"}, {}, {"center_wavelength": 0.47}]


@pytest.mark.parametrize("key", ["bands", "eo:bands"])
@pytest.mark.parametrize("bands", [CODES, CENTRES, WORDS_OF, MIXED])
def test_a_band_without_a_common_name_is_known_by_what_else_its_item_says(
    r2h, scenes, tmp_path, bands, key
):
    uri = catalog(tmp_path / "in", scenes[:1], "collection")
    found = json.loads(uri.read_text())
    prefix = "eo:" if key == "bands" else ""
    plain = {"name", "description"}
    told = [{k if k in plain else prefix + k: v for k, v in band.items()} for band in bands]
    for order, code in ((told, 0), (told[::-1], 2)):
        found["features"][0]["assets"]["visual"][key] = order
        uri.write_text(json.dumps(found))
        ended, _, err = r2h("--dry-run", inputs=[], catalog=str(uri))
        assert ended == code, err
    assert "it is known which bands are red, green and blue" in err
    assert str(next(iter(bands[-1].values()))) in err
    assert r2h("--dry-run", inputs=[], catalog=str(uri), scene="bands = [3, 2, 1]\n")[0] == 0


def test_a_page_of_a_search_is_no_catalog(r2h, scenes, tmp_path):
    uri = catalog(tmp_path / "in", scenes, "collection")
    page = json.loads(uri.read_text()) | {"links": [{"rel": "next", "href": "x"}]}
    uri.write_text(json.dumps(page))
    code, _, err = r2h(inputs=[], catalog=str(uri))
    assert code == 2
    assert "next page" in err


def test_a_text_file_names_inputs(r2h, scenes, tmp_path):
    (tmp_path / "list.txt").write_text(f"\ufeff# mine\n{scenes[0]}\n\n{tmp_path}/in/c*.tif\n")
    code, _, err = r2h(inputs=[], listed=str(tmp_path / "list.txt"))
    assert code == 0, err
    assert [row["source"] for row in report(tmp_path)] == [str(scenes[0]), str(scenes[2])]


@pytest.mark.parametrize("left", ["mark", "nothing"])
def test_a_creation_that_a_kill_cut_short_holds_no_batch_up(r2h, scenes, tmp_path, left):
    place = tmp_path / "out" / "a.zarr"
    place.mkdir(parents=True)
    if left == "mark":
        (place / ".zattrs").write_text('{"r2h_begun": true}')
    code, _, said = r2h()
    assert code == 0, said
    assert [row["state"] for row in report(tmp_path)] == ["done"] * 3
    assert SpectralCube.open(str(place)).sealed


def test_a_name_that_no_cube_can_have_fails_alone(r2h, scenes, tmp_path):
    save(tmp_path / "in" / "d_10:30.tif")
    code, _, err = r2h()
    assert (code, "with ':'" in err) == (2, True)
    code, _, err = r2h("--log", "json", keep_going=True)
    assert (code, states(tmp_path)) == (1, ["done", "done", "done", "failed"])
    lines = [json.loads(line) for line in err.splitlines()]
    (failed,) = (line for line in lines if line["event"] == "scene failed")
    assert failed["source"].endswith("d_10:30.tif")
    assert "with ':'" in failed["reason"]
    assert report(tmp_path)[3]["destination"] is None
    for line in lines:
        assert datetime.fromisoformat(line["time"]).tzinfo


def test_a_scenes_forecast_is_its_own(r2h, scenes, tmp_path):
    save(scenes[0], size=(20, 60))
    assert r2h()[0] == 0
    records = [json.loads((tmp_path / f"out/{name}.run.json").read_text()) for name in "abc"]
    large, small, other = (record["forecast_seconds"] for record in records)
    assert small == other
    assert large == pytest.approx(small * records[0]["tiles"] / records[1]["tiles"], rel=1e-3)


def test_a_config_that_is_not_there_is_not_one_that_ships(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command("batch", "batch.toml")
    assert (code, f"no {tmp_path}/batch.toml" in err) == (2, True)


def test_a_setting_of_scenes_that_stands_above_them_is_told_where_it_belongs(r2h, scenes):
    code, _, err = r2h(overwrite=True)
    assert (code, "It is a setting of [scene]." in err) == (2, True)


def test_a_date_of_toml_is_a_datetime(r2h, scenes, tmp_path):
    code, _, err = r2h(scene="datetime = 2026-07-01T10:30:00Z")
    assert code == 0, err
    item = json.loads((tmp_path / "out/a.json").read_text())
    assert item["properties"]["datetime"] == "2026-07-01T10:30:00Z"


def test_a_pattern_leaves_out_what_a_batch_wrote(r2h, scenes, tmp_path):
    for _ in range(2):
        code, _, err = r2h(inputs=[f"{tmp_path}/in/*"], output=f"{tmp_path}/in")
        assert code == 0, err
    rows = (tmp_path / "in/batch.jsonl").read_text().splitlines()
    assert [json.loads(row)["state"] for row in rows] == ["skipped"] * 3
