"""Command-line options made from settings, so that a setting is written down once."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from flows.settings import Settings

GIVEN = "given"
"""The parameter of a command that takes the options, None where one is not given."""


def with_options(kind: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each of the settings that it does not declare itself.

    Values reach the settings as text and are checked there, so that a command line, a config file
    and a flow's parameters are refused in the same words.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        names = [name for name in kind.model_fields if name not in own and _plain(kind, name)]

        @wraps(command)
        def run(**values: Any) -> None:
            command(**{GIVEN: {name: values.pop(name) for name in names}}, **values)

        kept = [parameter for name, parameter in own.items() if name != GIVEN]
        made = [_parameter(name, kind.model_fields[name]) for name in names]
        run.__signature__ = inspect.Signature(kept + made)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in kept + made}
        return run

    return decorate


def _plain(kind: type[Settings], name: str) -> bool:
    """Whether a setting fits on a command line: tables and lists of names belong in a file."""
    annotation = str(kind.model_fields[name].annotation)
    return not any(word in annotation for word in ("dict", "flows.", "..."))


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    silent = field.is_required() or field.default is None or field.default is False
    shown = f"{field.default:g}" if isinstance(field.default, float) else field.default
    default = "" if silent else f" (default {shown})"
    text = f"{field.description}{default}"
    if field.annotation is bool:
        flag = f"--{name.replace('_', '-')}"
        both = f"{flag}/--no{flag[1:]}" if field.default else flag
        option = typer.Option(both, help=text, show_default=False)
        annotation: Any = Annotated[bool | None, option]
    else:
        metavar = name.rsplit("_", maxsplit=1)[-1].upper()
        annotation = Annotated[str | None, typer.Option(help=text, metavar=metavar)]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)
