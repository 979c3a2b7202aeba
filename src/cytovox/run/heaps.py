"""How many heaps the threads of this process take their memory from."""

from __future__ import annotations

import ctypes
import os

from .resources import cpu_count

__all__ = ["share_heaps"]

#: Number of the wish for so many heaps at most, from glibc's ``malloc.h``.
_M_ARENA_MAX = -8


def share_heaps() -> bool:
    """Let the threads of this process share a heap for every two cores.

    The C library of most Linux systems gives threads heaps of their own, up to
    eight per core, and what is free in one is of no use to the others. Since
    every recording has new threads, memory would rise over many recordings
    until each heap has held the most that any thread ever needed.

    This goes for the whole process, so that the program does it and the
    library does not.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError):
        return False
    if not libc.startswith("glibc"):
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(1, cpu_count() // 2)))
