"""From templates to HTML: what names and metadata hold is text, never markup."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import escaped
from .columns import Column

__all__ = ["render", "shown_number"]

#: Longest text from a file that is shown in full [characters].
_MOST_TEXT = 600


def render(template: str, **values: Any) -> Markup:
    """Return a template filled with values; all text in them is escaped but `Markup`."""
    return Markup(_environment().get_template(template).render(**values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(number=shown_number, percent=_percent)
    return environment


def _shown(value: Any) -> Any:
    """Show control characters and directions of writing in text, and cut what is too long."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    rest = len(value) - _MOST_TEXT
    return escaped(value if rest <= 0 else f"{value[:_MOST_TEXT]}… ({rest} more characters)")


def shown_number(column: Column, value: float | int | None) -> Markup:
    """Return a number as people read it, with what it is exactly beside it for programs."""
    if value is None:
        return Markup('<span class="none" title="not in the file">–</span>')
    text = f"{value:,.{column.decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return Markup('<data value="{}">{}</data>').format(repr(value), text)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3g}" if whole else "0"
