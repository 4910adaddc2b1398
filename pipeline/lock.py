"""One run a destination: a lock that no dead owner holds for ever."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import fsspec

from pipeline import reach
from pipeline.errors import Busy, Refusal
from pipeline.store import is_local, storage_errors

LEASE = 120.0
"""Seconds that a lock in an object store outlives its owner; clocks may differ by less."""
_BEATS = 6
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}
_REACHED = "the destination must be reachable"
_RULE = "one run at a time writes a file or cube"
Check = Callable[[], None]
"""Raises Busy where the lock was lost."""


@contextmanager
def locked(cube: str, run: str | None = None) -> Iterator[Check]:
    """Keep a cube's place for this run. Raises Busy where another run has it.

    Among local files the kernel keeps the lock and drops it with its owner. In an object store it
    is a lease that is renewed while the owner lives. ``run`` names a run that goes on when a
    process of it is lost: another one takes over its lease at once.
    """
    uri = cube.rstrip("/").removesuffix(".zarr") + ".r2h.lock"
    fs, path = fsspec.core.url_to_fs(uri)
    with alone(Path(path)) if is_local(uri) else _lease(fs, path, run) as check:
        yield check


@contextmanager
def alone(path: Path, *, where_possible: bool = False) -> Iterator[Check]:
    """Keep a local lock file at ``path`` for this process. Raises Busy where another has it.

    ``where_possible``: on a file system that keeps no locks go on without.
    """
    while True:
        with _opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _taken(path, os.read(file, 200).decode(errors="replace")) from None
            except OSError as error:
                if not (where_possible and error.errno in _NO_LOCKS):
                    raise
            # Its owner may have deleted it between our opening and locking it.
            if _names(path, file):
                try:
                    os.write(file, _owner().encode())
                except OSError as error:  # a full disk may leave it without a name
                    if error.errno == errno.EBADF:
                        # It is another user's, and says so: one of our own, if we may.
                        with suppress(PermissionError):
                            path.unlink()
                            continue
                try:
                    yield lambda: None
                finally:
                    with suppress(PermissionError):  # of another user, in a sticky folder
                        path.unlink(missing_ok=True)
                return


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not path.exists():
                raise
            # Of another user, whose run was killed.
            file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise Refusal("the destination must be writable", error, "Choose another place.") from error
    try:
        yield file
    finally:
        os.close(file)


def _names(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


@contextmanager
def _lease(fs: Any, root: str, run: str | None) -> Iterator[Check]:
    """Numbered objects, each made once: the highest number owns, until its time is over."""
    try:
        older, found = _latest(fs, root)
    except storage_errors() as error:
        raise reach.failed(error, _REACHED, "Choose another place.") from None
    if older and time.time() < found["until"] and not (run and found.get("run") == run):
        raise _taken(root, f"{found['owner']} until {time.ctime(found['until'])}")
    number = (older or [0])[-1] + 1
    try:
        fs.pipe_file(f"{root}/{number:08}", _term(run), mode="create")
    except FileExistsError:
        raise _taken(root, "a run that began at the same time") from None
    except storage_errors() as error:
        raise reach.failed(error, _REACHED, "Choose another place.") from None
    for one in older:
        with suppress(*storage_errors()):  # whose it was may delete it too
            fs.rm_file(f"{root}/{one:08}")
    ended, lost = Event(), Event()

    def renew() -> None:
        until = time.monotonic() + LEASE
        while not ended.wait(LEASE / _BEATS) and not lost.is_set():
            try:
                if _numbers(fs, root)[-1:] != [number] or time.monotonic() > until:
                    return lost.set()
                fs.pipe_file(f"{root}/{number:08}", _term(run))
                until = time.monotonic() + LEASE
            except storage_errors():
                continue  # the store is away; the term goes on, and ends
        return None

    def check() -> None:
        if lost.is_set():
            fix = "The store was out of reach for too long: run again with --resume."
            raise Busy(_RULE, "a lock that has passed to another run", fix)

    heart = Thread(target=renew, daemon=True)
    heart.start()
    try:
        yield check
    finally:
        ended.set()
        heart.join()
        # Where the store is away, that is what ended the run, and the term ends by itself.
        with suppress(*storage_errors()):
            if not lost.is_set():
                fs.rm_file(f"{root}/{number:08}")


def _latest(fs: Any, root: str) -> tuple[list[int], dict[str, Any]]:
    """All numbers, and what the highest says."""
    numbers = _numbers(fs, root)
    try:
        return numbers, json.loads(fs.cat_file(f"{root}/{numbers[-1]:08}")) if numbers else {}
    except FileNotFoundError:  # its owner let it go meanwhile
        return _latest(fs, root)


def _numbers(fs: Any, root: str) -> list[int]:
    fs.invalidate_cache()
    try:
        names = fs.ls(root, detail=False)
    except FileNotFoundError:
        return []
    except KeyError:  # of memory: an object went while it was listed
        return _numbers(fs, root)
    return sorted(int(last) for name in names if (last := name.rsplit("/", 1)[-1]).isdigit())


def _term(run: str | None) -> bytes:
    return json.dumps({"owner": _owner(), "run": run, "until": time.time() + LEASE}).encode()


def _owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(place: object, owner: str) -> Busy:
    found = f"another run that is writing it: {place} held by {owner}"
    return Busy(_RULE, found, "Wait for it, or choose another place.")
