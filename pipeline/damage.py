"""What GDAL warns of while it reads pixels is damage: it makes up what it did not find."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from pipeline.errors import Refusal
from pipeline.redact import redact

_KIND = re.compile(r"^CPLE_\w+(:| in )")
_HARMLESS = re.compile(
    r'TIFFFetchNormalTag:.*"([XY]Resolution|ResolutionUnit|DateTime|Software|Artist|HostComputer'
    r'|Make|Model|ImageDescription|Copyright|DocumentName|PageNumber|GDALMetadata|RichTIFFIPTC)"'
    r"|TIFFReadDirectory:Warning, Unknown field with tag"
    r"|ExtraSamples doesn't match SamplesPerPixel"
    r"|HTTP error code: \d+ - .*Retrying again in"
    r"|Request for \d+-\d+ failed with response_code=(429|5\d\d)"
)
"""Of a TIFF's tags that do not decide the pixels; by others, as Predictor, libtiff goes on all the
same, to other pixels. And of a server that was busy: GDAL asks again, range by range where it asked
for several at once, and fails where it must."""
_at_open: WeakKeyDictionary[DatasetReader, set[str]] = WeakKeyDictionary()
"""What libpng told as each PNG was opened: of chunks before the pixels."""


class _Ear(logging.Handler):
    """Hears rasterio's log, where GDAL's warnings come, each in the thread that reads."""

    here = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        heard: list[str] | None = getattr(self.here, "heard", None)
        if heard is not None:
            heard.append(record.getMessage())


def _bare(record: logging.LogRecord) -> bool:
    """Take secrets out of a line, whoever shows it: GDAL's hold whole addresses."""
    record.msg, record.args = redact(record.getMessage()), None
    return True


_ear = _Ear(logging.WARNING)
for _name in ("rasterio._env", "rasterio._err"):
    logging.getLogger(_name).addHandler(_ear)
    logging.getLogger(_name).addFilter(_bare)
    # Whoever wants rasterio quiet must not make it deaf to damage.
    logging.getLogger(_name).setLevel(logging.WARNING)


@contextmanager
def heard() -> Iterator[list[str]]:
    """What GDAL warns of, or passes over, while this thread is within."""
    before = getattr(_ear.here, "heard", None)
    said = _ear.here.heard = list[str]()
    try:
        yield said
    finally:
        _ear.here.heard = before


def opened(dataset: DatasetReader, said: list[str]) -> None:
    """Keep what was heard as a raster was opened.

    Raises Refusal for a JPEG of whose header libjpeg warned: GDAL passes on one of its warnings
    and no more, so that nobody would hear of an end that is missing.
    """
    texts = {_KIND.sub("", text) for text in said}
    if dataset.driver == "JPEG" and (odd := [text for text in texts if "libjpeg" in text]):
        fix = "Write it anew, with jpegtran -copy all."
        raise Refusal("a JPEG's header is in order", f"{dataset.name} ({odd[0]})", fix)
    _at_open[dataset] = {text for text in texts if text.startswith("libpng:")}


@contextmanager
def undamaged(dataset: DatasetReader | None = None) -> Iterator[None]:
    """Raise RasterioIOError where GDAL fails, or warns, while this thread reads within.

    A block of JPEG that ends early or is smaller than the header says is no error to GDAL: what is
    lacking is grey, or what memory held before. It warns of a block once; whoever reads again opens
    the raster again. What libpng warned of when it opened the ``dataset`` stands before the pixels;
    it comes back to that where it reads backwards.
    """
    try:
        with heard() as said:
            yield
    except CPLE_BaseError as error:
        raise RasterioIOError(str(error)) from error
    known = set() if dataset is None else _at_open.get(dataset, set())
    for text in said:
        if _KIND.sub("", text) not in known and not _HARMLESS.search(text):
            raise RasterioIOError(text)


@contextmanager
def readable(uri: str) -> Iterator[None]:
    """Raise Refusal where a header that is asked something within is broken, or not in UTF-8.

    Found by fuzzing: broken keys of a GeoTIFF raise at whatever is asked of it next. Rasterio takes
    names of bands, units and a CRS for UTF-8, and raises where they are not.
    """
    try:
        yield
    except CPLE_BaseError as error:
        rule = "the input's header is whole"
        raise Refusal(rule, f"{uri} ({error})", "Get the file again.") from error
    except UnicodeDecodeError as error:
        rule = "names of bands, units and a CRS are in UTF-8"
        fix = "Give them others, with gdal_edit.py, or gdal_translate -a_srs EPSG:..."
        raise Refusal(rule, f"{uri} with {error.object[:60]!r}", fix) from error
