"""How much memory this process has needed at most, since it was asked to watch."""

from __future__ import annotations

import contextlib
import sys

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["limit_memory", "peak_bytes", "restart_peak"]


def restart_peak() -> None:
    """Let `peak_bytes` forget what was before, where the system can do so.

    Only Linux can; elsewhere the peak is that of the life of the process.
    """
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the high-water mark and touches no page


def peak_bytes() -> int | None:
    """Return the largest resident memory of this process in bytes."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    if resource is None:
        return None
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def limit_memory(number: int) -> bool:
    """Make this process fail with MemoryError rather than use more."""
    if resource is None or sys.platform == "darwin":  # macOS takes it and ignores it
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    return True
