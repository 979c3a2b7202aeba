"""Names of axes and units of length, in the many ways that formats spell them."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from .volume_limits import check_numbers

__all__ = [
    "SPATIAL",
    "common_unit",
    "metres",
    "name_axes",
    "normalize_unit",
    "other_axis",
    "place_axes",
    "read_transform",
]

#: Axes of space, in the order in which voxels are kept in memory.
SPATIAL = ("z", "y", "x")

#: Metres, and other spellings.
_UNITS = {
    "picometer": (1e-12, "pm"),
    "angstrom": (1e-10, "a å ångström"),
    "nanometer": (1e-9, "nm"),
    "micrometer": (1e-6, "um µm μm âµm µ μ micron microns"),  # also UTF-8 read as Latin-1
    "millimeter": (1e-3, "mm"),
    "centimeter": (1e-2, "cm"),
    "decimeter": (1e-1, "dm"),
    "meter": (1.0, "m"),
    "kilometer": (1e3, "km"),
    "mil": (2.54e-5, "thou li"),
    "inch": (0.0254, 'in inches "'),
    "foot": (0.3048, "ft feet"),
    "yard": (0.9144, "yd"),
}
_UNKNOWN = ["pixel", "pixels", "px", "voxel", "voxels", "none", "null", "unknown", "uncalibrated"]
_SPELLINGS = {
    **{spelling: unit for unit, (_, said) in _UNITS.items() for spelling in said.split()},
    **dict.fromkeys([*_UNKNOWN, "reference frame"], ""),
}
_OTHERS = {"t": "t", "time": "t", "c": "c", "c^": "c", "channel": "c", "s": "c", "samples": "c"}


def normalize_unit(unit: object) -> str:
    r"""Return the name that OME-Zarr has for a unit, or an empty text."""
    if isinstance(unit, bytes):
        unit = unit.decode("utf-8", "replace")
    if not isinstance(unit, str):
        return ""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), unit).strip(" \t\r\n\0")
    if text in ("Mm", "Gm", "Tm", "Pm"):
        return text  # large units differ from small ones only in their case
    text = text.lower().replace("metre", "meter")
    text = _SPELLINGS.get(text, text)
    return text[:-1] if text[:-1] in _UNITS and text.endswith("s") else text[:40]


def metres(unit: str) -> float | None:
    """Return the length of a unit in metres, or None if it is not of known length."""
    return _UNITS[unit][0] if unit in _UNITS else None


def common_unit(
    units: Sequence[str], sizes: Sequence[float], offsets: Sequence[float], where: str
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Return sizes and offsets in the unit of the last axis.

    If the unit of an axis is not said, that of all is unknown.
    """
    said = [unit for unit in units if unit]
    last = said[-1] if said else ""
    factors = [1.0 if unit in ("", last) else _ratio(unit, last, where) for unit in units]
    if said and "" in units:
        warnings.warn(
            f"{where}: one axis has no unit, so the size of voxels has none", stacklevel=2
        )
        last = ""
    return (
        last,
        tuple(float(s) * f for s, f in zip(sizes, factors, strict=True)),
        tuple(float(o) * f for o, f in zip(offsets, factors, strict=True)),
    )


def _ratio(unit: str, last: str, where: str) -> float:
    length, of_last = metres(unit), metres(last)
    if length is None or of_last is None:
        raise InputError(
            f"axes have units '{unit}' and '{last}', of which one is not a known length",
            path=where,
            hint="write the size of its voxels again, in one unit",
        )
    return float(f"{length / of_last:.12g}")  # 1e-6 / 1e-9 is not quite a whole number


