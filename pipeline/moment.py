"""When a picture was taken, in UTC, and who says so."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import Refusal

if TYPE_CHECKING:
    # The command checks a time before it needs rasterio, which takes long to import.
    from rasterio.io import DatasetReader

_EXIF = "%Y:%m:%d %H:%M:%S"
_TAGS = (
    ("EXIF_DateTimeOriginal", "EXIF_OffsetTimeOriginal"),
    ("TIFFTAG_DATETIME", None),
    ("EXIF_DateTime", "EXIF_OffsetTime"),
)


class Moment(NamedTuple):
    """A time, and where it is from."""

    utc: datetime
    source: str
    """Says it where no time zone was given, and UTC is taken."""

    @property
    def text(self) -> str:
        """RFC 3339."""
        return self.utc.isoformat().replace("+00:00", "Z")


def given(text: str) -> Moment:
    """A moment in ISO 8601. Raises Refusal for what is none."""
    try:
        return _moment(datetime.fromisoformat(text), "given")
    except (ValueError, OverflowError) as error:
        fix = "Give it like 2026-07-01T10:30:00Z."
        raise Refusal("a datetime is in ISO 8601", text, fix) from error


def as_given(text: str) -> str:
    """A moment in ISO 8601 in one way of writing: in UTC, or without a zone where none is given.

    Raises Refusal for what is none.
    """
    utc = given(text).text
    return utc if datetime.fromisoformat(text).tzinfo else utc.removesuffix("Z")


def recorded(dataset: DatasetReader) -> Moment | None:
    """What a raster's EXIF or TIFF tags say; None where they say nothing that can be read."""
    tags = {**dataset.tags(), **dataset.tags(ns="EXIF")}
    for name, offset in _TAGS:
        # In the first year a time may have none in UTC.
        with suppress(ValueError, OverflowError):
            local = datetime.strptime(tags.get(name, "").strip("\0 "), _EXIF)
            return _moment(local.replace(tzinfo=_zone(tags.get(offset or "", ""))), name)
    return None


def _moment(time: datetime, source: str) -> Moment:
    if time.tzinfo is None:
        return Moment(time.replace(tzinfo=UTC), f"{source}, no time zone: taken as UTC")
    return Moment(time.astimezone(UTC), source)


def _zone(offset: str) -> timezone | None:
    """EXIF 2.31 writes +02:00."""
    try:
        hours, minutes = offset.strip("\0 ").split(":")
        size = timedelta(hours=abs(int(hours)), minutes=int(minutes))
        return timezone(-size if hours.startswith("-") else size)
    except (ValueError, OverflowError):
        return None
