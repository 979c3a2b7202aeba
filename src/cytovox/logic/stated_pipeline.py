"""How a result was made, as it states itself: identifier, hash, and the recipe in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnknownCodeError
from ..recipe.identity import ppid_to_kwargs
from ..recipe.registry import OPTION_METHODS, load_stage
from .record import ID_ATTRIBUTES, hash_of_stated

__all__ = ["describe_pipeline"]


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


def _part_in_words(kind: str, text: str) -> str:
    code, _, rest = text.partition(":")
    try:
        if kind == "data":
            options = dict(pair.split("=", 1) for pair in rest.split("^"))
            frames = options.get("i", "0")
            words = [f"pixel_size={options.get('p')} um"]
            words.append(f"frames={'all' if frames == '0' else frames}")
        else:
            cls = load_stage(kind, code)
            words = [
                f"{name}={value}"
                for method, part in zip(OPTION_METHODS[kind], rest.split(":"), strict=False)
                for name, value in ppid_to_kwargs(cls, method, part).items()
            ]
    except (UnknownCodeError, ValueError):
        # Made by a program that knows more than this one.
        return f"{kind} {text}"
    return f"{kind} {code}: {', '.join(words)}" if words else f"{kind} {code}"
