"""What of `dcnum.meta.ppid` takes or returns types in another way than we do."""

from __future__ import annotations

import builtins
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ...recipe import identity
from ...recipe.options import options_of

__all__ = ["convert_to_dtype", "get_class_method_info", "kwargs_to_ppid", "simple_type_eval"]


def simple_type_eval(type_string: Any) -> Any:
    """Return the type that a text names."""
    if not isinstance(type_string, str):
        return type_string
    parts = [part.strip() for part in type_string.split("|")]
    if len(parts) > 1:
        return [simple_type_eval(part) for part in parts]
    if parts[0] == "None":
        return types.NoneType
    found = getattr(builtins, parts[0], None)
    return found if isinstance(found, type) else type_string


def convert_to_dtype(value: Any, dtype: Any) -> Any:
    """Convert a value to a type, or to the first of several that is not None."""
    if isinstance(dtype, str):
        dtype = simple_type_eval(dtype)
    wanted = next(one for one in _members(dtype) if one not in (None, types.NoneType))
    return identity.convert_to_dtype(value, wanted)


def kwargs_to_ppid(
    cls: Any, method: str, kwargs: Mapping[str, Any] | None, allow_invalid_keys: bool = True
) -> str:
    """Write the options of a method as part of an identifier.

    Options of the constructor are not options of the method, but may be given.
    See `cytovox.recipe.identity.kwargs_to_ppid`.
    """
    own = {option.name for option in options_of(getattr(cls, method))}
    others = set(inspect.signature(cls.__init__).parameters) - own
    given = {name: value for name, value in (kwargs or {}).items() if name not in others}
    return identity.kwargs_to_ppid(cls, method, given, allow_invalid_keys)


def get_class_method_info(
    class_obj: Any,
    static_kw_methods: Sequence[str] | None = None,
    static_kw_defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return what is known of a stage class; unions are lists of types.

    See `cytovox.recipe.identity.get_class_method_info`.
    """
    info = identity.get_class_method_info(class_obj, static_kw_methods, static_kw_defaults)
    for method, hints in info.get("annotations", {}).items():
        info["annotations"][method] = {name: _as_list(hint) for name, hint in hints.items()}
    return info


def _members(dtype: Any) -> list[Any]:
    if isinstance(dtype, list):
        return dtype
    if typing.get_origin(dtype) in (typing.Union, types.UnionType):
        return list(typing.get_args(dtype))
    return [dtype]


def _as_list(hint: Any) -> Any:
    found = _members(hint)
    return found if len(found) > 1 else found[0]
