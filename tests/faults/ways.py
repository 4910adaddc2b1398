"""The ways a run is disturbed; each function returns how often it did so."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.commands.common import STOPPED
from tests.faults.run import Run, assert_same, aux, clear, go_on


def signals(source: Path, plain: Path, number: signal.Signals, times: int, most: float) -> int:
    """End by a signal at a random moment, again and again, until ``times`` met a living run."""
    cube, hits, more = plain.with_name(f"{number.name}.zarr"), 0, ()
    while hits < times:
        run = Run(source, cube, *more)
        time.sleep(random.uniform(0, most))
        run.signal(number)
        code, said = run.end()
        more = ("--resume",)
        if code in (-number, STOPPED):
            hits += 1
        else:
            assert code == 0, (code, said)
            assert_same(plain, cube)
            clear(cube)
            more = ()
    go_on(source, cube)
    assert_same(plain, cube)
    return hits


def truncations(source: Path, plain: Path, times: int) -> int:
    """Cut a stored chunk, or one beside it, at a random length, as a power loss does."""
    cube = plain.with_name("cut.zarr")
    go_on(source, cube)
    for _ in range(times):
        chunks = [path for path in (cube / "reflectance").iterdir() if path.name[0] != "."]
        chunks += [path for path in aux(cube).rglob("*.*.*") if path.is_file()]
        cut = random.choice(chunks)
        whole = cut.read_bytes()
        cut.write_bytes(whole[: random.choice([0, len(whole) - 1, random.randrange(len(whole))])])
        if random.random() < 0.5:
            (cube / ".zmetadata").unlink()
        said = go_on(source, cube)
        assert "made again" in said, (cut, said)
        assert_same(plain, cube)
    return times


def full_disk(source: Path, plain: Path, times: int, most: float) -> int:
    """Fill a small disk at a random moment of a run."""
    hits = 0
    with small_disk(plain.with_name("disk")) as disk:
        cube, ballast = disk / "full.zarr", disk / "ballast"
        while hits < times:
            run = Run(source, cube)
            time.sleep(random.uniform(0, most))
            with ballast.open("wb", buffering=0) as file:
                while run.alive:
                    with contextlib.suppress(OSError):
                        file.write(bytes(65536))
                        continue
                    time.sleep(0.01)
            code, said = run.end()
            ballast.unlink()
            assert code in (0, 1, 2), said
            assert code == 0 or "No space left" in said or "must have room" in said, said
            hits += code != 0
            go_on(source, cube)
            assert_same(plain, cube)
            clear(cube)
    return hits


def read_only(source: Path, plain: Path) -> int:
    """A destination on a disk that cannot be written, then can."""
    with small_disk(plain.with_name("sealed")) as disk:
        cube = disk / "ro.zarr"
        for state, codes in (("ro", {2}), ("rw", {0})):
            subprocess.run(["mount", "-o", f"remount,{state}", str(disk)], check=True)
            code, said = Run(source, cube).end()
            assert code in codes, said
        assert_same(plain, cube)
    return 1


def rivals(source: Path, plain: Path, times: int) -> int:
    """Two runs begin at once, on nothing or on a cube half done: one works, the other refuses."""
    cube = plain.with_name("rivals.zarr")
    for number in range(times):
        more = ()
        if number % 2:
            go_on(source, cube)
            (cube / ".zmetadata").unlink()
            for path in (cube / "reflectance").glob("0.[2-9].*"):
                path.unlink()
            more = ("--resume",)
        two = [Run(source, cube, *more) for _ in range(2)]
        codes, said = zip(*(run.end() for run in two), strict=True)
        # One may have come when the other had begun it, or had finished: then --resume finds
        # nothing to do.
        assert sorted(codes) in ([0, STOPPED], [0, 2]) or (more and codes == (0, 0)), (codes, said)
        assert_same(plain, cube)
        clear(cube)
    return times


def workers(source: Path, plain: Path, times: int, most: float) -> int:
    """Kill one of two Dask workers at a random moment: the run goes on by itself."""
    cube, hits = plain.with_name("dask.zarr"), 0
    while hits < times:
        run = Run(source, cube, "--dask", "local:2")
        chunks = wait_for_chunk(run, cube)
        time.sleep(random.uniform(0, most / 2))
        family = psutil.Process(run.process.pid).children(recursive=True) if run.alive else []
        # Dask names its workers itself where setproctitle is there, as it is wherever this is.
        alive = [one for one in family if "dask worker" in " ".join(one.cmdline())]
        if chunks and alive:
            random.choice(alive).kill()
            hits += 1
        code, said = run.end()
        assert code == 0, said
        assert_same(plain, cube)
        clear(cube)
    return hits


def servers(source: Path, plain: Path, times: int, most: float) -> int:
    """Kill the Prefect server under a run at a random moment; what is finished is taken up."""
    cube, hits = plain.with_name("prefect.zarr"), 0
    while hits < times:
        with prefect_server(plain.with_name(f"server{time.monotonic_ns()}")) as (server, url):
            run = Run(source, cube, "--prefect", PREFECT_API_URL=url)
            wait_for_chunk(run, cube)
            time.sleep(random.uniform(0, most / 2))
            hits += run.alive
            server.kill()
            code, _ = run.end()
        if code != 0:
            go_on(source, cube)
        assert_same(plain, cube)
        clear(cube)
    return hits


def wait_for_chunk(run: Run, cube: Path) -> bool:
    """Whether the run has written a first chunk before it ended."""
    while run.alive:
        if any((cube / "reflectance").glob("0.*.*")):
            return True
        time.sleep(0.02)
    return False


@contextmanager
def prefect_server(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of its own on loopback: its process and URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    quiet = {"PREFECT_SERVER_UI_ENABLED": "false", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    env = {**os.environ, **quiet, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    call = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with subprocess.Popen(call, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as it:
        try:
            until = time.monotonic() + 300
            while True:
                assert time.monotonic() < until, "the server does not start"
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health"):
                    break
                time.sleep(0.2)
            yield it, url
        finally:
            it.kill()


@contextmanager
def small_disk(place: Path, size: str = "6m") -> Iterator[Path]:
    """A file system of its own in memory. Raises CalledProcessError without the right to mount."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
