"""NumPy's archives that others made, which may be anything."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import Refusal


@contextmanager
def readable(rule: str, name: object, fix: str) -> Iterator[None]:
    """Raise Refusal where an archive that is read within is not one, is cut, or holds other things.

    NumPy, zipfile and what they unpack raise whatever comes of a broken byte.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(rule, f"{name}: {error or type(error).__name__}", fix) from error
