"""XML that files hold or that is beside them: elements of some names, and no entities."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement
from xml.parsers import expat

from ..errors import InputError
from .permissions import RefusedInputError

__all__ = ["parse_xml", "read_xml"]

#: Longest document that is parsed, and longest text in an element that is kept [characters].
_MAX_CHARACTERS = 2**28
_MAX_TEXT = 10_000


def read_xml(path: Path) -> str:
    """Return the text of a file, if it is not longer than what is parsed."""
    if (size := path.stat().st_size) > _MAX_CHARACTERS:
        raise RefusedInputError(f"its XML has {size:,} bytes", path=path)
    return path.read_text(encoding="utf-8", errors="replace")


def parse_xml(text: str, path: Path, wanted: Container[str], hint: str | None = None) -> Element:
    """Return the root with the elements of some names, without their namespaces.

    Elements of other names are left out, with all that is in them.
    """
    if len(text) > _MAX_CHARACTERS:
        raise RefusedInputError(f"its XML has {len(text):,} characters", path=path)
    top = Element("")
    place: list[Element | None] = [top]

    def begin(tag: str, attributes: dict[str, str]) -> None:
        name, parent = tag.rpartition(":")[2], place[-1]
        kept = parent is not None and (parent is top or name in wanted)
        place.append(SubElement(parent, name, attributes) if kept and parent is not None else None)

    def characters(written: str) -> None:
        element = place[-1]
        if element is not None and len(element.text or "") < _MAX_TEXT:
            element.text = (element.text or "") + written

    def refuse(*_: Any) -> None:
        raise RefusedInputError(
            "its XML declares a document type",
            path=path,
            hint="metadata do not need one; remove it",
        )

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: place.pop()
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.strip(" \r\n\t\0\ufeff"), True)
    except expat.ExpatError as err:
        raise InputError(f"its XML cannot be parsed: {err}", path=path, hint=hint) from err
    return top[0]
