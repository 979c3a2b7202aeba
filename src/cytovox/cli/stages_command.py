"""``cytovox stages``: what there is to choose from."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

__all__ = ["stages"]


def stages(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the text.")
    ] = False,
) -> None:
    """List the stages that are installed, with their options and defaults.

    Stages of other packages are listed beside the built-in ones.

    Example: cytovox run FILE --background rollmed --set background.kernel_size=50
    """
    from .console import print_json, print_text

    described = describe_stages()
    if as_json:
        print_json({"stages": described})
        return
    lines = []
    for stage in described:
        missing = "" if stage["available"] else " (what it needs is not installed)"
        lines.append(f"{stage['kind']} {stage['code']}: {stage['title']}{missing}")
        for option in stage["options"]:
            name = f"{option['set']}={_written(option['default'])}"
            lines.append(f"    --set {name}")
    print_text("\n".join(lines))


def describe_stages() -> list[dict[str, Any]]:
    """Return kind, code, title and options of every stage, as plain values."""
    from ..recipe.registry import GROUPS, codes

    return [_describe(kind, code) for kind in GROUPS for code in codes(kind)]


def _describe(kind: str, code: str) -> dict[str, Any]:
    from ..recipe.registry import load_stage
    from .settings import AUTO, is_automatic, stage_options

    cls = load_stage(kind, code)
    doc = inspect.getdoc(cls) or ""
    declared = stage_options(kind, {kind: code})
    automatic = {o.name: AUTO for o in declared if is_automatic(kind, {kind: code}, o.name)}
    options = [_option(kind, option, automatic) for option in declared]
    if kind == "segmenter":
        preferred = cls.mask_default_kwargs
        options += [_option("mask", o, preferred) for o in stage_options("mask", {kind: code})]
    return {
        "kind": kind,
        "code": code,
        "title": doc.splitlines()[0].rstrip(".") if doc else "",
        "available": bool(cls.is_available()) if hasattr(cls, "is_available") else True,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": options,
    }


def _option(stage: str, option: Any, preferred: dict[str, Any]) -> dict[str, Any]:
    default = preferred.get(option.name, None if option.required else option.default)
    return {
        "set": f"{stage}.{option.name}",
        "type": option.type.__name__,
        "default": default,
        "required": option.required,
    }


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
