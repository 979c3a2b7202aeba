"""Members and attributes of a group of HDF5, without holding the lock of the library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from ..errors import InputError

__all__ = [
    "as_count",
    "as_number",
    "as_text",
    "chunk_infos",
    "copy_attributes",
    "dataset_ids",
    "is_within",
    "member",
    "members",
    "stated",
    "text_names",
    "unknown_attributes",
]


#: More events than any file has; exact as a floating-point number.
_MOST_EVENTS = 1 << 53
#: What h5py raises of a damaged file.
_ERRORS = (OSError, RuntimeError, KeyError, ValueError)


def member(group: Mapping[Any, Any], name: Any, default: Any = None) -> Any:
    """Return a member of a group, or a default.

    For a missing name, ``group.get`` makes an exception of the error text of
    HDF5. If the garbage collector closes another object meanwhile, that text
    is gone, and h5py raises `UnicodeDecodeError`. So nothing missing is asked for.
    What is there and damaged is an `InputError`.
    """
    try:
        # of what is damaged, ``get`` would return the default
        return group[name] if name in group else default  # noqa: SIM401
    except _ERRORS as err:
        with contextlib.suppress(*_ERRORS):
            link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                return default  # it leads to what is not there
        raise InputError(
            f"'{name}' cannot be opened: {err.args[0] if err.args else err}",
            path=group.file.filename if isinstance(group, h5py.Group) else None,
            hint="the file is damaged; copy it again",
        ) from err


def is_within(group: h5py.Group, name: str | bytes) -> bool:
    """Return whether a member that is listed is in the group itself, not behind a link."""
    encoded = name.encode() if isinstance(name, str) else name
    return bool(group.id.links.get_info(encoded).type == h5py.h5l.TYPE_HARD)


def members(group: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return names and members of a group, or of its attributes.

    The views that h5py's ``items()`` and ``values()`` return hold the lock of
    the library from one step to the next. If an error leaves a comprehension
    over such a view, its frame keeps the view, and so the lock, for as long as
    the error is kept; all other threads wait for ever. A list does not.
    """
    return list(group.items())


def text_names(attributes: Mapping[Any, Any]) -> list[str]:
    """Return the names of attributes, without those that are not text.

    h5py gives those as bytes; they are not used.
    """
    return [name for name in attributes if isinstance(name, str)]


def unknown_attributes(owner: h5py.HLObject) -> dict[str, str]:
    """Return the attributes of types that h5py does not know, and why, in words."""
    found = {}
    attributes = owner.attrs  # h5py makes this anew each time, which takes a while for files
    for name in text_names(attributes):
        try:
            _ = attributes.get_id(name).dtype
        except TypeError as err:
            found[name] = f"'{name}' holds values of an unknown type: {err}"
    return found


def copy_attributes(source: h5py.HLObject, target: h5py.HLObject) -> list[str]:
    """Copy attributes as they are, also empty ones; what exists already is kept."""
    left_out = []
    given, made = source.attrs, target.attrs
    for name in text_names(given):
        if name in made:
            continue
        try:
            if _refers(given.get_id(name).dtype):
                left_out.append(name)
            else:
                made[name] = given[name]
        except (TypeError, ValueError):
            left_out.append(name)
    return left_out


def _refers(dtype: np.dtype[Any]) -> bool:
    """Return whether values are references, or have some in them."""
    kinds = [dtype[name] for name in dtype.names] if dtype.names else [dtype.base]
    inner = [h5py.check_vlen_dtype(kind) or kind for kind in kinds]
    return any(h5py.check_ref_dtype(kind) for kind in inner if isinstance(kind, np.dtype))


def chunk_infos(dataset: h5py.h5d.DatasetID) -> list[h5py.h5d.StoreInfo]:
    """Return where the chunks of a dataset are that were written."""
    if hasattr(dataset, "chunk_iter"):
        found: list[h5py.h5d.StoreInfo] = []
        dataset.chunk_iter(found.append)
        return found
    return [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]


def dataset_ids(h5: h5py.File) -> Iterator[tuple[str, h5py.h5d.DatasetID]]:
    """Yield all datasets with a path of each, each of them once.

    h5py's own visitors find each object by its path, so that a thousand groups
    within each other take a million steps.
    """
    known = set()
    groups = [("", h5.id)]
    while groups:
        path, group = groups.pop()
        for name in list(group):
            if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                continue
            found = h5py.h5o.open(group, name)
            place = h5py.h5o.get_info(found).addr
            if place in known:
                continue
            known.add(place)
            below = path + name.decode(errors="surrogateescape")
            if isinstance(found, h5py.h5d.DatasetID):
                yield below, found
            elif isinstance(found, h5py.h5g.GroupID):
                groups.append((f"{below}/", found))


def as_text(value: Any) -> Any:
    """Return bytes as text and anything else unchanged."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value


def as_number(value: Any) -> float | None:
    """Return a number that may be stored as text or in an array of its own."""
    try:
        return float(np.asarray(as_text(value)).reshape(())[()])
    except (TypeError, ValueError, OverflowError):
        return None


def as_count(value: Any) -> int | None:
    """Return a number of events, stored in any way; None if it cannot be one."""
    number = as_number(value)
    if number is None or not 0 <= number <= _MOST_EVENTS or number % 1:
        return None
    return int(number)


def stated(attributes: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return an attribute; one that is empty is as if it were absent.

    Programs write what they do not know in many ways: as text without
    characters, as an array without values, or as an attribute without data.
    """
    value = as_text(attributes.get(name))
    return default if value is None or _is_empty(value) else value


def _is_empty(value: Any) -> bool:
    if isinstance(value, h5py.Empty):
        return True
    values = np.asarray(value)
    if values.dtype.kind not in "SUO":
        return not values.size
    texts = (as_text(one) for one in values.flat)
    return all(isinstance(text, str) and not text.strip("\0 \t\r\n") for text in texts)
