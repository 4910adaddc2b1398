"""The error a user can mend, and the one that is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from pipeline.redact import redact


class Refusal(ValueError):
    """Input or settings the pipeline will not work on.

    Its text is one line that says the rule, the offending value and the fix, without secrets.
    """

    def __init__(self, rule: str, value: object, fix: str) -> None:
        # What it is made of, so that it passes between processes.
        texts = (" ".join(str(text).splitlines()) for text in (rule, value, fix))
        super().__init__(*map(redact, texts))

    def __str__(self) -> str:
        return "{}; got {}. {}".format(*self.args)


class Busy(Refusal):
    """Another run is writing the cube: nothing is wrong, and later it is free."""


class Changed(Refusal):
    """An input is not what its cube was begun with."""


class Stopped(Exception):
    """A run ended early because it was told to; what it finished is stored and can be resumed."""


@contextmanager
def by_itself() -> Iterator[None]:
    """Raise what is raised within without its causes.

    Rasterio's do not pass between processes, and hold whole addresses, which logs would show.
    """
    try:
        yield
    except BaseException as error:
        error.__cause__ = error.__context__ = None
        raise


def heed(stop: Event | None) -> None:
    """Raise Stopped once ``stop`` is set."""
    if stop is not None and stop.is_set():
        raise Stopped


def refuse_unlike(what: str, found: object, wanted: object) -> None:
    """Raise Refusal where a reconstructor's wavelengths, or its answer's shape, do not fit."""
    if found != wanted:
        raise Refusal(
            f"a reconstructor's {what} fit", f"{found} for {wanted}", "Give one that fits."
        )


@contextmanager
def parsed(rule: str, name: object, fix: str) -> Iterator[None]:
    """Raise Refusal where a file that is read within is not one, is cut, or holds other things.

    A damaged file fails in as many ways as it has bytes, of NumPy's archives and HDF5 alike.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(rule, f"{name}: {type(error).__name__}: {error}", fix) from None
