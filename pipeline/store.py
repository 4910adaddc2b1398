"""Where Zarr keeps things: a store for any URI."""

import os
import sys
import warnings
from typing import Any

import fsspec
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import Store
from zarr.errors import ZarrUserWarning
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from pipeline.remote import endpoint

# Other workers write too, and obstore past fsspec: what a listing once said is not remembered.
for _protocol in ("s3", "gs", "abfs"):
    fsspec.config.conf.setdefault(_protocol, {}).setdefault("use_listings_cache", False)


def use_endpoint(url: str) -> None:
    """Where S3 is from now on in this process, for all who read and write."""
    os.environ["AWS_ENDPOINT_URL_S3"] = url
    # Named here too, or s3fs would go on with the file system it made for another place.
    fsspec.config.conf.setdefault("s3", {})["endpoint_url"] = url


def open_store(uri: str) -> Store:
    """Zarr's store of a path or URI; nothing is read or made."""
    fs, root = fsspec.core.url_to_fs(uri)
    if isinstance(fs, LocalFileSystem):
        return LocalStore(root)
    # Measured for S3 alone: half to two thirds of fsspec's time to write, a third to read.
    return _s3(root) if "s3" in fs.protocol else FsspecStore.from_url(uri)


def _s3(root: str) -> Store:
    import boto3  # noqa: PLC0415 (the extra `cloud`)
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    bucket, _, prefix = root.partition("/")
    session, url = boto3.Session(), endpoint()
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("yes", "true", "1")
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
            client_options={"allow_http": (url or "").startswith("http://")},
            **options,
        )
    )


def sweep(uri: str) -> None:
    """Delete the half-written files of a killed run; no other may be writing.

    An object store has none: there an object is there whole or not at all.
    """
    fs, root = fsspec.core.url_to_fs(uri)
    for name in fs.find(root):
        if name.endswith(".partial"):
            fs.rm_file(name)

    if isinstance(fs, LocalFileSystem):
        for name in fs.find(root):
            if name.endswith(".partial"):
                fs.rm_file(name)


def consolidate(group: zarr.Group) -> None:
    """Write all metadata of a group into one object, the last that is written."""
    with warnings.catch_warnings():
        # v3 has no consolidated metadata in its specification; xarray reads it all the same.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        zarr.consolidate_metadata(group.store)


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
