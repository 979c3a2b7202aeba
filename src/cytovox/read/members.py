"""What is in a group of HDF5, without keeping the library to oneself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

__all__ = ["chunk_infos", "copy_attributes", "dataset_ids", "members", "text_names"]


def members(group: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return names and members of a group, or of its attributes.

    The views that h5py's ``items()`` and ``values()`` return hold the lock of
    the library from one step to the next. If an error leaves a comprehension
    over such a view, its frame keeps the view, and so the lock, for as long as
    somebody keeps the error; all other threads wait for ever. A list does not.

    Parameters
    ----------
    group
        Group, file, attributes, or a plain mapping.

    Examples
    --------
    >>> import io
    >>> import h5py
    >>> h5 = h5py.File(io.BytesIO(), "w")
    >>> h5["deform"] = [0.1]
    >>> [(name, member.shape) for name, member in members(h5)]
    [('deform', (1,))]
    """
    return list(group.items())


def text_names(attributes: Mapping[Any, Any]) -> list[str]:
    """Return the names of attributes, without those that are no text.

    h5py gives those as bytes; nobody asks for them.

    Parameters
    ----------
    attributes
        Those of a file, or a plain mapping.

    Examples
    --------
    >>> text_names({"setup:chip": 1, b"setup": 2})
    ['setup:chip']
    """
    return [name for name in attributes if isinstance(name, str)]


def copy_attributes(source: h5py.HLObject, target: h5py.HLObject) -> list[str]:
    """Copy attributes as they are, also empty ones; what exists already is kept.

    Parameters
    ----------
    source, target
        File, group or dataset.

    Returns
    -------
    list of str
        Names of those that cannot be copied: references, which mean something
        in their own file alone, and types that have no equivalent in NumPy.
    """
    left_out = []
    for name in text_names(source.attrs):
        if name in target.attrs:
            continue
        try:
            if _refers(source.attrs.get_id(name).dtype):
                left_out.append(name)
            else:
                target.attrs[name] = source.attrs[name]
        except (TypeError, ValueError):
            left_out.append(name)
    return left_out


def _refers(dtype: np.dtype[Any]) -> bool:
    """Return whether values are references, or have some in them."""
    kinds = [dtype[name] for name in dtype.names] if dtype.names else [dtype.base]
    inner = [h5py.check_vlen_dtype(kind) or kind for kind in kinds]
    return any(h5py.check_ref_dtype(kind) for kind in inner if isinstance(kind, np.dtype))


def chunk_infos(dataset: h5py.Dataset) -> list[h5py.h5d.StoreInfo]:
    """Return where the chunks of a dataset are that were written.

    Parameters
    ----------
    dataset
        One that is stored in chunks.

    Raises
    ------
    OSError, RuntimeError
        If the index of the chunks is damaged.
    """
    if hasattr(dataset.id, "chunk_iter"):
        found: list[h5py.h5d.StoreInfo] = []
        dataset.id.chunk_iter(found.append)
        return found
    return [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]


def dataset_ids(h5: h5py.File) -> Iterator[tuple[str, h5py.h5d.DatasetID]]:
    """Yield all datasets with a path of each, each of them once.

    h5py's own visitors find each object by its path, so that a thousand groups
    within each other take a million steps.

    Parameters
    ----------
    h5
        Opened file. Links to other places are not followed.

    Examples
    --------
    >>> import io
    >>> h5 = h5py.File(io.BytesIO(), "w")
    >>> h5["events/deform"] = [0.1]
    >>> h5["events/again"] = h5["events/deform"]
    >>> [path for path, _ in dataset_ids(h5)]
    ['events/again']
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
