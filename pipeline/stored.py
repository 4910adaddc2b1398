"""A raster's file by fsspec: its bytes, and what its store says of what lies beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, BinaryIO, TypeVar

import fsspec

from pipeline import reach
from pipeline.guard import BESIDE
from pipeline.redact import redact

Found = TypeVar("Found")


class Stored:
    """A file by its URI. Nothing is asked of its store before it is needed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system. Raises ValueError or ImportError where there is no driver."""
        if self.uri.startswith("/vsi"):
            raise ValueError(f"{self.uri} is GDAL's alone")
        return fsspec.core.url_to_fs(self.uri)[0]

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
        return {ending: about for ending in endings if (about := self._about(ending))}

    def _about(self, ending: str) -> dict[str, Any] | None:
        try:
            about: dict[str, Any] = reach.asked(
                lambda: self.fs.info(self.path + ending), self.fs.invalidate_cache
            )
        except reach.OutOfReach as error:
            raise self._away(error) from None
        except Exception as error:  # each store has its own
            # fsspec's holds the frames that hold it, and so whoever asked, until garbage is sought.
            error.__traceback__ = None
            return None
        return about

    def _away(self, error: Exception) -> ConnectionError:
        # Its text may hold a signed URL.
        return ConnectionError(redact(f"{self.uri} is out of reach: {error}"))

    def fetch(self, path: str) -> None:
        """Copy the file, and the mask and notes beside it."""
        self.fs.get_file(self.path, path)
        for ending in self.beside():
            self.fs.get_file(self.path + ending, path + ending)
