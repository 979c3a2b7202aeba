"""How a result was made, as it states itself: identifier, hash, and the recipe in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnknownCodeError
from ..recipe.identity import ppid_to_kwargs
from ..recipe.registry import OPTION_METHODS, load_stage
from .record import ID_ATTRIBUTES, hash_of_stated

__all__ = ["describe_pipeline", "stated_options"]


def describe_pipeline(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the metadata of a file say of the run that made it; None if it is no result."""
    stored, computed = meta.get("pipeline:dcnum hash"), hash_of_stated(meta)
    if stored is None or computed is None:
        return None
    parts = {part: str(meta[f"pipeline:dcnum {part}"]) for part in ID_ATTRIBUTES}
    return {
        "identifier": "|".join(parts.values()),
        "hash": str(stored),
        "hash_fits": computed == str(stored),
        "recipe": [_part_in_words(*part) for part in parts.items() if part[0] != "generation"],
    }


def stated_options(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return code and options of each stage as a result states them.

    Names are those of ``--set``, such as ``segmenter.thresh``; a stage itself is its code.
    """
    found: dict[str, str] = {}
    for kind in ID_ATTRIBUTES:
        text = str(meta.get(f"pipeline:dcnum {kind}", ""))
        try:
            found |= {kind: text.partition(":")[0], **_options_of(kind, text)}
        except (UnknownCodeError, ValueError):
            found[kind] = text
    return found


def _options_of(kind: str, text: str) -> dict[str, str]:
    code, _, rest = text.partition(":")
    if kind == "generation":
        return {}
    if kind == "data":
        options = dict(pair.split("=", 1) for pair in rest.split("^"))
        frames = options.get("i", "0")
        size = f"{options.get('p')} um"
        return {"data.pixel_size": size, "data.frames": "all" if frames == "0" else frames}
    cls = load_stage(kind, code)
    tables = (kind, "mask")
    return {
        f"{table}.{name}": str(value)
        for table, method, part in zip(tables, OPTION_METHODS[kind], rest.split(":"), strict=False)
        for name, value in ppid_to_kwargs(cls, method, part).items()
    }


def _part_in_words(kind: str, text: str) -> str:
    code = text.partition(":")[0]
    try:
        options = _options_of(kind, text)
    except (UnknownCodeError, ValueError):
        # Made by a program that knows more than this one.
        return f"{kind} {text}"
    words = [f"{name.partition('.')[2]}={value}" for name, value in options.items()]
    return f"{kind} {code}: {', '.join(words)}" if words else f"{kind} {code}"
