"""The server behind `r2h view`: where it listens, and who may ask."""

import html
import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import uvicorn

from flows.view import LOOPBACK, application
from pipeline.view import CubeView

EVERYWHERE = ("0.0.0.0", "::")


def serve(uri: str, host: str, port: int, browser: bool, tell: Callable[[str], None]) -> None:
    """Show a cube at an address that is told, until a signal ends it.

    Without ``host`` this machine alone can reach it. The address holds a new random token each
    time, without which nothing is answered. Raises Refusal where there is no cube.
    """
    view = CubeView.open(uri)
    token = secrets.token_urlsafe(24)
    names = (host, socket.gethostname()) if host else ()
    # Where it listens at all addresses any name may be meant, and the token alone decides.
    hosts = ("*",) if host in EVERYWHERE or ":" in host else (*LOOPBACK, *names)
    config = uvicorn.Config(
        application(view, token, hosts), log_level="warning", access_log=False, ws="none"
    )
    with listening(host or LOOPBACK[0], port) as sock:
        shown = host or LOOPBACK[0]
        if host in EVERYWHERE:
            shown = socket.gethostname()
        elif ":" in host:
            shown = f"[{host}]"
        address = f"http://{shown}:{sock.getsockname()[1]}/{token}/"
        tell(f"{address}\nEstimated from RGB, not measured. Ctrl-C ends it.")
        with _shown(address) if browser else nullcontext():
            uvicorn.Server(config).run([sock])


@contextmanager
def _shown(address: str) -> Iterator[None]:
    """An address in a browser, on whose command line all users of a machine would read a token."""
    # Until this ends there is a file, for its owner alone, that leads on to the address.
    with tempfile.NamedTemporaryFile("w", prefix="r2h-view-", suffix=".html") as page:
        page.write(f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">')
        page.flush()
        # It connects at once and is answered when the server runs: the socket queues it.
        uri = Path(page.name).as_uri()
        threading.Thread(target=webbrowser.open, args=(uri,), daemon=True).start()
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens already. Raises OSError where the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
