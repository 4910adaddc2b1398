"""A proxy on loopback before an S3 server, that fails as told: `python -m tests.faults.proxy URL`.

PUT /.fail with JSON {"kinds", "match", "times", "skip"}: of requests whose "METHOD path"
matches the regular expression, the first ``skip`` pass, and ``times`` fail, each in the next of the
ways. PUT /.heal ends that. GET /.seen answers how often each request failed since.
"""

import json
import re
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.servers import LIFE, serving

STALL = 600.0
ERRORS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "expired": (400, "ExpiredToken"),
    "missing": (404, "NoSuchKey"),
    "quota": (507, "QuotaExceeded"),
}
KINDS = (*ERRORS, "reset", "stall", "cut")


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on, or fails them; before (an answer of its own) or after (`cut`)."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a head and its body go in one packet
    disable_nagle_algorithm = True
    server_url = ""
    plans: list = []  # noqa: RUF012
    seen: Counter = Counter()  # noqa: RUF012
    lock = threading.Lock()

    def handle_one_request(self):
        with suppress(ConnectionError):
            super().handle_one_request()

    def handle_expect_100(self):
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def do_GET(self):
        if self.path == "/.seen":
            return self.answer(200, {}, json.dumps(Proxy.seen).encode())
        return self.pass_on()

    def do_PUT(self):
        body = self.body()
        if self.path not in ("/.fail", "/.heal"):
            return self.pass_on(body)
        with self.lock:
            if self.path == "/.fail":
                Proxy.plans.append(json.loads(body))
            else:
                Proxy.plans, Proxy.seen = [], Counter()
        return self.answer(200, {}, b"")

    def do_POST(self):
        self.pass_on(self.body())

    def do_HEAD(self):
        self.pass_on()

    def do_DELETE(self):
        self.pass_on()

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def pass_on(self, body=b""):
        if kind := self.failing():
            if kind in ERRORS:
                code, name = ERRORS[kind]
                said = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>{name}</Message>"
                about = {"Content-Type": "application/xml"}
                return self.answer(code, about, f"{said}</Error>".encode())
            if kind == "stall":
                time.sleep(STALL)
            if kind != "cut":
                return self.reset()
        there = urlsplit(self.server_url)
        to = HTTPConnection(there.hostname, there.port, timeout=60)
        kept = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        to.request(self.command, self.path, body or None, kept)
        answer = to.getresponse()
        whole = answer.read()
        return self.answer(answer.status, dict(answer.getheaders()), whole, kind == "cut")

    def failing(self):
        """What this request is to fail of; None to pass it on."""
        asked = f"{self.command} {self.path}"
        with self.lock:
            for plan in Proxy.plans:
                if not re.search(plan["match"], asked):
                    continue
                if plan["skip"] > 0:
                    plan["skip"] -= 1
                elif plan["times"] > 0:
                    plan["times"] -= 1
                    Proxy.seen[asked] += 1
                    return plan["kinds"][plan["times"] % len(plan["kinds"])]
        return None

    def answer(self, code, headers, body, cut=False):
        self.send_response_only(code)
        headers = {k: v for k, v in headers.items() if k.lower() != "transfer-encoding"}
        for key, value in headers.items():
            if key.lower() not in ("connection", "content-length"):
                self.send_header(key, value)
        length = len(body) if self.command != "HEAD" else headers.get("Content-Length", 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            self.reset()

    def reset(self):
        """End the connection as a machine does that went away: RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_):
        pass


class Faulty:
    """A proxy that runs, as a test steers it."""

    def __init__(self, address):
        self.address = address

    def fail(self, kinds, match, times, skip=0):
        """From now on, beside what fails already."""
        self._put("fail", {"kinds": kinds, "match": match, "times": times, "skip": skip})

    def heal(self):
        """From now on nothing fails."""
        self._put("heal", None)

    def _put(self, name, plan):
        asked = urllib.request.Request(f"{self.address}/.{name}", json.dumps(plan).encode())
        asked.method = "PUT"
        urllib.request.urlopen(asked).close()

    def seen(self):
        """How often each request failed."""
        with urllib.request.urlopen(f"{self.address}/.seen") as answer:
            return json.load(answer)


@contextmanager
def faulty(server):
    """A proxy before a server, in a process of its own."""
    with serving(server, module="tests.faults.proxy") as address:
        yield Faulty(address)


if __name__ == "__main__":
    Proxy.server_url = sys.argv[1]
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    proxy.daemon_threads = True
    print(f"http://127.0.0.1:{proxy.server_port}", flush=True)
    threading.Timer(LIFE, proxy.shutdown).start()
    proxy.serve_forever()
