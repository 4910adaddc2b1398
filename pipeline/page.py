"""One self-contained HTML file: text, tables and figures, no script and no network.

Whatever comes from outside is escaped, and the page forbids its browser to run or fetch anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

Table = Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG file and what it shows."""

    png: bytes
    caption: str
    wide: bool = False

    @property
    def source(self) -> str:
        """The file as an address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page, under a title."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    rows: Table = ()
    head: Sequence[str] = ()


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The HTML of a page."""
    style = (files("pipeline") / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("pipeline") / "page.html").read_text("utf-8"))
    return template.render(title=title, lead=lead, sections=sections, style=style, digest=digest)


def flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows: a name with dots, and the value as text."""
    rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{before}{name}.")
        else:
            rows.append((f"{before}{name}", number(value)))
    return rows


def number(value: object) -> str:
    """A value as text, numbers to four digits."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
