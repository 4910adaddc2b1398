"""The server behind `r2h view`: where it listens, and who may ask."""

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from flows.view import LOOPBACK, application
from pipeline.view import CubeView


def serve(uri: str, host: str, port: int, browser: bool, tell: Callable[[str], None]) -> None:
    """Show a cube at an address that is told, until a signal ends it.

    Without ``host`` this machine alone can reach it. The address holds a new random token each
    time, without which nothing is answered. Raises Refusal where there is no cube.
    """
    view = CubeView.open(uri)
    token = secrets.token_urlsafe(24)
    names = (host, socket.gethostname()) if host else ()
    # Where it listens at all addresses any name may be meant, and the token alone decides.
    hosts = ("*",) if host == "0.0.0.0" or ":" in host else (*LOOPBACK, *names)
    config = uvicorn.Config(
        application(view, token, hosts), log_level="warning", access_log=False, ws="none"
    )
    with listening(host or LOOPBACK[0], port) as sock:
        shown = socket.gethostname() if hosts == ("*",) else host or LOOPBACK[0]
        address = f"http://{shown}:{sock.getsockname()[1]}/{token}/"
        tell(f"{address}\nEstimated from RGB, not measured. Ctrl-C ends it.")
        if browser:
            # It connects at once and is answered when the server runs: the socket queues it.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        uvicorn.Server(config).run([sock])


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens already. Raises OSError where the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
