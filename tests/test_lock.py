import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import fsspec
import pytest

from pipeline import lock
from pipeline.errors import Busy, Refusal
from pipeline.lock import alone, locked


@pytest.fixture(params=["file", "memory"])
def cube(request, tmp_path):
    return str(tmp_path / "a.zarr") if request.param == "file" else f"memory://{uuid4()}/a.zarr"


def test_one_works_and_the_other_refuses(cube):
    with locked(cube) as held:
        held()
        with pytest.raises(Refusal, match=f"held by process {os.getpid()}"), locked(cube):
            pass
        with locked(cube.replace("a.zarr", "b.zarr")):
            pass
    with locked(cube):
        pass


def test_nothing_is_left(tmp_path):
    with locked(str(tmp_path / "a.zarr")):
        assert (tmp_path / "a.r2h.lock").exists()
    assert not list(tmp_path.iterdir())


def test_of_many_at_once_one_has_it_at_a_time(cube):
    together, inside, most = Barrier(8), [], []

    def run(_):
        together.wait()
        for _ in range(40):
            try:
                with locked(cube):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except Refusal:
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
    assert set(most) == {1}


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    cube = str(tmp_path / "a.zarr")
    code = (
        "import sys, time; from pipeline.lock import locked\n"
        "with locked(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, cube], stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(Refusal, match=f"held by process {owner.pid}"), locked(cube):
        pass
    owner.kill()
    owner.communicate()
    with locked(cube):
        pass


def _leave(cube, until):
    """What a killed owner leaves in an object store."""
    place = cube.replace(".zarr", ".r2h.lock") + "/00000007"
    fsspec.filesystem("memory").pipe_file(
        place, json.dumps({"owner": "process 1 on elsewhere", "until": until}).encode()
    )


def test_a_lease_ends_with_its_time(cube):
    if not cube.startswith("memory"):
        pytest.skip("the kernel keeps locks of local files")
    _leave(cube, time.time() + 5)
    with pytest.raises(Refusal, match="process 1 on elsewhere until"), locked(cube):
        pass
    _leave(cube, time.time() - 1)
    with locked(cube):
        names = fsspec.filesystem("memory").ls(cube.replace(".zarr", ".r2h.lock"), detail=False)
        assert [name.rsplit("/", 1)[-1] for name in names] == ["00000008"]


def test_a_lease_is_renewed_and_a_lost_one_is_noticed(monkeypatch):
    monkeypatch.setattr(lock, "LEASE", 0.6)
    cube, fs = f"memory://{uuid4()}/a.zarr", fsspec.filesystem("memory")
    with locked(cube) as held:
        time.sleep(1.5)
        held()
        with pytest.raises(Refusal, match="one run at a time"), locked(cube):
            pass
        fs.pipe_file(cube.replace(".zarr", ".r2h.lock") + "/00000002", b"{}")
        time.sleep(0.5)
        with pytest.raises(Busy, match="passed to another"):
            held()


def test_a_store_that_is_away_is_asked_again_and_hides_no_other_error(monkeypatch):
    errors = pytest.importorskip("botocore.exceptions", reason="of the extra 'cloud'")
    monkeypatch.setattr(lock, "LEASE", 0.6)
    cube, fs, away = f"memory://{uuid4()}/a.zarr", fsspec.filesystem("memory"), [1, 2]
    numbers = lock._numbers

    def failing(*place):
        if away:
            away.pop()
            raise errors.NoCredentialsError  # no OSError
        return numbers(*place)

    with locked(cube) as held:
        monkeypatch.setattr(lock, "_numbers", failing)
        time.sleep(1.5)
        held()
        assert not away
        with pytest.raises(Refusal, match="one run at a time"), locked(cube):
            pass

    def refuse(_):
        raise PermissionError("expired")

    monkeypatch.setattr(fs, "rm_file", refuse)
    with pytest.raises(ConnectionError, match="a chunk"), locked(cube):
        raise ConnectionError("a chunk")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="writable"), locked(str(tmp_path / "file" / "a.zarr")):
        pass


def test_a_lock_that_another_user_left_is_taken(tmp_path, monkeypatch):
    (left := tmp_path / "a.r2h.lock").write_text("process 1 on elsewhere")
    plain = os.open

    def only_read(path, flags, *mode, **more):
        if flags & os.O_RDWR and left.exists() and left.read_text().endswith("elsewhere"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", only_read)
    with (
        locked(str(tmp_path / "a.zarr")),
        pytest.raises(Busy, match=f"process {os.getpid()} on"),
        locked(str(tmp_path / "a.zarr")),
    ):
        pass
    assert not left.exists()


def test_a_folder_that_takes_no_lock_is_told_as_it_is(tmp_path, monkeypatch):
    def shut(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", shut)
    with pytest.raises(Refusal, match="Permission denied"), locked(str(tmp_path / "a.zarr")):
        pass


def test_where_no_locks_are_kept_a_file_is_written_without(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with alone(tmp_path / "a.lck", where_possible=True):
        pass
    with pytest.raises(OSError, match="No locks"), locked(str(tmp_path / "a.zarr")):
        pass
