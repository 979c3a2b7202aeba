"""The identity of a pipeline: what was done, as a short text and its hash.

The pipeline identifier (PPID) joins six parts with ``|``: generation, data,
background, segmenter, features and gate. Each part names a stage by its code
and lists all its options by their shortest distinct prefix. Two programs that
write the same identifier promise the same numbers.
"""

from __future__ import annotations

import hashlib
import numbers
import os
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .options import convert_text, options_of

__all__ = [
    "DCNUM_PPID_GENERATION",
    "HasIdentity",
    "compute_pipeline_hash",
    "convert_to_dtype",
    "get_class_method_info",
    "get_unique_prefix",
    "kwargs_to_ppid",
    "ppid_to_kwargs",
]

#: As `dcnum.meta.ppid` names it.
convert_to_dtype = convert_text

#: Increased whenever the same identifier would stand for other numbers.
DCNUM_PPID_GENERATION = "13"


class HasIdentity(Protocol):
    """A stage that can name itself and its options."""

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code of the stage, e.g. ``"thresh"``."""

    def get_ppid(self) -> str:
        """Return the identifier of this stage with its options."""


def compute_pipeline_hash(
    *,
    bg_id: str,
    seg_id: str,
    feat_id: str,
    gate_id: str,
    dat_id: str = "unknown",
    gen_id: str = DCNUM_PPID_GENERATION,
) -> str:
    """Return the MD5 hash (32 hexadecimal digits) of a pipeline identifier.

    Parameters
    ----------
    bg_id, seg_id, feat_id, gate_id, dat_id
        Identifiers of background, segmenter, features, gate and data.
    gen_id
        Generation of the pipeline.

    Examples
    --------
    >>> compute_pipeline_hash(
    ...     gen_id="13", dat_id="hdf:p=0.2645^i=0", bg_id="sparsemed:k=200^s=1^t=0^f=0.8^o=1",
    ...     seg_id="thresh:t=-6:cle=1^f=1^clo=2", feat_id="legacy:b=1^h=1^v=1",
    ...     gate_id="norm:o=0^s=10")
    'a35bcc0252de9f083de5746cf547117d'
    """
    ppid = "|".join([gen_id, dat_id, bg_id, seg_id, feat_id, gate_id])
    return hashlib.md5(ppid.encode("utf-8"), usedforsecurity=False).hexdigest()


def get_unique_prefix(str_list: Sequence[str]) -> list[str]:
    """Return for each string the shortest prefix that distinguishes it from the others.

    Where one string begins another, the shorter stays whole and the longer
    gets one letter more.

    Parameters
    ----------
    str_list
        Strings, all different.

    Examples
    --------
    >>> get_unique_prefix(["clear_border", "fill_holes", "closing_disk"])
    ['cle', 'f', 'clo']
    >>> get_unique_prefix(["a", "ab", "abc"])
    ['a', 'ab', 'abc']
    """
    lengths = [1] * len(str_list)
    for i, one in enumerate(str_list):
        for other in (*str_list[:i], *str_list[i + 1 :]):
            shared = len(os.path.commonprefix([one, other]))
            lengths[i] = max(lengths[i], min(shared + 1, len(one)))
    return [text[:length] for text, length in zip(str_list, lengths, strict=True)]


def get_class_method_info(
    class_obj: Any,
    static_kw_methods: Sequence[str] | None = None,
    static_kw_defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return what is known of a stage class without making an instance.

    Parameters
    ----------
    class_obj
        Class with `get_ppid_code`.
    static_kw_methods
        Names of methods whose keyword-only parameters are options.
    static_kw_defaults
        For a method, defaults that the class sets in place of the signature's.

    Returns
    -------
    dict
        ``code``, ``doc``, ``title`` (first line of the class's docstring, or
        of its constructor's), ``defaults`` (method name to dict of defaults) and
        ``annotations`` (method name to dict of types).
    """
    doc = class_obj.__doc__ or class_obj.__init__.__doc__ or ""
    info: dict[str, Any] = {
        "code": class_obj.get_ppid_code(),
        "doc": doc,
        "title": doc.strip().splitlines()[0] if doc.strip() else "",
    }
    if static_kw_methods:
        info["defaults"] = {}
        info["annotations"] = {}
        for method in static_kw_methods:
            function = getattr(class_obj, method)
            options = options_of(function)
            defaults = {o.name: o.default for o in options}
            defaults.update((static_kw_defaults or {}).get(method, {}))
            info["defaults"][method] = defaults
            annotations = typing.get_type_hints(function)
            info["annotations"][method] = {
                o.name: annotations[o.name] for o in options if o.name in annotations
            }
    return info


def kwargs_to_ppid(
    cls: Any, method: str, kwargs: Mapping[str, Any] | None, allow_invalid_keys: bool = True
) -> str:
    """Write the options of a method as part of an identifier.

    All keyword-only parameters that have a default are listed in their order,
    whether given or not.

    Parameters
    ----------
    cls, method
        Class or instance, and the name of its method whose keyword-only parameters are
        the options.
    kwargs
        Given options; the others take their default.
    allow_invalid_keys
        Whether an unknown option is only warned about.

    Examples
    --------
    >>> class Stage:
    ...     def work(self, *, kernel_size: int = 200, split_time: float = 1.0): ...
    >>> kwargs_to_ppid(Stage, "work", {"split_time": 0.5})
    'k=200^s=0.5'
    """
    options = options_of(getattr(cls, method))
    kwargs = dict(kwargs or {})
    unknown = sorted(set(kwargs) - {o.name for o in options})
    if unknown:
        text = f"unknown options of {getattr(cls, '__name__', cls)}: {', '.join(unknown)}"
        if not allow_invalid_keys:
            raise KeyError(text)
        warnings.warn(text, UserWarning, stacklevel=2)
    named = [o for o in options if not o.required]
    prefixes = get_unique_prefix([o.name for o in named])
    return "^".join(
        f"{prefix}={_value_text(kwargs.get(o.name, o.default))}"
        for prefix, o in zip(prefixes, named, strict=True)
    )


def ppid_to_kwargs(cls: Any, method: str, ppid: str) -> dict[str, Any]:
    """Read the options of a method back from their part of an identifier.

    Any prefix of a name is understood; options that are not there take their
    default.

    Parameters
    ----------
    cls
        Class that has the method.
    method
        Name of the method, whose keyword-only parameters are the options.
    ppid
        Part of an identifier, without the code.

    Raises
    ------
    ValueError
        If an abbreviation fits no option.

    Examples
    --------
    >>> class Stage:
    ...     def work(self, *, kernel_size: int = 200, split_time: float = 1.0): ...
    >>> ppid_to_kwargs(Stage, "work", "k=100^s=2")
    {'kernel_size': 100, 'split_time': 2.0}
    """
    options = options_of(getattr(cls, method))
    kwargs = {o.name: o.default for o in options if not o.required}
    pairs = [part.split("=", 1) for part in ppid.split("^") if part]
    unused = list(options)
    for abbreviation, text in sorted(pairs, key=lambda pair: -len(pair[0])):
        match = next((o for o in unused if o.name.startswith(abbreviation)), None)
        if match is None:
            raise ValueError(f"no option of {getattr(cls, '__name__', cls)} fits '{abbreviation}'")
        unused.remove(match)
        kwargs[match.name] = convert_text(text, match.type)
    return kwargs


def _value_text(value: Any) -> str:
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return str(int(value))
    if isinstance(value, numbers.Real):
        if isinstance(value, numbers.Integral):
            return str(int(value))
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, Path) or (isinstance(value, str) and _is_file(value)):
        return Path(value).name
    return str(value)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
