import os

import pytest

from pipeline.errors import Refusal
from pipeline.source import digest, known, state


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

    monkeypatch.setattr("pipeline.source.fsspec.core.url_to_fs", lambda name: (Store, name))
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
