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
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.session import AWSSession, DummySession, Session

from pipeline import DECIDED, reach
from pipeline.damage import heard, opened
from pipeline.errors import Refusal
from pipeline.guard import refuse_hidden, refuse_many_tiles
from pipeline.headers import JP2
from pipeline.redact import redact
from pipeline.stored import Stored
from pipeline.tiled import into_tiles
from pipeline.uri import gdal_path, is_file, local_path

# Set for the process, not in rasterio.Env: an Env that one thread leaves resets it for all.
os.environ.setdefault("GDAL_CACHEMAX", "256")  # MB

JP2_DRIVER = "JP2OpenJPEG"
DRIVERS = ("GTiff", "COG", JP2_DRIVER, "PNG", "JPEG")
_READ = "the input is a readable GeoTIFF, COG, JPEG 2000, PNG or JPEG image"
_silence = threading.Lock()
_met: set[str] = set()  # what this process has begun to read, of which GDAL keeps what came
Found = TypeVar("Found")


class Source:
    """One raster by its URI. Pickles to the URI; a temporary copy goes with the object."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._stored = Stored(uri)
        self._copied: Path | None = None
        self._tiled = self._jp2 = False
        self._copying = threading.Lock()
        if gdal_path(uri) is None and self._starts_as_jp2():
            # GDAL would read the whole file through fsspec for each part of it.
            self._copy(self._stored.fetch)

    def __reduce__(self) -> tuple[type[Source], tuple[str]]:
        return Source, (self.uri,)

    @property
    def local(self) -> bool:
        """Whether reading takes no network: a local file or a temporary copy."""
        return self._there is not None

    @property
    def _there(self) -> Path | None:
        return self._copied or local_path(self.uri)

    @property
    def streams(self) -> bool:
        """Whether bytes come through one fsspec file, not through GDAL's own readers."""
        return self._copied is None and gdal_path(self.uri) is None

    @property
    def size(self) -> int | None:
        """Bytes of the file; None where fsspec has no driver for the URI."""
        return self._stored.size

    def open(self) -> DatasetReader:
        """Open the raster; the caller closes it.

        Raises Refusal where it is none of ours, OSError where it is out of reach.
        """
        path = local_path(self.uri)
        if path is not None and not (is_file(self.uri) and path.stat().st_size):
            raise Refusal(
                "the input is an existing file with bytes in it", self.uri, "Check the path."
            )
        if there := self._there:
            refuse_hidden(there)
            with there.open("rb") as file:
                refuse_many_tiles(file, self.uri)
        try:
            if self.local:
                return self._open()
            return reach.patiently(self._open, self.forget, reach.lasting)
        except (RasterioIOError, FileNotFoundError, UnicodeEncodeError) as error:
            self.forget()
            if reach.lasting(error):
                rule, fix = "the input can be reached", f"Check name and credentials ({error})."
            elif reach.network(error):
                # Its text may hold a signed URL.
                raise ConnectionError(redact(f"{self.uri} is out of reach: {error}")) from None
            else:
                rule, fix = _READ, f"Convert it with gdal_translate ({error})."
            raise Refusal(rule, self.uri, fix) from None  # logs show causes, with whole addresses

    def look(self, find: Callable[[BinaryIO], Found]) -> Found | None:
        """What is found in the raster's bytes; None where fsspec has no driver for the URI.

        Raises ConnectionError where they are out of reach.
        """
        if not (there := self._there):
            return self._stored.look(find)
        with there.open("rb") as file:
            return find(file)

    def begin(self) -> None:
        """Read what is there now: since an earlier job of this process it may be another."""
        if self.uri in _met:
            self.forget()
        _met.add(self.uri)

    def forget(self) -> None:
        """Let GDAL forget a remote raster: of an answer that was cut short it keeps what came."""
        if self.local or self.streams:
            return
        with self.environment(**reach.FORGETFUL), without_place(), suppress(RasterioIOError):
            self._by_drivers().close()

    def _open(self) -> DatasetReader:
        with self.environment(), without_place(), heard() as said:
            dataset = self._through_fsspec() if self.streams else self._by_gdal()
        if not self.local and (unheard := reach.unreached(said)):
            dataset.close()
            raise unheard
        opened(dataset, said)
        return dataset

    def _by_gdal(self) -> DatasetReader:
        try:
            return self._by_drivers()
        except RasterioIOError as error:
            if self.local or self._jp2 or reach.network(error):
                raise
        # GDAL makes room for a JPEG 2000 image's tiles when it opens it.
        self._refuse_many_tiles()
        dataset = self._by_drivers(jp2=True)
        self._jp2 = True
        return dataset

    def _by_drivers(self, jp2: bool = False) -> DatasetReader:
        """By all here; from afar by JPEG 2000's alone, or all but that."""
        name = str(self._there or gdal_path(self.uri))
        far = [each for each in DRIVERS if (each == JP2_DRIVER) == (jp2 or self._jp2)]
        # Not rasterio.open: in 1.4 it refuses the list of drivers that it documents.
        dataset = DatasetReader(name, driver=list(DRIVERS) if self.local else far, sharing=False)
        if not self.local:
            # Only when it is asked for its masks does GDAL look for one beside the raster.
            _ = dataset.mask_flag_enums
        return dataset

    def _through_fsspec(self) -> DatasetReader:
        def opener(path: str, mode: str = "rb") -> Any:
            return self._stored.fs.open(path, mode, cache_type="blockcache", block_size=2**16)

        failed: RasterioIOError | None = None
        for driver in DRIVERS:
            try:
                return rasterio.open(self._stored.path, driver=driver, opener=opener, sharing=False)
            except RasterioIOError as error:
                failed = failed or error
        raise failed or RasterioIOError(self.uri)

    @contextmanager
    def environment(self, **more: str) -> Iterator[None]:
        """GDAL's options and credentials for this raster, and ``more``, in this thread."""
        options = DECIDED if self.local else DECIDED | self._options
        with rasterio.Env(session=self._session, **options | more):
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
            "CPL_VSIL_CURL_CHUNK_SIZE": "4096",
            **reach.patience_options(),
            **(reach.endpoint_options() if isinstance(self._session, AWSSession) else {}),
        }

    def tile(self) -> None:
        """Go on with a temporary copy in tiles, of a format that is read from the top only."""
        with self._copying:
            if self._tiled:
                return
            if not self.local and "://" in self.uri:
                # The whole is needed, and so it comes in few large parts.
                self._copy(self._stored.fetch)
            raw = self._copied
            self._copy(self._transcode)
            self._tiled = True
            if raw:
                shutil.rmtree(raw.parent)

    def _transcode(self, path: str) -> None:
        with self.open() as dataset, self.environment(), without_place():
            into_tiles(dataset, path)

    def _copy(self, write: Callable[[str], None]) -> None:
        folder = tempfile.mkdtemp(prefix="r2h-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        write(f"{folder}/raster")
        self._copied = Path(folder, "raster")

    def _refuse_many_tiles(self) -> None:
        try:
            with self._stored.open() as file:
                refuse_many_tiles(file, self.uri)
        except Exception as error:  # each store has its own
            # GDAL may reach what fsspec does not, and says more of it where not.
            if isinstance(error, Refusal):
                raise

    def _starts_as_jp2(self) -> bool:
        try:
            with self._stored.fs.open(self._stored.path, "rb") as file:
                return bool(file.read(12).startswith(JP2))
        except (OSError, ValueError, ImportError) as error:
            raise Refusal("the input can be reached", self.uri, f"Check it ({error}).") from None


@contextmanager
def without_place() -> Iterator[None]:
    """Silence rasterio about rasters without a place; one thread at a time, filters are all's."""
    with _silence, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
