"""Rasters behind URIs, opened by GDAL: on disk, in an object store, on a web server, anywhere.

GDAL reads s3, gs, az and http(s) itself, by range requests. What fsspec knows beyond those goes
through its files. One identity a store: AWS credentials are boto3's, as they are for writing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.session import AWSSession, DummySession, Session

from pipeline.damage import undamaged
from pipeline.errors import Refusal
from pipeline.guard import JP2, refuse_hidden, refuse_many_tiles

# Set for the process, not in rasterio.Env: an Env that one thread leaves resets it for all.
os.environ.setdefault("GDAL_CACHEMAX", "256")  # MB
# Decoding a PNG at one go, GDAL 3.10 takes what a cut file lacks from memory, and says nothing.
os.environ["GDAL_PNG_WHOLE_IMAGE_OPTIM"] = "NO"

DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG")
VSI = {
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "gcs": "/vsigs/",
    "az": "/vsiaz/",
    "abfs": "/vsiaz/",
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
}
SILENCE = 30.0
"""Seconds without a byte after which a request is given up, and tried again."""
RETRIES = 4
"""Times that GDAL tries a request to read again, after 0.5 s and waits that double, and chance."""
BUDGET = 120.0
"""Seconds in which a request to write is tried again, after waits as long and as chancy."""
_READ = "the input is a readable GeoTIFF, COG, JPEG 2000, PNG or JPEG image"
_silence = threading.Lock()


def local_path(uri: str) -> Path | None:
    """The file that a path or file URI names; None for anything else."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri or uri.startswith("/vsi") else Path(uri)


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


class Source:
    """One raster by its URI. Pickles to the URI; a temporary copy goes with the object."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._copied: str | None = None
        self._tiled = False
        self._copying = threading.Lock()
        if gdal_path(uri) is None and self._starts_as_jp2():
            # GDAL would read the whole file through fsspec for each part of it.
            self._copy(lambda path: self._fs.get_file(self._path, path))

    def __reduce__(self) -> tuple[type[Source], tuple[str]]:
        return Source, (self.uri,)

    @property
    def local(self) -> bool:
        """Whether reading takes no network: a local file or a temporary copy."""
        return self._copied is not None or local_path(self.uri) is not None

    @property
    def streams(self) -> bool:
        """Whether bytes come through one fsspec file, not through GDAL's own readers."""
        return self._copied is None and gdal_path(self.uri) is None

    @property
    def size(self) -> int | None:
        """Bytes of the file; None where fsspec has no driver for the URI."""
        try:
            return int(self._fs.size(self._path)) or None
        except (ValueError, ImportError, TypeError):
            return None

    def open(self) -> DatasetReader:
        """Open the raster; the caller closes it. Raises Refusal where it is none of ours."""
        path = local_path(self.uri)
        if path is not None and not (is_file(self.uri) and path.stat().st_size):
            raise Refusal(
                "the input is an existing file with bytes in it", self.uri, "Check the path."
            )
        if path is not None:
            refuse_hidden(path)
        if there := self._copied or path:
            refuse_many_tiles(Path(there))
        with self.environment(), without_place():
            try:
                return self._through_fsspec() if self.streams else self._by_gdal()
            except (RasterioIOError, FileNotFoundError, UnicodeEncodeError) as error:
                fix = f"Convert it with gdal_translate ({error})."
                raise Refusal(_READ, self.uri, fix) from error

    def _by_gdal(self) -> DatasetReader:
        # Not rasterio.open: in 1.4 it refuses the list of drivers that it documents.
        name = self._copied or local_path(self.uri) or gdal_path(self.uri)
        return DatasetReader(name, driver=list(DRIVERS), sharing=False)

    def _through_fsspec(self) -> DatasetReader:
        def opener(path: str, mode: str = "rb") -> Any:
            return self._fs.open(path, mode, cache_type="blockcache", block_size=2**16)

        failed: RasterioIOError | None = None
        for driver in DRIVERS:
            try:
                return rasterio.open(self._path, driver=driver, opener=opener, sharing=False)
            except RasterioIOError as error:
                failed = failed or error
        raise failed or RasterioIOError(self.uri)

    @contextmanager
    def environment(self) -> Iterator[None]:
        """GDAL's options and credentials for this raster, in this thread."""
        with rasterio.Env(session=self._session, **({} if self.local else self._options)):
            yield

    @cached_property
    def _session(self) -> Session:
        aws = self.uri.startswith(("s3://", "/vsis3/"))
        return Session.aws_or_dummy() if aws and not self.local else DummySession()

    @property
    def _options(self) -> dict[str, str]:
        # Asking for the mask and metadata beside a file spares listing a bucket. Behind a query
        # there is nothing beside it: what is put after it would not name another file.
        beside = "EMPTY_DIR" if "?" in self.uri else "TRUE"
        return {
            "GDAL_DISABLE_READDIR_ON_OPEN": beside,
            "GDAL_HTTP_MAX_RETRY": f"{RETRIES}",
            "GDAL_HTTP_RETRY_DELAY": "0.5",
            "GDAL_HTTP_CONNECTTIMEOUT": f"{SILENCE:.0f}",
            "GDAL_HTTP_LOW_SPEED_TIME": f"{SILENCE:.0f}",
            "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
            "CPL_VSIL_CURL_CHUNK_SIZE": "4096",
            **(endpoint_options() if isinstance(self._session, AWSSession) else {}),
        }

    def tile(self) -> None:
        """Go on with a temporary copy in tiles, of a format that is read from the top only."""
        with self._copying:
            if self._tiled:
                return
            if not self.local and "://" in self.uri:
                # The whole is needed, and so it comes in few large parts.
                self._copy(lambda path: self._fs.get_file(self._path, path))
            raw = self._copied
            self._copy(self._transcode)
            self._tiled = True
            if raw:
                Path(raw).unlink()

    def _transcode(self, path: str) -> None:
        layout = {"tiled": True, "compress": "zstd", "zstd_level": 1, "bigtiff": "if_safer"}
        with self.open() as dataset, self.environment(), without_place():
            needed = dataset.width * dataset.height * dataset.count
            if needed > (free := shutil.disk_usage(Path(path).parent).free):
                rule = f"a large PNG or JPEG needs {needed / 1e9:.1f} GB of temporary disk"
                raise Refusal(rule, f"{free / 1e9:.1f} GB", "Set TMPDIR to a larger disk.")
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), undamaged():
                rasterio.shutil.copy(dataset, path, driver="GTiff", **layout)

    def _copy(self, write: Callable[[str], None]) -> None:
        folder = tempfile.mkdtemp(prefix="r2h-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        write(f"{folder}/raster")
        self._copied = f"{folder}/raster"

    @cached_property
    def _fs(self) -> fsspec.AbstractFileSystem:
        return fsspec.core.url_to_fs(self.uri)[0]

    @cached_property
    def _path(self) -> str:
        return str(fsspec.core.url_to_fs(self.uri)[1])

    def _starts_as_jp2(self) -> bool:
        try:
            with self._fs.open(self._path, "rb") as file:
                return bool(file.read(12).startswith(JP2))
        except (OSError, ValueError, ImportError) as error:
            raise Refusal("the input can be reached", self.uri, f"Check it ({error}).") from error


def endpoint() -> str | None:
    """Where S3 is, if not at AWS: AWS's own variables, which boto3 and s3fs read as well."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


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


@contextmanager
def without_place() -> Iterator[None]:
    """Silence rasterio about rasters that have no place, in one thread at a time.

    The warning filters that are set and restored belong to the process.
    """
    with _silence, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
