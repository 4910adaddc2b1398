"""Reports and figures of a run: told before it begins where they cannot be written, then whole."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import Refusal
from pipeline.ours import refuse_foreign
from pipeline.store import put, reason, storage_errors

_FIX = "Choose another place."


def refuse_unwritable(uri: str, what: str, sign: bytes) -> None:
    """Raise Refusal where a file cannot be written; a store is not asked, but must have a driver.

    Or where one is that R2H did not write, which would begin with ``sign``.
    """
    rule = f"{what} must be writable"
    try:
        fs, path = url_to_fs(uri)
        local = isinstance(fs, LocalFileSystem)
        if local and _special(path):
            return
        if local and Path(path).is_dir():
            raise Refusal(rule, f"{uri}, a folder", _FIX)
        # A store may let in who may not read it.
        with suppress(*(() if local else storage_errors())):
            refuse_foreign(uri, _FIX, sign)
        if not local:
            return
        with TemporaryFile(dir=next(p for p in Path(path).absolute().parents if p.exists())):
            return
    except Refusal:
        raise
    except storage_errors(ValueError, ImportError) as error:
        raise Refusal(rule, f"{uri}: {reason(error)}", _FIX) from error


def write(uri: str, data: bytes) -> None:
    """Write a file wholly or not at all; into a pipe or device as it is."""
    fs, path = url_to_fs(uri)
    if isinstance(fs, LocalFileSystem) and _special(path):
        Path(path).write_bytes(data)
    else:
        put(uri, data)


def _special(path: str) -> bool:
    """Whether something is there that no file may replace: a terminal, /dev/stdout, a pipe."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()
