"""What a path or URI names: a file here, or what GDAL calls by another name."""

import os
import re
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.errors import Refusal

VSI = {
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "gcs": "/vsigs/",
    "az": "/vsiaz/",
    "abfs": "/vsiaz/",
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
}


def at_home(text: str) -> str:
    """A path for ``~/``, which is the home wherever no shell says so, and for a file URI.

    Any other text as it is.
    """
    if text.startswith("file://") and not ("::" in text or _odd(text)):
        return str(local_path(text))
    return str(Path(text).expanduser()) if text == "~" or text.startswith("~/") else text


def local_path(uri: str) -> Path | None:
    """The file that a path or file URI names; None for anything else.

    Raises Refusal for a file URI of another machine, or with more than a path.
    """
    if uri.startswith("file://"):
        if _odd(uri):
            rule = "a file URI names a path of this machine, ? and # in it as %3F and %23"
            raise Refusal(rule, uri, "Give the path.")
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri or uri.startswith("/vsi") else Path(uri)


def _odd(uri: str) -> bool:
    """Whether a file URI names another machine, more than a path, or none."""
    parts = urlsplit(uri)
    return parts.netloc not in ("", "localhost") or bool({*"?#"} & {*uri}) or not parts.path


def absolute(uri: str) -> str:
    """A path as it is named from any folder; a URI as it is."""
    path = None if "::" in uri else local_path(uri)
    return uri if path is None else str(path.absolute())


def named_path(uri: str) -> PurePath:
    """The path by which a file is named; in a chain, as zip://a.tif::s3://b/c.zip, the member's.

    There what comes first is part of it, which may be a bucket: simplecache::s3://b/a.tif.
    """
    if uri.startswith("file://"):  # one that leads nowhere has a name too
        return Path(unquote(urlsplit(uri).path))
    if (path := local_path(uri)) is not None:
        return path
    if "::" not in uri:
        # On the web ? and # end a name, in a bucket they are part of one.
        scheme, at, rest = uri.partition("://")
        if at and scheme.lower() not in ("http", "https") and not uri.startswith("/vsi"):
            return PurePosixPath("/" + rest.partition("/")[2])
        bucket = uri.startswith(("/vsis3/", "/vsigs/", "/vsiaz/"))
        return PurePosixPath(uri if bucket else urlsplit(uri).path)
    link = uri.split("::")[_naming(uri)]
    return PurePosixPath(re.split(r"[?#]", link.partition("://")[2])[0])


def renamed(uri: str, file: str) -> str:
    """The URI of another ``file``, a URI too, that is reached as ``uri`` is: by the same chain.

    As zip://b.tif::z.zip for zip://*.tif::z.zip and zip://b.tif.
    """
    links = uri.split("::")
    links[_naming(uri)] = file
    return "::".join(links)


def _naming(uri: str) -> int:
    """Which link of a chain names the file."""
    return next((i for i, link in enumerate(uri.split("::")) if "://" in link), 0)


def is_file(uri: str) -> bool:
    """Whether a URI is a local file; not where it cannot be the name of one, as it is too long."""
    path = local_path(uri)
    return path is not None and os.path.isfile(path)  # noqa: PTH113 (pathlib raises there)


def gdal_path(uri: str) -> str | None:
    """GDAL's own name for a URI; None where it has no reader for the scheme."""
    if (path := local_path(uri)) is not None:
        return str(path)
    scheme, _, rest = uri.partition("://")
    return uri if uri.startswith("/vsi") else VSI[scheme] + rest if scheme in VSI else None
