"""How stores behind a network are reached: where, how long is waited, and what is tried again."""

import errno
import os
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from rasterio._err import (
    CPLE_AWSAccessDeniedError,
    CPLE_AWSBucketNotFoundError,
    CPLE_AWSError,
    CPLE_AWSInvalidCredentialsError,
    CPLE_AWSObjectNotFoundError,
    CPLE_AWSSignatureDoesNotMatchError,
    CPLE_HttpResponseError,
)
from rasterio.errors import RasterioIOError

from pipeline.errors import Refusal
from pipeline.redact import redact

SILENCE = 30.0
"""Seconds without a byte after which a request is given up, and tried again."""
RETRIES = 4
"""Times that GDAL tries a request to read again, after 0.5 s and waits that double, and chance."""
BUDGET = 120.0
"""Seconds in which a request to write is tried again, after waits as long and as chancy, and in
which a store is asked again."""
TRIES = 3
"""Times that a raster is opened, or a part of it read, until that has failed."""
FORGETFUL = {
    "CPL_VSIL_CURL_NON_CACHED": "/vsis3/:/vsigs/:/vsiaz/:/vsicurl/",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_TIMEOUT": "1",
}
"""GDAL's options to drop what it keeps of a file when that is closed; no answer is waited for."""
_LASTING = re.compile(r"code: 4(?!08|29)\d\d")
"""What a server says of a request that is wrong, and not of its own state."""
_BUSY = {408, 429}
"""Of the answers below 500 those of a server's own state."""
_UNKNOWN = 501
"""Of those above it what no other try changes: a server that knows no such request, as to write."""
_PASSING = re.compile(r"Connect|Timeout|ServiceRe(quest|sponse)|Transport|Payload")
_SECURED = re.compile(r"SSL|Certificate")
"""In the names of errors on the way to a store: of a network, and of whom to trust in it."""
_ON_THE_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ESTALE}
_UNREACHED = re.compile(r"HTTP response code on|IO error")
_SAID_BY_A_STORE = (
    CPLE_HttpResponseError,
    CPLE_AWSError,
    CPLE_AWSBucketNotFoundError,
    CPLE_AWSObjectNotFoundError,
    CPLE_AWSAccessDeniedError,
    CPLE_AWSInvalidCredentialsError,
    CPLE_AWSSignatureDoesNotMatchError,
)
Found = TypeVar("Found")


def endpoint() -> str | None:
    """Where S3 is, if not at AWS: AWS's own variables, which boto3 and s3fs read as well."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def unsigned() -> bool:
    """Whether requests to S3 go without a name, as of public buckets: GDAL's own variable."""
    return os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("yes", "true", "1")


def patience_options() -> dict[str, str]:
    """How long GDAL waits for a server, and how often it asks again, in GDAL's words."""
    return {
        "GDAL_HTTP_MAX_RETRY": f"{RETRIES}",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_CONNECTTIMEOUT": f"{SILENCE:.0f}",
        "GDAL_HTTP_LOW_SPEED_TIME": f"{SILENCE:.0f}",
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    }


def endpoint_options() -> dict[str, str]:
    """The same in GDAL's words."""
    if not (url := endpoint()):
        return {}
    place = urlsplit(url)
    return {
        "AWS_S3_ENDPOINT": place.netloc,
        "AWS_HTTPS": "YES" if place.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


class OutOfReach(RasterioIOError):  # type: ignore[misc]
    """What belongs to a raster could not be reached: it must not be taken for absent."""


def unreached(said: list[str]) -> OutOfReach | None:
    """The first of GDAL's warnings that is of no answer, or of half of one."""
    found = (text for text in said if _UNREACHED.search(text))
    return next((OutOfReach(f"what may lie beside it ({text})") for text in found), None)


def network(error: BaseException) -> bool:
    """Whether an error of rasterio is what GDAL heard of a network or a store, not of a file."""
    return isinstance(error, OutOfReach) or isinstance(error.__context__, _SAID_BY_A_STORE)


def lasting(error: BaseException) -> bool:
    """Whether another try will meet the same: what is refused, no such object, no access."""
    if isinstance(error, OutOfReach):
        return False
    if isinstance(error, Refusal):
        return True
    if isinstance(error.__context__, (CPLE_HttpResponseError, CPLE_AWSError)):
        return _LASTING.search(str(error)) is not None
    return network(error)


def patiently(
    attempt: Callable[[], Found],
    again: Callable[[], None],
    hopeless: Callable[[BaseException], bool] = lambda _: False,
) -> Found:
    """The answer of an attempt, made up to ``TRIES`` times; between them ``again`` is called.

    Raises what the last raises, or one that is hopeless.
    """
    for count in range(1, TRIES):
        try:
            return attempt()
        except (RasterioIOError, Refusal) as error:
            if hopeless(error):
                raise
        again()
        time.sleep(random.uniform(0.5, 1) * count)
    return attempt()


def asked(ask: Callable[[], Found], forget: Callable[[], None]) -> Found:
    """What a store of fsspec answers, asked up to ``TRIES`` times, and not again after ``BUDGET``.

    Raises what it raises where it refuses or knows no such object, and where there is no driver for
    it (ValueError, ImportError); OutOfReach where it fails.
    """

    def attempt() -> Found:
        try:
            return ask()
        except (Refusal, ValueError, ImportError):
            raise
        except Exception as error:  # each store has its own
            if refused(error):
                raise
            raise OutOfReach(" ".join(str(error).split())) from error

    until = time.monotonic() + BUDGET

    def hopeless(error: BaseException) -> bool:
        return not isinstance(error, OutOfReach) or time.monotonic() > until

    return patiently(attempt, forget, hopeless)


def failed(error: BaseException, rule: str, fix: str) -> Exception:
    """What is raised of a store's error: a Refusal, or ConnectionError where it may pass."""
    code = None if isinstance(error, TimeoutError) else _answer(error) or _botocore(error)
    if code is None:
        kinds = [kind.__name__ for one in (error.__cause__, error) for kind in type(one).__mro__]
        may_pass = any(map(_PASSING.search, kinds)) and not any(map(_SECURED.search, kinds))
        may_pass |= isinstance(error, OSError) and error.errno in _ON_THE_WAY
    else:
        may_pass = (code >= 500 and code != _UNKNOWN) or code in _BUSY
    if may_pass:
        return ConnectionError(redact(f"{rule}, and is out of reach: {error}"))
    return Refusal(rule, error, fix)


def _botocore(error: BaseException) -> int | None:
    """The status in botocore's error, which s3fs gives as the cause of its own."""
    said = (getattr(one, "response", None) for one in (error.__cause__, error))
    about = next((one for one in said if isinstance(one, dict)), {}).get("ResponseMetadata", {})
    code = about.get("HTTPStatusCode")
    return code if isinstance(code, int) else None


def _answer(error: BaseException) -> int | None:
    """The status that a store answered with, where its error says one."""
    names, said = ("status", "status_code", "code"), (error.__cause__, error)
    codes = (getattr(one, name, None) for one in said for name in names)
    return next((code for code in codes if isinstance(code, int)), None)


def refused(error: BaseException) -> bool:
    """Whether a store answered, and that there is no such object or no leave to see it."""
    if (told := _answer(error)) is not None:
        return 400 <= told < 500 and told not in _BUSY
    # fsspec's web server is not found, whatever failed; Google's store, forbidden, names no code.
    by_web = type(error.__cause__).__module__.startswith("aiohttp")
    missing = isinstance(error, (FileNotFoundError, PermissionError)) and not by_web
    return missing or str(error).startswith("Forbidden")
