"""What stages there are: ours and others', found the same way.

A plug-in author declares an entry point in one of the groups below, or simply
defines a subclass of the base class before the registry is asked. Nothing is
imported before it is needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import UnknownCodeError

__all__ = ["GROUPS", "OPTION_METHODS", "codes", "load_stage", "stages"]

#: Entry-point group of each kind of stage.
GROUPS = {
    "background": "cytovox.background",
    "segmenter": "cytovox.segmenters",
    "feature": "cytovox.features",
    "gate": "cytovox.gates",
}
#: For each kind of stage the methods whose keyword-only parameters are its options; the
#: second one of a segmenter has those of the clean-up of its masks.
OPTION_METHODS = {
    "background": ("check_user_kwargs",),
    "segmenter": ("segment_algorithm", "process_labels"),
    "feature": ("get_events_from_masks",),
    "gate": ("__init__",),
}


@cache
def _all_points() -> Any:
    """Look into all that is installed, which takes its time, but once."""
    return entry_points()


@cache
def _declared(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in _all_points().select(group=GROUPS[kind])}


def _subclasses(base: Any) -> Iterator[Any]:
    for sub in base.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _defined(base: type | None) -> dict[str, Any]:
    if base is None:
        return {}
    found: dict[str, Any] = {}
    for sub in _subclasses(base):
        if not inspect.isabstract(sub):
            found[sub.get_ppid_code()] = sub
    return found


def codes(kind: str, base: type | None = None) -> list[str]:
    """Return all codes of a kind of stage, sorted.

    Parameters
    ----------
    kind, base
        One of the keys of `GROUPS`, and a base class whose subclasses count as well.

    Examples
    --------
    >>> "thresh" in codes("segmenter")
    True
    """
    return sorted({*_declared(kind), *_defined(base)})


def load_stage(kind: str, code: str, base: type | None = None) -> Any:
    """Return the class of a stage.

    Parameters
    ----------
    kind
        Kind of stage, a key of `GROUPS`, e.g. ``"segmenter"``.
    code
        Code of the stage, e.g. ``"thresh"``.
    base
        Base class, whose subclasses in this process count as well.

    Raises
    ------
    UnknownCodeError
        If there is none of this code.
    """
    declared = _declared(kind)
    if code in declared:
        return declared[code].load()
    defined = _defined(base)
    if code in defined:
        return defined[code]
    raise UnknownCodeError(
        f"there is no {kind} '{code}'", hint=f"choose one of {', '.join(codes(kind, base))}"
    )


def stages(kind: str, base: type | None = None) -> dict[str, Any]:
    """Return all stage classes of a kind by their code; this imports them.

    Parameters
    ----------
    kind, base
        One of the keys of `GROUPS`, and a base class whose subclasses count as well.
    """
    return {code: load_stage(kind, code, base) for code in codes(kind, base)}
