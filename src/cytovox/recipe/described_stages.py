"""The stages that are installed, with their options, for people to choose from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from .options import options_of
from .recording_recipe import AUTO, AUTOMATIC
from .registry import GROUPS, OPTION_METHODS, codes, load_stage

__all__ = ["describe_stage", "described_stages", "help_of"]


def described_stages() -> list[dict[str, Any]]:
    """Return kind, code, title and options of each stage, as plain values."""
    return [describe_stage(kind, code) for kind in GROUPS for code in codes(kind)]


def describe_stage(kind: str, code: str) -> dict[str, Any]:
    """Return the same of one stage."""
    cls = load_stage(kind, code)
    own, *clean_up = (getattr(cls, name) for name in OPTION_METHODS[kind])
    helps = help_of(cls) | help_of(own)
    options = _options(kind, own, {AUTOMATIC.get((kind, code)): AUTO}, helps)
    if clean_up and cls.mask_postprocessing:
        options += _options("mask", clean_up[0], cls.mask_default_kwargs, help_of(clean_up[0]))
    doc = inspect.getdoc(cls) or ""
    return {
        "kind": kind,
        "code": code,
        "title": doc.splitlines()[0].rstrip(".") if doc else "",
        "available": bool(cls.is_available()) if hasattr(cls, "is_available") else True,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": options,
    }


def _options(
    stage: str, method: Any, preferred: Mapping[Any, Any], helps: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {
            "set": f"{stage}.{option.name}",
            "type": option.type.__name__,
            "default": preferred.get(option.name, None if option.required else option.default),
            "required": option.required,
            "help": helps.get(option.name, ""),
        }
        for option in options_of(method)
    ]


def help_of(documented: Callable[..., Any]) -> dict[str, str]:
    """Return what the docstring of a class or method says of its parameters, by name."""
    doc = inspect.getdoc(documented) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n---|\Z)", doc, re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif line.strip():
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return {name: text.replace("`", "") for name, text in found.items()}
