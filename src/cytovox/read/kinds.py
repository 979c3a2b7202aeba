"""Which datasets of a recording are features, logs and tables.

What else lies beside them is left alone: it is neither read nor measured, and
no reason to refuse the rest.
"""

from __future__ import annotations

from typing import Any

import h5py

from .members import members

__all__ = ["features_in", "left_alone", "what_is_odd"]


def what_is_odd(item: Any, place: str) -> str:
    """Return why a member of a group is not read; nothing if it is, or is a group."""
    if isinstance(item, h5py.Group):
        return ""
    if not isinstance(item, h5py.Dataset):
        return "is a type, not data"
    try:
        dtype = item.dtype
    except (TypeError, ValueError) as err:
        return f"holds values of an unknown type: {err}"
    if item.shape is None:
        return "" if place == "logs" else "has no values"
    said = str(dtype)[:80]
    if place == "tables":
        kinds = [dtype[name] for name in dtype.names] if dtype.names else [dtype]
        objects = any(kind.hasobject and h5py.check_string_dtype(kind) is None for kind in kinds)
        return f"holds {said}, which is not read" if objects else ""
    if place in ("logs", "basins"):
        text = dtype.kind in "SU" or h5py.check_string_dtype(dtype) is not None
        empty = place == "logs" and not item.size
        return "" if text or empty else f"holds {said} instead of text"
    if dtype.kind not in "biuf":
        return f"holds {said} instead of numbers"
    return "" if item.shape else "has no rows"


def features_in(group: Any) -> list[tuple[str, h5py.Dataset]]:
    """Return names and datasets of the features in a group."""
    found = members(group) if isinstance(group, h5py.Group) else []
    return [
        (name, item)
        for name, item in found
        if isinstance(item, h5py.Dataset) and not what_is_odd(item, "events")
    ]


def left_alone(h5: h5py.File, length: int) -> list[str]:
    """Return what in a recording is not read, in words."""
    told = []
    for place in ("events", "logs", "tables"):
        group = h5.get(place)
        for name, item in members(group) if isinstance(group, h5py.Group) else []:
            odd = what_is_odd(item, place)
            if not odd and place == "events" and isinstance(item, h5py.Dataset):
                rows = item.size if name.startswith("basinmap") else len(item)
                odd = f"has {rows} rows instead of {length}" if rows != length else ""
            if odd:
                told.append(f"'{place}/{name}' {odd}")
    return told
