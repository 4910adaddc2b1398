"""Log lines on standard error, as text or JSON: one a region and scene, none a tile, no secrets."""

import logging
import sys
from datetime import datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from pipeline.errors import Refusal
from pipeline.redact import for_people, redacted

KINDS = ("json", "text")
_NAMES = {"asctime": "time", "levelname": "level", "message": "event", "name": "logger"}


class _Json(JsonFormatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        """ISO 8601, with the zone."""
        return (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return dict(redacted(log_data))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        plain = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
        more = [f"{key}={value}" for key, value in vars(record).items() if key not in plain]
        return for_people(" ".join([super().format(record), *more]))


def log_as(kind: str, level: int = logging.INFO) -> None:
    """Send all log lines to standard error as ``json`` or ``text``. Raises Refusal for others.

    ``level`` is that of our own lines.
    """
    if kind not in KINDS:
        raise Refusal("log lines are json or text", kind, "Give --log json.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Json("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=_NAMES)
        if kind == "json"
        else _Text("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("r2h").setLevel(level)
