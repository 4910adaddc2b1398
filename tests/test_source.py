import os
import zipfile

import fsspec
import pytest

from pipeline import reach
from pipeline.errors import Refusal
from pipeline.source import digest, known, state
from pipeline.stored import Stored
from tests.faults.proxy import faulty
from tests.servers import sent, serving


@pytest.fixture
def files(tmp_path):
    names = [tmp_path / "a.tif", tmp_path / "a.tif.msk"]
    for name in names:
        name.write_bytes(name.name.encode())
    return [str(name) for name in names]


def begun(files):
    return known(None, state("a.tif", files), files)


def test_an_input_left_alone_is_not_read_again(files, monkeypatch):
    before = begun(files)
    monkeypatch.setattr("pipeline.source.digest", lambda _: pytest.fail("read"))
    assert known(before, state("a.tif", files), files) == before


def test_another_time_and_the_same_bytes_are_the_same_input(files):
    before = begun(files)
    for name in files:
        os.utime(name, (1, 1))
    now = known(before, state("elsewhere/a.tif", files), files)
    assert now["sha256"] == before["sha256"] == digest(files)
    assert now["files"] != before["files"]


@pytest.mark.parametrize("which", [0, 1], ids=["image", "mask beside it"])
@pytest.mark.parametrize("longer", [False, True])
def test_other_bytes_are_refused(files, which, longer):
    before = begun(files)
    with open(files[which], "r+b") as file:  # noqa: PTH123
        file.write(b"another file that is longer" if longer else b"b")
    os.utime(files[which], (1, 1))
    with pytest.raises(Refusal, match="stays what it was"):
        known(before, state("a.tif", files), files)


@pytest.fixture
def store(monkeypatch):
    """What a store says of every object."""
    told = {"size": 3, "ETag": "one", "LastModified": "now"}

    class Store:
        invalidate_cache = staticmethod(lambda: None)

        @staticmethod
        def info(_):
            if not told:
                raise PermissionError("expired")
            return told

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda name, **_: (Store, name))
    return told


REMOTE = ["s3://bucket/a.tif"]


def test_what_is_remote_is_known_by_its_tag(store):
    before = begun(REMOTE)
    assert before["sha256"] is None
    assert known(before, state("a.tif", REMOTE), REMOTE) == before
    store["ETag"] = "two"
    with pytest.raises(Refusal, match="stays what it was"):
        known(before, state("a.tif", REMOTE), REMOTE)


def test_a_store_out_of_reach_is_no_other_input(store):
    before = begun(REMOTE)
    told = dict(store)
    store.clear()
    with pytest.raises(OSError, match=r"out of reach.*a\.tif"):
        known(before, state("a.tif", REMOTE), REMOTE)
    # One that never told, as behind a proxy that GDAL alone knows, is not asked for more.
    before = begun(REMOTE)
    store.update(told)
    assert known(before, state("a.tif", REMOTE), REMOTE)["files"][0]["etag"] == "one"


@pytest.fixture
def served(tmp_path):
    """A folder on a web server, and a raster there."""
    pytest.importorskip("aiohttp", reason="fsspec reads http:// by the extra 'cloud'")
    path = tmp_path / "a.tif"
    path.write_bytes(b"one")
    with serving("files", tmp_path) as address:
        yield path, f"{address}/a.tif"


def again(before, uri):
    return known(before, state("a.tif", [uri]), [uri])


def test_a_web_server_without_tags_is_asked_for_the_time(served):
    path, uri = served
    before = begun([uri])
    assert again(before, uri) == before
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    with pytest.raises(Refusal, match="stays what it was"):
        again(before, uri)


BESIDE = [".msk", ".MSK", ".aux.xml"]


@pytest.mark.parametrize("ending", BESIDE)
def test_what_lies_beside_a_remote_raster_belongs_to_it(served, ending):
    path, uri = served
    beside = path.with_name(f"a.tif{ending}")
    bare = begun([uri])
    beside.write_bytes(b"mask")
    masked = begun([uri])
    assert again(masked, uri) == masked
    for change in (b"a longer mask", None, b"late"):
        beside.unlink(missing_ok=True)
        if change:
            beside.write_bytes(change)
            os.utime(beside, (1, 1))
        with pytest.raises(Refusal, match="stays what it was"):
            again(masked, uri)
    with pytest.raises(Refusal, match="stays what it was"):
        again(bare, uri)


