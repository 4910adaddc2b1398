"""What is wrong with settings, in our words."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.errors import Refusal


def refusal(kind: type[BaseModel], error: Mapping[str, Any], given: list[str]) -> Refusal:
    """Of an error of pydantic's: the setting and what it is, or which there are.

    ``given`` are the names of what was set; they tell where no one setting is wrong by itself.
    """
    said = error["msg"].removeprefix("Value error, ")  # pydantic's, of what we say ourselves
    names, about = [], "Leave one out, or change it."
    for part in error["loc"]:
        names.append(str(part))
        if part not in kind.model_fields:
            inner = [name for name, field in kind.model_fields.items() if part in _inner(field)]
            known = f"Known settings: {', '.join(kind.model_fields)}."
            about = f"It is a setting of [{inner[0]}]." if inner else known
            break
        field = kind.model_fields[part]
        about = " ".join((field.description or "").split())
        if not _inner(field):
            break  # what follows is pydantic's: which of several values, or of which kind
        kind = cast(type[BaseModel], field.annotation)
    if not names:
        return Refusal(said, ", ".join(n for n in given if n in said) or ", ".join(given), about)
    key, value = ".".join(names), repr(error["input"])
    return Refusal(f"setting '{key}': {said[0].lower()}{said[1:]}", value, about)


def _inner(field: FieldInfo) -> Mapping[str, FieldInfo]:
    """The settings that a setting has itself."""
    kind = field.annotation
    whole = isinstance(kind, type) and issubclass(kind, BaseModel)
    return cast(type[BaseModel], kind).model_fields if whole else {}
