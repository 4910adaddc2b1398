"""Servers on loopback, each in a process of its own: GDAL may wait for one with the GIL held.

python -m tests.servers files FOLDER
python -m tests.servers s3
python -m tests.servers gs

Azure's is Azurite, of npm, where its `azurite-blob` is on the PATH.
"""

import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LIFE = 3600  # seconds, should the test that started it not end it


class Files(BaseHTTPRequestHandler):
    """Files of a folder by range requests. /.sent answers the bytes sent since it was last asked.

    Of `flaky`, the first 12 requests for bytes beyond the header fail.
    """

    protocol_version = "HTTP/1.1"
    folder = Path()
    sent = 0
    failed = 0
    wanted: list = []  # noqa: RUF012
    lock = threading.Lock()

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        name = unquote(urlsplit(self.path).path).lstrip("/")
        if name == ".sent":
            with self.lock:
                body = json.dumps({"sent": Files.sent, "wanted": Files.wanted}).encode()
                Files.sent, Files.wanted = 0, []
            return self.give(200, body)
        path = self.folder / name
        if not path.is_file():
            return self.give(404, b"")
        data, total = path.read_bytes(), path.stat().st_size
        dated = {"Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}
        with self.lock:
            Files.wanted.append(f"{self.command} {self.path} {self.headers['Range']}")
        if asked := self.headers["Range"]:
            start, _, stop = asked.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop or total), total - 1)
            if "flaky" in name and first > 0 and Files.failed < 12:
                Files.failed += 1
                return self.give(403, b"")
            about = {"Content-Range": f"bytes {first}-{last}/{total}"}
            return self.give(206, data[first : last + 1], dated | about)
        return self.give(200, data, dated)

    def give(self, code, body, more=None):
        self.send_response(code)
        for key, value in {"Accept-Ranges": "bytes", **(more or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
            with self.lock:
                Files.sent += len(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(kind, *arguments, module="tests.servers"):
    """The address of a server, for as long as it is wanted."""
    command = [sys.executable, "-m", module, *map(str, (kind, *arguments))]
    if kind == "az":
        place = ("--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence")
        # Its clients are newer than what it knows.
        command = [azurite(), *place, "--skipApiVersionCheck", "--disableTelemetry"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            addresses = (re.search(r"http://\S+", line) for line in process.stdout)
            yield next(found[0] for found in addresses if found)
        finally:
            process.terminate()


def azurite():
    """Microsoft's own stand-in for Azure's blobs; None where it is not installed."""
    return shutil.which("azurite-blob")


def sent(address):
    """What a file server sent since this was last asked: bytes, and the requests."""
    with urllib.request.urlopen(f"{address}/.sent") as answer:
        found = json.load(answer)
    return found["sent"], found["wanted"]


def main(kind, *folder):
    server = {"files": files, "s3": s3, "gs": gs}[kind](*folder)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    threading.Timer(LIFE, server.shutdown).start()
    server.serve_forever()


def files(folder):
    Files.folder = Path(folder)
    return ThreadingHTTPServer(("127.0.0.1", 0), Files)


def s3():
    import logging  # noqa: PLC0415

    from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)
    return make_server("127.0.0.1", 0, application, threaded=True)


def gs():
    from gcp_storage_emulator.server import RequestHandler  # noqa: PLC0415
    from gcp_storage_emulator.storage import Storage  # noqa: PLC0415

    return ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(RequestHandler, Storage(use_memory_fs=True))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