def test_what_lies_beside_in_any_file_system_belongs_too():
    files = fsspec.filesystem("memory")
    uri = "memory://source/a.tif"
    files.pipe_file("/source/a.tif", b"one")
    before = begun([uri])
    files.pipe_file("/source/a.tif.msk", b"mask")
    with pytest.raises(Refusal, match="stays what it was"):
        again(before, uri)
    files.rm("/source", recursive=True)


@pytest.mark.parametrize("kind", ["500", "503", "reset"])
@pytest.mark.parametrize("ending", BESIDE)
def test_a_server_that_fails_does_not_say_that_nothing_is_beside(served, monkeypatch, kind, ending):
    monkeypatch.setattr(reach.time, "sleep", lambda _: None)
    path, uri = served
    path.with_name(f"a.tif{ending}").write_bytes(b"mask")
    with faulty(uri.rpartition("/")[0]) as proxy:
        uri = f"{proxy.address}/a.tif"
        before = begun([uri])
        # fsspec asks twice before it gives up, HEAD and GET.
        proxy.fail([kind], rf"a\.tif\{ending}$", times=2)
        assert again(before, uri) == before
        proxy.fail([kind], rf"a\.tif\{ending}$", times=10**6)
        for since in (before, None):
            with pytest.raises(ConnectionError, match=r"a\.tif is out of reach"):
                again(since, uri)


def test_what_a_server_refuses_is_not_beside_as_to_gdal(served):
    path, uri = served
    bare = begun([uri])
    path.with_name("a.tif.msk").write_bytes(b"mask")
    with faulty(uri.rpartition("/")[0]) as proxy:
        proxy.fail(["expired"], r"a\.tif\.msk$", times=10**6)
        uri = f"{proxy.address}/a.tif"
        assert again(bare, uri)["files"] == bare["files"]


def test_of_what_a_store_refuses_nothing_is_known_and_of_what_fails_that_is_told(monkeypatch):
    """GDAL may have it all the same, by other credentials; what fails may come back."""

    def refuse(self, *_, **__):
        raise error

    stored = Stored("memory://a.tif")
    for name in ("open", "size"):
        monkeypatch.setattr(type(stored.fs), name, refuse)
    error = PermissionError("403")
    assert (stored.look(lambda file: file.read(1)), stored.size) == (None, None)
    error = OSError("reset")
    monkeypatch.setattr(reach.time, "sleep", lambda _: None)
    with pytest.raises(ConnectionError, match="out of reach"):
        stored.look(lambda file: file.read(1))


def test_behind_a_query_nothing_is_looked_for_beside(served):
    _, uri = served
    sent(uri.rpartition("/")[0])
    begun([f"{uri}?signature=abc"])
    assert [asked.split()[1] for asked in sent(uri.rpartition("/")[0])[1]] == [
        "/a.tif?signature=abc"
    ]


def packed(path, values):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo("a.tif"), values)  # always of 1980
    fsspec.filesystem("zip", fo=str(path)).clear_instance_cache()
    return [f"zip://a.tif::{path}"]


def test_a_member_of_an_archive_is_known_by_its_checksum(tmp_path):
    files = packed(tmp_path / "z.zip", b"one")
    before = begun(files)
    assert known(before, state("a.tif", files), files) == before
    files = packed(tmp_path / "z.zip", b"two")
    with pytest.raises(Refusal, match="stays what it was"):
        known(before, state("a.tif", files), files)


@pytest.mark.parametrize("name", ["date_time", "modify", "modificationTime"])
def test_a_time_is_one_by_any_name(store, name):
    del store["ETag"], store["LastModified"]
    store[name] = 1
    before = begun(REMOTE)
    store[name] = 2
    with pytest.raises(Refusal, match="stays what it was"):
        known(before, state("a.tif", REMOTE), REMOTE)
