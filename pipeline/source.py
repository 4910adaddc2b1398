"""An input as it was when a run began: told apart from what came after it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import Changed
from pipeline.store import storage_errors
from pipeline.stored import Stored
from pipeline.uri import local_path

State = dict[str, Any]
"""``source``, and of each of its ``files`` bytes, time of change and ETag, as far as known.

Of a remote one also, ``beside`` it, of a mask and notes that are there; local ones are files too.
"""
_TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "CRC")
_TIMES = (
    *("LastModified", "Last-Modified", "last_modified", "mtime", "modified", "created"),
    *("date_time", "modify", "modificationTime"),  # of a member of a zip archive, FTP, WebHDFS
)


def state(uri: str, files: Iterable[str]) -> State:
    """What the file systems say of an input and the ``files`` it lies in; reads no pixel."""
    return {"source": uri, "files": [_facts(name) for name in sorted(files)]}


def _facts(name: str) -> dict[str, Any]:
    if (path := local_path(name)) is not None:
        about = path.stat()
        return {"name": path.name, "bytes": about.st_size, "modified": about.st_mtime_ns}
    last, stored = PurePosixPath(urlsplit(name).path).name, Stored(name)
    try:
        stored.fs.invalidate_cache()
        told = _told(stored.fs.info(stored.path))
    except storage_errors(ValueError, ImportError):
        return {"name": last}  # GDAL reads what fsspec may have no driver for
    beside = [{"name": f"{last}{end}", **_told(one)} for end, one in stored.beside().items()]
    return {"name": last, **told, "beside": beside}


def _told(about: dict[str, Any]) -> dict[str, Any]:
    """Bytes, and ETag or else the time of change, by whatever names a file system has for them."""
    tag = next((str(about[name]) for name in _TAGS if about.get(name)), None)
    changed = next((str(about[name]) for name in _TIMES if about.get(name)), None)
    return {"bytes": about.get("size"), "etag": tag, "modified": None if tag else changed}


def alike(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    """Whether all that was known of the files is so now."""
    if [one["name"] for one in before] != [one["name"] for one in now]:
        return False
    # Where fsspec does not reach what GDAL reads, nothing but the name is known.
    pairs = [(one, other) for one, other in zip(before, now, strict=True) if len(one) > 1]
    if away := [other["name"] for _, other in pairs if len(other) == 1]:
        raise ConnectionError(f"out of reach, so that it may have changed: {', '.join(away)}")
    return all(other.get(key) == one[key] for one, other in pairs for key in one)


def digest(files: Iterable[str]) -> str | None:
    """sha256 of local files, one after the other, hex; None where one is not local."""
    total = hashlib.sha256()
    for name in sorted(files):
        path = local_path(name)
        if path is None:
            return None
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def known(before: State | None, now: State, files: Iterable[str]) -> State:
    """An input as it is ``now``, with its digest: of ``before`` while sizes and times are as then.

    Raises Changed where it is another than before: the bytes decide, or where they are remote, what
    their store says. A copy on another machine has another time and the same bytes. Raises OSError
    where a store that told no longer does.
    """
    if before and alike(before["files"], now["files"]):
        return {**now, "sha256": before["sha256"]}
    found = digest(files)
    if before and (found is None or before["sha256"] != found):
        change = f"{before['files']} when its cube was begun, {now['files']} now"
        fix = "Give that input, or begin again with --overwrite."
        raise Changed("an input stays what it was when its cube was begun", change, fix)
    return {**now, "sha256": found}
