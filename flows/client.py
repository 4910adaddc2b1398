"""A client of a Dask cluster: of a scheduler that is there, or of workers on this machine."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flows.logs import log_as
from pipeline.errors import Refusal

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local:"


def _deaf() -> None:
    """Ctrl-C reaches all processes of a terminal; the one that asked tells the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _log_as(kind: str) -> None:
    """What goes wrong in a worker, in the same form; the rest is logged by who asked."""
    log_as(kind, logging.WARNING)
    logging.getLogger("distributed").handlers.clear()  # it has a form of its own


@contextmanager
def connect(cluster: str, log: str | None = None) -> "Iterator[Client]":
    """A client of a scheduler's address, or of ``local:N`` worker processes on this machine.

    These log as ``log`` says; workers of others are left as they are. Raises Refusal where there is
    no scheduler.
    """
    if find_spec("distributed") is None:
        raise Refusal("--dask needs Dask's scheduler", "none", "pip install 'r2h[cluster]'.")
    from distributed import Client, LocalCluster  # noqa: PLC0415 (an extra)

    if log:
        logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of every connection
    count = cluster.removeprefix(LOCAL)
    if cluster.startswith(LOCAL) and not (count.isdigit() and int(count)):
        raise Refusal("local workers are local:N, N from 1", cluster, "Say for example local:2.")
    if cluster.startswith(LOCAL):
        # No dashboard, and its figures on any port: two runs may be under way.
        quiet = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
        options = {"threads_per_worker": 1, "host": "127.0.0.1", **quiet}
        with LocalCluster(n_workers=int(count), **options) as local, Client(local) as client:
            client.run(_deaf)
            if log:
                client.run(_log_as, log)
            yield client
        return
    try:
        client = Client(cluster)
    except (OSError, ValueError) as error:
        fix = "Start one with `dask scheduler`, or use local:N."
        raise Refusal("a Dask scheduler must answer", f"{cluster}: {error}", fix) from error
    with client:
        yield client
