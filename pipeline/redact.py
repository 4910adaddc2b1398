"""Secrets taken out of text, before anyone reads it."""

import os
import re
import sys
from typing import Any

HIDDEN = "***"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>|]+", re.IGNORECASE)
_QUERY = re.compile(r"\?[\w%.~-]+=[^\s'\"<>|]*")
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA)[A-Z0-9]{16}\b")
_NAMED = re.compile(
    r"((?:secret|token|password|passwd|signature|credential|api_?key|access_?key|account_?key)"
    r"[\w-]*['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CONNECTION_STRING|CREDENTIALS?)$")
_LONG = 16
"""Fewest characters of an environment's secret: a shorter one may be any word of the text."""


def redact(text: str) -> str:
    """The text without what signs a request or names a user in it.

    Hidden are a URL's user and password, its query and fragment, AWS key ids, the values of things
    called secret, token, password, signature or key, and the long values of environment variables
    so called.
    """
    return _redact(text, _environment())


def _redact(text: str, secrets: list[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    # GDAL's messages hold the last part of a URL alone.
    text = _QUERY.sub(f"?{HIDDEN}", _URL.sub(lambda found: _bare(found[0]), text))
    return _NAMED.sub(rf"\1{HIDDEN}", _KEY_ID.sub(HIDDEN, text))


def redacted(value: Any) -> Any:
    """The same for every text in a JSON-able value."""
    secrets = _environment()

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return _redact(value, secrets)
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list | tuple) else value

    return clean(value)


def printable(text: str) -> str:
    r"""The text with signs that steer a screen, as names from outside may hold them, spelt out.

    Escapes, as ``\\x1b``, changes of direction, and what is no sign; line breaks stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _bare(url: str) -> str:
    bare = _USER.sub(f"{HIDDEN}@", url)
    kept = re.split(r"[?#]", bare, maxsplit=1)[0]
    return kept if kept == bare else f"{kept}?{HIDDEN}"


def _environment() -> list[str]:
    names = [name for name in os.environ if _SECRET_NAME.search(name.upper())]
    values = {value for name in names if len(value := os.environ[name]) >= _LONG}
    return sorted(values, key=len, reverse=True)


def for_people(text: str) -> str:
    """What may be shown of a text: no secrets, and nothing that steers the screen."""
    return printable(redact(text))


def hide_command_line() -> None:
    """Take the secrets out of what `ps` and /proc/PID/cmdline show of this process."""
    words = [redact(word) for word in sys.orig_argv]
    if words != sys.orig_argv:
        from setproctitle import setproctitle  # noqa: PLC0415 (for the few that need it)

        setproctitle(" ".join(words))
