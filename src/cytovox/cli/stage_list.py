"""``cytovox stages``: what there is to choose from, and its options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .command_options import AsJson
from .console import show

__all__ = ["describe_stage", "stages"]


def stages(as_json: AsJson = False) -> None:
    """List the stages that are installed, with their options and defaults.

    Stages of other packages are listed beside the built-in ones.

    Example: cytovox run FILE --background rollmed --set background.kernel_size=50
    """
    from ..recipe.registry import GROUPS, codes

    described = [describe_stage(kind, code) for kind in GROUPS for code in codes(kind)]
    lines = []
    for stage in described:
        missing = "" if stage["available"] else " (what it needs is not installed)"
        lines.append(f"{stage['kind']} {stage['code']}: {stage['title']}{missing}")
        for option in stage["options"]:
            value = option["default"]
            plain = str(value).lower() if value is None or isinstance(value, bool) else value
            lines.append(f"    --set {option['set']}={plain}")
    show({"stages": described}, "\n".join(lines), as_json=as_json)


def describe_stage(kind: str, code: str) -> dict[str, Any]:
    """Return kind, code, title and options of a stage, as plain values."""
    from ..recipe.recording_recipe import AUTO, AUTOMATIC
    from ..recipe.registry import OPTION_METHODS, load_stage

    cls = load_stage(kind, code)
    own, *clean_up = (getattr(cls, name) for name in OPTION_METHODS[kind])
    options = _options(kind, own, {AUTOMATIC.get((kind, code)): AUTO})
    if clean_up and cls.mask_postprocessing:
        options += _options("mask", clean_up[0], cls.mask_default_kwargs)
    doc = inspect.getdoc(cls) or ""
    return {
        "kind": kind,
        "code": code,
        "title": doc.splitlines()[0].rstrip(".") if doc else "",
        "available": bool(cls.is_available()) if hasattr(cls, "is_available") else True,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": options,
    }


def _options(stage: str, method: Any, preferred: Mapping[Any, Any]) -> list[dict[str, Any]]:
    from ..recipe.options import options_of

    return [
        {
            "set": f"{stage}.{option.name}",
            "type": option.type.__name__,
            "default": preferred.get(option.name, None if option.required else option.default),
            "required": option.required,
        }
        for option in options_of(method)
    ]
