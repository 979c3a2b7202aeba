"""Options of a stage, read from the signature of the method that takes them.

A stage declares its options once: as keyword-only parameters, with type and
default, of one method. From there come the check of what a user typed, the
help text and the pipeline identifier.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import OptionError

__all__ = ["Option", "Within", "check_options", "convert_text", "options_of", "suggest"]


@dataclass(frozen=True, slots=True)
class Within:
    """Where a number lies, which is finite: stands beside its type in the signature.

    Examples
    --------
    >>> def segment(image, *, thresh: typing.Annotated[float, Within(below=0)] = -6): ...
    >>> print(options_of(segment)[0].within)
    below zero
    """

    least: float = -math.inf
    """The smallest number."""
    most: float = math.inf
    """The largest number."""
    above: float = -math.inf
    """The number is larger than this."""
    below: float = math.inf
    """The number is smaller than this."""
    hint: str | None = None
    """What to do about a number that is not there, if more than to keep to the limits."""

    def __contains__(self, value: object) -> bool:
        number: Any = value if isinstance(value, numbers.Real) else math.nan
        return bool(self.least <= number <= self.most and self.above < number < self.below)

    def __str__(self) -> str:
        limits = {
            "at least": self.least,
            "above": self.above,
            "below": self.below,
            "at most": self.most,
        }
        told = [f"{word} {n or 'zero'}" for word, n in limits.items() if abs(n) < math.inf]
        return " and ".join(told)


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword-only parameter of a stage."""

    name: str
    """Name of the parameter."""
    type: type
    """Python type of the value; the first type of a union that is not None."""
    default: Any
    """Value when nothing is said; `inspect.Parameter.empty` if it is required."""
    optional: bool
    """Whether None is a value."""
    within: Within | None = None
    """Where a number lies, if that was declared."""

    @property
    def required(self) -> bool:
        """Whether the option has no default."""
        return self.default is inspect.Parameter.empty


def options_of(method: Callable[..., Any]) -> tuple[Option, ...]:
    """Return the options that a method declares, in their order.

    Parameters
    ----------
    method
        Function or static method with keyword-only parameters.

    Returns
    -------
    tuple of Option
        Empty if there are none.

    Examples
    --------
    >>> def segment(image, *, thresh: float = -6): ...
    >>> options_of(segment)[0].name
    'thresh'
    """
    # Each run asks for the same ones many times. The function of a bound method is
    # kept, not the object to which it is bound.
    return _declared(getattr(method, "__func__", method))


@functools.lru_cache(maxsize=64)
def _declared(method: Callable[..., Any]) -> tuple[Option, ...]:
    hints = typing.get_type_hints(method, include_extras=True)
    found = []
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        hint = hints.get(name, str)
        limits = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Within)]
        types_ = _flatten(hint.__origin__ if hasattr(hint, "__metadata__") else hint)
        plain = [t for t in types_ if t is not type(None)]
        found.append(
            Option(
                name,
                plain[0] if plain else str,
                parameter.default,
                len(plain) < len(types_),
                limits[0] if limits else None,
            )
        )
    return tuple(found)


def check_options(
    where: str, options: tuple[Option, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Check names, types and limits of given options.

    Parameters
    ----------
    where
        What the options belong to, for the message, e.g. ``"segmenter thresh"``.
    options
        What is allowed.
    given
        What a user gave; text is converted to the type of the option.

    Returns
    -------
    dict
        The given options, converted.

    Raises
    ------
    OptionError
        If a name is unknown or a value does not fit.

    Examples
    --------
    >>> def segment(image, *, thresh: float = -6): ...
    >>> check_options("segmenter thresh", options_of(segment), {"thresh": "-3"})
    {'thresh': -3.0}
    """
    known = {option.name: option for option in options}
    checked = {}
    for name, value in given.items():
        if name not in known:
            raise OptionError(f"{where} has no option '{name}'", hint=suggest(name, list(known)))
        checked[name] = _fit(where, known[name], value)
    return checked


def convert_text(value: Any, dtype: type) -> Any:
    """Convert a value to a type in the way of the pipeline identifier.

    Truth values are written true/yes/false/no or as numbers.

    Parameters
    ----------
    value, dtype
        What to convert, and the type wanted.

    Examples
    --------
    >>> convert_text("1", bool), convert_text("-6", float), convert_text("no", bool)
    (True, -6.0, False)
    """
    if dtype is bool and isinstance(value, str):
        lowered = value.strip().lower()
        if lowered in ("true", "yes"):
            return True
        if lowered in ("false", "no"):
            return False
        if not math.isfinite(number := float(lowered)):
            raise ValueError(f"'{value}' is not a truth value")
        return bool(number)
    if dtype is int and isinstance(value, str):
        number = float(value)
        if number != int(number):
            raise ValueError(f"'{value}' is not a whole number")
        return int(value) if value.strip().lstrip("+-").isdigit() else int(number)
    return dtype(value)


def _flatten(hint: Any) -> list[type]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [inner for arg in typing.get_args(hint) for inner in _flatten(arg)]
    origin = typing.get_origin(hint)
    return [origin if origin is not None else hint]


def _fit(where: str, option: Option, value: Any) -> Any:
    fitted = _typed(where, option, value)
    limits = option.within
    if limits is not None and fitted is not None and fitted not in limits:
        what = f"{where}: {option.name} {value} is not "
        what += str(limits) if fitted in Within() else "a finite number"
        raise OptionError(what, hint=limits.hint or f"give {_article(option.type)} {limits}")
    return fitted


def _typed(where: str, option: Option, value: Any) -> Any:
    """Return a value as that of the type of an option."""
    cause = None
    if value is None or (isinstance(value, str) and value.lower() == "none" and option.optional):
        if option.optional or option.default is None:
            return None
    elif isinstance(value, str):
        try:
            return convert_text(value, option.type)
        except (ValueError, TypeError, OverflowError) as err:
            cause = err
    elif option.type is not str:
        return value
    elif isinstance(value, os.PathLike):
        return os.fspath(value)
    raise OptionError(
        f"{where}: {value!r} is not a value for '{option.name}'",
        hint=f"give {_article(option.type)}",
    ) from cause


def _article(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a text")


def suggest(name: str, known: list[str], otherwise: str = "it knows") -> str:
    """Return a hint for whoever gave a name that is not known.

    Parameters
    ----------
    name
        The name that was given.
    known
        Names that are known.
    otherwise
        What introduces all of them, if none is like the one that was given.

    Examples
    --------
    >>> suggest("tresh", ["thresh", "level"]), suggest("x", ["thresh", "level"])
    ("did you mean 'thresh'?", 'it knows thresh, level')
    """
    if not known:
        return "it takes none"
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean '{close[0]}'?" if close else f"{otherwise} {', '.join(known)}"
