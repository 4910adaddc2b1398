"""What the cube of each input of a batch is called."""

from collections.abc import Mapping
from string import Formatter
from unicodedata import category

from pipeline.errors import Refusal
from pipeline.uri import named_path

Fields = Mapping[str, str | int]
"""What a template may say of an input, by name."""


class OddSign(Refusal):
    """A name that no cube can have."""


def destination(output: str, template: str, source: str, fields: Fields) -> str:
    """Where the cube of a source goes: below ``output``, by a template of its fields.

    Fields are the source's stem and parent, and those that are given.

    Raises Refusal for an output that is no place of its own, for a name that would leave it, and
    for a field that is not there, or a stem where the source has none.
    """
    # "" and "/" are the root of this machine; "s3://" without its slashes would be a local "s3:".
    if not output.rpartition("://")[2].strip("/ "):
        fix = "Give `output` a folder's path, or a URI with its bucket."
        raise Refusal("a batch's output is a folder or a place in a bucket", repr(output), fix)
    path = named_path(source)
    name = _filled(template, {"stem": path.stem, "parent": path.parent.name, **fields}, source)
    outside = any(part in ("", ".", "..") for part in name.split("/"))
    if outside:
        rule, fix = "a cube's name stays below the output", "Change `name`, or the input's."
        raise Refusal(rule, name, fix)
    if odd := [s for s in name if s in '\\:*?"<>|#' or category(s) in ("Cc", "Cs")]:
        rule = "a cube's name stays below the output, with no sign that URIs or stores read"
        raise OddSign(rule, f"{name} with {odd[0]!r} of {source}", "Rename it, or name by {index}.")
    return f"{output.rstrip('/')}/{name}"


def _filled(template: str, known: Fields, source: str) -> str:
    """A template with the values of its fields."""
    try:
        asked = [(n, form or "") for _, n, form, _ in Formatter().parse(template) if n is not None]
        if any("{" in form for _, form in asked):
            raise ValueError("a field in a field")
        if unknown := {name for name, _ in asked} - known.keys():
            rule = f"a name's fields are among {', '.join(known)} for {source}"
            raise Refusal(rule, sorted(unknown), "Change `name`.")
        if "stem" in dict(asked) and not known["stem"]:
            raise Refusal("a cube is named after its input's file", source, "Change `name`.")
        return template.format(**known)
    except ValueError as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal("a name is a template", f"{template} ({error})", "Use {stem}.zarr.") from None
