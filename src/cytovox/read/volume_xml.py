"""XML that files hold or that is beside them, parsed without a tree and without entities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ..errors import InputError
from .permissions import RefusedInputError

__all__ = ["parse_xml", "read_xml"]

#: Longest text that is parsed [characters].
_MAX_CHARACTERS = 2**28


def read_xml(path: Path) -> str:
    """Return the text of a file, if it is not longer than what is parsed."""
    if (size := path.stat().st_size) > _MAX_CHARACTERS:
        raise RefusedInputError(f"its XML has {size:,} bytes", path=path)
    return path.read_text(encoding="utf-8", errors="replace")


def parse_xml(
    text: str,
    path: Path,
    start: Callable[[tuple[str, ...], dict[str, str]], None],
    characters: Callable[[tuple[str, ...], str], None],
    hint: str | None = None,
) -> None:
    """Call functions for each element and for the text in it, in the order of the text."""
    place: list[str] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        place.append(tag.rpartition(":")[2])
        start(tuple(place), attributes)

    def refuse(*_: Any) -> None:
        raise RefusedInputError(
            "its XML declares a document type",
            path=path,
            hint="metadata do not need one; remove it",
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: place.pop()
    parser.CharacterDataHandler = lambda written: characters(tuple(place), written)
    parser.StartDoctypeDeclHandler = refuse
    if len(text) > _MAX_CHARACTERS:
        raise RefusedInputError(f"its XML has {len(text):,} characters", path=path)
    try:
        parser.Parse(text.strip(" \r\n\t\0\ufeff"), True)
    except expat.ExpatError as err:
        raise InputError(f"its XML cannot be parsed: {err}", path=path, hint=hint) from err
