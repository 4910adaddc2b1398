"""Signals end a run in order: those that come at once are one."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time

import pytest

from flows import progress
from flows.commands.common import STOPPED
from pipeline.cube import SpectralCube
from tests.faults.run import TILING, raster


def heard_in_a_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup


def test_a_terminal_that_closes_ends_a_run_in_order(tmp_path):
    source, out = raster(tmp_path / "in.tif", 1024, 256), tmp_path / "a.zarr"
    words = ["-c", "from flows.cli import main; main()", "reconstruct", source, out, *TILING]
    ours, theirs = os.openpty()
    run = subprocess.Popen(
        list(map(str, [sys.executable, *words])),
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        start_new_session=True,
        preexec_fn=heard_in_a_terminal,  # noqa: PLW1509 (it does no more)
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("a.zarr/reflectance/*.*.*")) and run.poll() is None:
        assert time.monotonic() < until
        try:
            os.read(ours, 1 << 16)  # else it waits to be read
        except BlockingIOError:
            time.sleep(0.05)
    os.close(ours)
    assert run.wait(60) == STOPPED
    assert not (tmp_path / "a.r2h.lock").exists()
    assert not SpectralCube.open(str(out)).sealed


def test_signals_at_once_are_one_and_a_later_one_ends_the_process(monkeypatch):
    with progress.stopped_by_signals() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            signal.raise_signal(number)
        assert stop.is_set()
        monkeypatch.setattr(progress, "AT_ONCE", 0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
