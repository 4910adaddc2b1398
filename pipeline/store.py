"""Where Zarr keeps things: a store for any URI."""

import ctypes
import os
import sys
from collections.abc import MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from pipeline import reach

# Other workers write too, and obstore past fsspec: what a listing once said is not remembered.
for _protocol in ("s3", "gs", "abfs"):
    fsspec.config.conf.setdefault(_protocol, {}).setdefault("use_listings_cache", False)
if reach.unsigned():
    fsspec.config.conf["s3"]["anon"] = True


EARLY = 1 << 16
"""Bytes of a file from which on it is sent to the disk at once (docs/decisions/0033)."""
_before: list[tuple[str | None, str | None]] = []
"""Where S3 was said to be, to the environment and to s3fs, before `use_endpoint` said another."""


def use_endpoint(url: str | None) -> None:
    """Where S3 is from now on in this process, for all who read and write; None: where it was."""
    named = fsspec.config.conf.setdefault("s3", {})
    if reach.unsigned():
        named["anon"] = True
    if url and not _before:
        _before.append((os.environ.get("AWS_ENDPOINT_URL_S3"), named.get("endpoint_url")))
    if url or _before:
        variable, name = (url, url) if url else _before.pop()
        _say(os.environ, "AWS_ENDPOINT_URL_S3", variable)
        # Named to s3fs too, or it would go on with the file system it made for another place.
        _say(named, "endpoint_url", name)


def _say(place: MutableMapping[str, Any], key: str, value: str | None) -> None:
    place.pop(key, None)
    if value is not None:
        place[key] = value


def open_store(uri: str) -> Store:
    """Zarr's store of a path or URI; nothing is read or made."""
    fs, root = fsspec.core.url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        return LocalStore(root)
    # Measured for S3 alone (docs/cloud.md): less of the processor's time, to write and to read.
    return _s3(root) if "s3" in fs.protocol else FsspecStore.from_url(uri)


def _s3(root: str) -> Store:
    import boto3  # noqa: PLC0415 (the extra `cloud`)
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    bucket, _, prefix = root.partition("/")
    session, url = boto3.Session(), reach.endpoint()
    unsigned = reach.unsigned()
    options: dict[str, Any] = {}
    if not unsigned:
        options["credential_provider"] = Boto3CredentialProvider(session)
    if url:
        options |= {"endpoint": url, "virtual_hosted_style_request": False}
    return ObjectStore(
        S3Store(
            bucket,
            prefix=prefix,
            region=session.region_name or "us-east-1",
            skip_signature=unsigned,
            client_options={
                "allow_http": (url or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=reach.SILENCE),
                "read_timeout": timedelta(seconds=reach.SILENCE),
            },
            # Waits double from 0.1 s and are drawn at random; no more than the budget in all.
            retry_config={"max_retries": 100, "retry_timeout": timedelta(seconds=reach.BUDGET)},
            **options,
        )
    )


def is_local(uri: str) -> bool:
    """Whether a URI is of this machine's files, where a power loss can cut what is written."""
    return isinstance(fsspec.core.url_to_fs(uri)[0], LocalFileSystem)


def sweep(uri: str) -> None:
    """Delete the half-written files of a killed run; no other may be writing.

    An object store has none: there an object is there whole or not at all.
    """
    if not is_local(uri):
        return
    fs, root = fsspec.core.url_to_fs(uri)
    for name in fs.find(root):
        if name.endswith(".partial"):
            fs.rm_file(name)


def storage_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What a store may raise when it is out of reach: OSError and the clouds' own; and others."""
    known = {
        "botocore.exceptions": ("BotoCoreError", "ClientError"),
        "obstore.exceptions": ("BaseError",),
        "aiohttp": ("ClientError",),
        "azure.core.exceptions": ("AzureError",),
        "google.auth.exceptions": ("GoogleAuthError",),
    }
    loaded = [
        getattr(sys.modules[module], name)
        for module, names in known.items()
        if module in sys.modules
        for name in names
    ]
    return (OSError, *loaded, *others)


def reason(error: BaseException) -> str:
    """What a store's error says, in a line, without what only its makers read."""
    return " ".join(str(error).partition("Debug source:")[0].split())


def listed(fs: fsspec.AbstractFileSystem, folder: str, start: str) -> list[str]:
    """Objects in a folder whose names start so; of a bucket, no others are asked for."""
    if not isinstance(fs, LocalFileSystem):
        found = fs.find(folder, prefix=start)
    else:  # of fsspec's own listing each file costs a call to the kernel
        found = map(str, Path(folder).iterdir() if Path(folder).is_dir() else ())
    return [path for path in found if path.startswith(f"{folder}/{start}")]


def put(uri: str, data: bytes) -> None:
    """Write an object wholly or not at all, whenever the process or the power ends."""
    fs, path = fsspec.core.url_to_fs(uri)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    move_in(Path(path), data, durable=True)
    _to_disk(Path(path).parent)


def move_in(target: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file that appears in one move; ``durable`` ones are on the disk by then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        if durable:
            _to_disk(partial)
        elif len(data) > EARLY:
            _begin_to_disk(partial)
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)  # on a full disk its half would take room
        raise


def keep(uri: str) -> None:
    """Return when all that was written beside and into a local store is on the disk.

    One call for its whole file system: a call a file takes 5 ms each.
    """
    if not is_local(uri):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    handle = os.open(fsspec.core.url_to_fs(uri)[1], os.O_RDONLY)
    try:
        if libc.syncfs(handle):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), uri)
    finally:
        os.close(handle)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _begin_to_disk(path: Path) -> None:
    """Have Linux begin to write a file; else it waits for seconds, and the seal for all of it."""
    if not hasattr(os, "posix_fadvise"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
