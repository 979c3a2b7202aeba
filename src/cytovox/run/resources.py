"""What the machine offers."""

from __future__ import annotations

import os

__all__ = ["cpu_count"]


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    usable = getattr(os, "process_cpu_count", None)  # Python 3.13
    if usable is not None:
        return usable() or 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
    if affinity is not None:
        return len(affinity(0)) or 1
    return os.cpu_count() or 1
