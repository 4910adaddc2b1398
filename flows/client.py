"""A client of a Dask cluster: of a scheduler that is there, or of workers on this machine."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.errors import Refusal

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local:"


def _deaf() -> None:
    """Ctrl-C reaches all processes of a terminal; the one that asked tells the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def connect(cluster: str) -> "Iterator[Client]":
    """A client of a scheduler's address, or of ``local:N`` worker processes on this machine.

    Raises Refusal where there is none.
    """
    if find_spec("distributed") is None:
        raise Refusal("--dask needs Dask's scheduler", "none", "pip install 'r2h[cluster]'.")
    from distributed import Client, LocalCluster  # noqa: PLC0415 (an extra)

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
            yield client
        return
    try:
        client = Client(cluster)
    except (OSError, ValueError) as error:
        fix = "Start one with `dask scheduler`, or use local:N."
        raise Refusal("a Dask scheduler must answer", f"{cluster}: {error}", fix) from error
    with client:
        yield client
