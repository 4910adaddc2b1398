"""A raster's file by fsspec: its bytes, and what its store says of what lies beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

import fsspec
import numpy as np
from affine import Affine, loadsw

from pipeline import reach
from pipeline.errors import Refusal
from pipeline.guard import BESIDE, worlds, worlds_beside
from pipeline.redact import redact

Found = TypeVar("Found")
_WORLD = 4096
"""Bytes of a world file that are read: six lines, and room for more."""


class Stored:
    """A file by its URI. Nothing is asked of its store before it is needed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system. Raises ValueError or ImportError where there is no driver."""
        if self.uri.startswith("/vsi"):
            raise ValueError(f"{self.uri} is GDAL's alone")
        if not self.uri.startswith("s3://"):
            return fsspec.core.url_to_fs(self.uri)[0]
        # s3fs asks five times five times, botocore each time five times: half an hour of silence.
        # This one is asked by `reach.asked`, and is no other's, as it has options of its own.
        waits = {"connect_timeout": reach.SILENCE, "read_timeout": reach.SILENCE}
        fs = fsspec.core.url_to_fs(self.uri, config_kwargs=waits)[0]
        fs.retries = 1
        return fs

    @cached_property
    def path(self) -> str:
        """Its name there."""
        return str(fsspec.core.url_to_fs(self.uri)[1])

    @property
    def size(self) -> int | None:
        """Bytes of the file; None where fsspec has no driver for the URI, or is refused."""
        try:
            return int(self.fs.size(self.path)) or None
        except (ValueError, ImportError, TypeError):
            return None
        except Exception as error:  # each store has its own
            if reach.refused(error):
                return None
            raise

    def open(self) -> BinaryIO:
        """The file, of which a header's few bytes are wanted: in small blocks, which are kept."""
        file: BinaryIO = self.fs.open(self.path, cache_type="blockcache", block_size=2**12)
        return file

    def look(self, find: Callable[[BinaryIO], Found]) -> Found | None:
        """What is found in the file; None where fsspec has no driver for the URI, or is refused.

        Raises ConnectionError where it is out of reach.
        """

        def attempt() -> Found:
            with self.open() as file:
                return find(file)

        try:
            return reach.asked(attempt, self.fs.invalidate_cache)
        except (ValueError, ImportError):
            return None
        except Exception as error:  # each store has its own
            if reach.refused(error):
                return None  # GDAL has it: under another name, or with other credentials
            raise self._away(error) from None

    def beside(self) -> dict[str, dict[str, Any]]:
        """What the store says of a mask and notes beside the file, by ending, where they are there.

        What is refused is not there, as to GDAL. Raises ConnectionError where the server fails.
        """
        # What is put after a query would not name another file.
        endings = () if "?" in self.uri else BESIDE
        there = ((ending, self._about(self.path + ending)) for ending in endings)
        return {ending: about for ending, about in there if about}

    def world(self) -> Affine | None:
        """Pixel corner (col, row) to map (x, y), as a world file beside the file has it, or None.

        Raises Refusal where it cannot be read, ConnectionError where the server fails.
        """
        suffix = PurePosixPath(self.path).suffix
        # As in `beside`.
        for kind in () if "?" in self.uri else worlds(suffix):
            name = f"{self.path.removesuffix(suffix)}.{kind}"
            if (text := self._start(name)) is not None:
                return _six(text, name)
        return None

    def _about(self, name: str) -> dict[str, Any] | None:
        return self._if_there(lambda: self.fs.info(name))

    def _start(self, name: str) -> bytes | None:
        return self._if_there(lambda: self.fs.cat_file(name, start=0, end=_WORLD))

    def _if_there(self, ask: Callable[[], Found]) -> Found | None:
        try:
            return reach.asked(ask, self.fs.invalidate_cache)
        except reach.OutOfReach as error:
            raise self._away(error) from None
        except Exception as error:  # each store has its own
            # fsspec's holds the frames that hold it, and so whoever asked, until garbage is sought.
            error.__traceback__ = None
            return None

    def _away(self, error: Exception) -> ConnectionError:
        # Its text may hold a signed URL.
        return ConnectionError(redact(f"{self.uri} is out of reach: {error}"))

    def fetch(self, path: str) -> None:
        """Copy the file, and the mask and notes beside it."""
        fs, own = fsspec.core.url_to_fs(self.uri)  # which asks again for each part
        for ending in ("", *self.beside()):
            fs.get_file(own + ending, path + ending)


def refuse_no_world(path: Path) -> None:
    """Raise Refusal where a world file beside a local image is none: GDAL passes over it."""
    for name in worlds_beside(path):
        with name.open("rb") as file:
            _six(file.read(_WORLD), str(name))


def is_place(found: Affine) -> bool:
    """Whether a transform is of finite numbers, and goes both ways."""
    return bool(np.isfinite(np.array(found, float)).all() and found.determinant)


def _six(text: bytes, name: str) -> Affine:
    """The transform of a world file, whose numbers are of the centre of the first pixel."""
    try:
        # A decimal comma is one to GDAL too.
        found = loadsw(" ".join(text.decode().replace(",", ".").split()[:6]))
    except ValueError:
        found = Affine.scale(0)
    if not is_place(found):
        rule, fix = "a world file holds the six numbers of a place", "Mend it, or delete it."
        raise Refusal(rule, name, fix)
    return found
