"""Whether there is room for what a run will need, looked at before it begins."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError, UsageError
from .folder_check import existing_folder
from .memory import memory_allowed

__all__ = ["MARGIN", "Need", "NotEnoughMemoryError", "check_need", "free_bytes", "in_words"]

#: So many times the estimate should be free.
MARGIN = 1.2
_ALL_THE_SAME = "--no-preflight, or preflight=False in Python"


class NotEnoughMemoryError(UsageError):
    """A run would need more memory than it may use."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Need:
    """What a run will need, in bytes."""

    least_bytes: int  # of disk in any case: if less is free, the run cannot end well
    likely_bytes: int  # of disk, probably
    memory_bytes: int  # of memory in any case
    advice: str = "choose a folder on another disk"  # what needs less, for the message


def check_need(
    need: Need,
    folder: str | os.PathLike[str],
    *,
    already: Iterable[Path] = (),
    memory: int | None = None,
) -> str | None:
    """Compare what a run needs with what there is; nothing is written.

    It is refused only if it cannot fit. If it only may not fit, a warning says so.
    """
    _check_memory(need, memory)
    place = existing_folder(folder)
    free = free_bytes(place)
    if free is None:
        return None
    there = sum(_size(path) for path in already)
    least = MARGIN * need.least_bytes - there
    if least > free:
        error = StorageError(
            f"at least {in_words(least)} are needed and {in_words(free)} are free",
            path=place,
            hint=f"make room, {need.advice}, or try all the same: {_ALL_THE_SAME}",
        )
        error.errno = errno.ENOSPC
        raise error
    likely = MARGIN * need.likely_bytes - there
    if likely > free:
        return (
            f"{in_words(likely)} may be needed and {in_words(free)} are free at {place}; if the "
            "disk fills up, no result is made"
        )
    return None


def free_bytes(folder: str | os.PathLike[str]) -> int | None:
    """Return how many bytes are free, or None where a file system does not report it."""
    try:
        return shutil.disk_usage(existing_folder(folder)).free
    except OSError:
        return None


def _check_memory(need: Need, memory: int | None) -> None:
    allowed = memory_allowed()
    size, source = (1 << 62, "") if allowed is None else (allowed.size, allowed.source)
    if memory is not None and memory < size:
        size, source = memory, "what was asked for"
    if need.memory_bytes > size:
        raise NotEnoughMemoryError(
            f"at least {in_words(need.memory_bytes)} of memory are needed and {in_words(size)} "
            f"are allowed: {source}",
            hint=f"take fewer workers, or try all the same: {_ALL_THE_SAME}",
        )


def in_words(size: float) -> str:
    """Return a number of bytes in words."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{max(size, 0) / 1e6:.1f} MB"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
