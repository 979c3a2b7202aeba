"""What there is in a group: to open the only array in it, or to name those there are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from ..errors import InputError
from .volume_address import Address, safe_join

__all__ = ["find_members", "name_members"]

_LOOKED_AT = 1000
_NAMED = 8
_LEVELS = 4


def find_members(address: Address, is_member: Callable[[Address], bool]) -> list[Address]:
    """Return the first arrays or images in a group, and in the groups in it."""
    found: list[Address] = []
    groups = [address]
    for _ in range(_LEVELS):
        inside = [member for group in groups for member in _folders(group)]
        groups = []
        for member in inside[:_LOOKED_AT]:
            try:
                (found if is_member(member) else groups).append(member)
            except InputError:
                continue  # it is not asked for
            if len(found) > _NAMED:
                return found
    return found


def _folders(address: Address) -> list[Address]:
    if address.remote:
        return []
    names = _archived(address) if address.archive is not None else _local(address)
    ordered = sorted(names, key=lambda name: (len(name), name))
    return [safe_join(address, name) for name in ordered if not name.startswith(".")]


def _local(address: Address) -> list[str]:
    try:
        with os.scandir(address.path) as entries:
            return [e.name for e in itertools.islice(entries, _LOOKED_AT) if e.is_dir()]
    except OSError:
        return []


def _archived(address: Address) -> set[str]:
    inner = f"{address.inner.strip('/')}/".lstrip("/")
    listed = address.archive.NameToInfo if address.archive is not None else ()
    below: Iterator[str] = (name[len(inner) :] for name in listed if name.startswith(inner))
    return {name.partition("/")[0] for name in below if "/" in name}


def name_members(found: list[Address], what: str, remote: bool) -> str:
    """Return what to do: a hint with the names of what was found."""
    if found:
        names = ", ".join(map(str, found[:3]))
        return f"{what}: {names}{' ...' if len(found) > 3 else ''}"
    return what if remote else "none is found in it"