def name_axes(
    dimensions: int, names: Sequence[object] | None, where: str, *, fastest_first: bool = False
) -> tuple[str, ...]:
    """Return a one-letter name for each axis, in the order of the file."""
    usual = ("t", "c", "z", "y", "x")[-dimensions:]
    usual = usual[::-1] if fastest_first else usual
    known: list[str] = []
    if names is not None and len(names) == dimensions:
        for name in names:
            text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
            text = text.strip().lower()
            known.append(text if text in SPATIAL else _OTHERS.get(text, "" if text else "?"))
        # an axis without a name is what is usual at its place
        for place, name in enumerate(known):
            if name == "?":
                free = len(usual) == dimensions and usual[place] not in known
                known[place] = usual[place] if free else ""
    if sum(name in SPATIAL for name in known) >= 2:
        spare = iter("abdefghijklmnop")
        named = tuple(name or next(spare) for name in known)
    else:
        if not 2 <= dimensions <= 5:
            raise InputError(
                f"an array of {dimensions} dimensions is not a volume",
                path=where,
                hint="two or three axes of space are read, with channels and time before them",
            )
        named = usual
    if len(set(named)) != len(named):
        raise InputError(f"two axes have the same name: {', '.join(named)}", path=where)
    return named


def other_axis(name: str, kind: object, taken: Sequence[str]) -> str:
    """Return a letter for an axis that is not of space."""
    own = name.lower() if len(name) == 1 and name.isalpha() else ""
    usual = [_OTHERS.get(str(kind), ""), _OTHERS.get(name.lower(), "")]
    used = {"", *taken, *SPATIAL}
    letters: list[str] = usual + [own] + list("abdefghijk")
    return next(letter for letter in letters if letter not in used)


def read_transform(transform: object, axes: tuple[str, ...]) -> dict[str, Any] | None:
    """Return resolution, offset and units of arrays that say them as a transform of named axes."""
    if not isinstance(transform, dict) or not isinstance(transform.get("axes"), list):
        return None
    order = [str(axis).lower() for axis in transform["axes"]]
    if sorted(order) != sorted(axes):
        return None
    keys = (("scale", "resolution"), ("translate", "offset"), ("units", "units"))
    return {
        new: [transform[old][order.index(axis)] for axis in axes]
        for old, new in keys
        if isinstance(transform.get(old), list) and len(transform[old]) == len(axes)
    }


def place_axes(
    axes: tuple[str, ...], attributes: Mapping[str, Any], where: str
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Return voxel size, offset and units per axis from loosely written attributes.

    One number is that of all axes. What is not numbers is left out, with a warning.
    """
    space = [axis in SPATIAL for axis in axes]

    def numbers(key: str, values: Any, other: float) -> tuple[float, ...] | None:
        if values is None:
            return None
        values = _listed(values)
        if not all(isinstance(v, (int, float)) for v in values):
            said = ", ".join(str(v)[:40] for v in values[:5])
            warnings.warn(f"{where}: {key} is {said}, not numbers; it is left out", stacklevel=3)
            return None
        values = values * sum(space) if len(values) == 1 else values
        count = len(axes) if len(values) == len(axes) else sum(space)
        return spread(
            check_numbers(values, count, key, where, positive=key == "voxel_size"), other
        )

    def spread(values: Sequence[Any], other: Any) -> tuple[Any, ...]:
        rest = iter(values)
        if len(values) == len(axes):
            return tuple(v if s else other for v, s in zip(values, space, strict=True))
        return tuple(next(rest) if s else other for s in space)

    size = attributes.get("voxel_size")
    size = numbers("voxel_size", attributes.get("resolution") if size is None else size, 1.0)
    units = attributes.get("units", attributes.get("unit"))
    if size is None:
        units = None  # that of the values, or of a size that is not said
    if not isinstance(units, (list, tuple)) or len(units) not in (sum(space), len(axes)):
        units = [units if isinstance(units, (str, bytes)) else ""] * sum(space)
    return (
        size or (1.0,) * len(axes),
        numbers("offset", attributes.get("offset"), 0.0) or (0.0,) * len(axes),
        spread([normalize_unit(u) for u in units], ""),
    )


def _listed(values: Any) -> list[Any]:
    """Return values as a list, also those of a table of one row or column."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, (list, tuple)):
        return [values]
    rows = [v for v in values if isinstance(v, list)]
    one = len(values) == 1 or all(len(row) == 1 for row in rows)
    return list(itertools.chain(*rows)) if one and len(rows) == len(values) else list(values)
