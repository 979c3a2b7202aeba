"""Cores and memory: what this process may use, what limits it, and how much it has used."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = [
    "MemoryLimit",
    "cpu_count",
    "in_smaller_parts",
    "is_memory_error",
    "limited_memory",
    "memory_allowed",
    "memory_available",
    "memory_limits",
    "peak_bytes",
    "restart_peak",
]

T = TypeVar("T")

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
#: Limits from here on mean that there is none.
_NO_LIMIT = 1 << 60


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    usable = getattr(os, "process_cpu_count", None)  # Python 3.13
    if usable is not None:
        return usable() or 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
    if affinity is not None:
        return len(affinity(0)) or 1
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A limit of memory."""

    size: int  # bytes
    source: str  # what sets it


def memory_limits() -> list[MemoryLimit]:
    """Return all limits that hold for this process, the machine's memory first."""
    found = []
    if physical := _physical():
        found.append(MemoryLimit(physical, "memory of this machine"))
    if limit := _cgroup():
        found.append(MemoryLimit(limit, "limit of the container or job (cgroup)"))
    for name, command in (("RLIMIT_AS", "ulimit -v"), ("RLIMIT_DATA", "ulimit -d")):
        if limit := _rlimit(name):
            found.append(MemoryLimit(limit, f"limit of the process ({command})"))
    return found


def memory_allowed() -> MemoryLimit | None:
    """Return the smallest limit; None if none is known."""
    return min(memory_limits(), key=lambda limit: limit.size, default=None)


def memory_available() -> int | None:
    """Return the bytes that the machine could give now; None if that is unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _physical() -> int | None:
    ask = getattr(os, "sysconf", None)
    if ask is not None and "SC_PHYS_PAGES" in os.sysconf_names:
        return int(ask("SC_PHYS_PAGES") * ask("SC_PAGE_SIZE"))
    if os.name != "nt":
        return None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            *((name, ctypes.c_ulonglong) for name in ("a", "b", "c", "d", "e", "f")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.total)


def _cgroup() -> int | None:
    """Return the smallest limit of our control group and those above it."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = root / path.strip("/")
        for folder in (place, *place.parents):
            with contextlib.suppress(OSError, ValueError):  # "max", or not there
                limits.append(int((folder / name).read_text()))
            if folder == root:
                break
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def _rlimit(name: str) -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    if not hasattr(resource, name):
        return None
    soft, _ = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY or soft >= _NO_LIMIT else int(soft)


@contextlib.contextmanager
def limited_memory(size: int | None) -> Iterator[None]:
    """Let this process take no more than so many bytes in all meanwhile.

    What is beyond is refused with a `MemoryError`. Only Linux enforces it.
    """
    before = None if size is None else _set_soft_limit(size)
    try:
        yield
    finally:
        if before is not None:
            _set_soft_limit(before)


def _set_soft_limit(size: int) -> int | None:
    """Limit the memory of this process; return the limit before, None where there is no such."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        unlimited = resource.RLIM_INFINITY
        most = size if hard == unlimited else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    except (AttributeError, OSError, ValueError):
        return None
    return soft


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
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def is_memory_error(error: BaseException | None) -> bool:
    """Return whether an error, or what it came from, says that memory is short."""
    while error is not None:
        # The one of torch is not a MemoryError, but has a name of its own.
        if any(cls.__name__ in ("MemoryError", "OutOfMemoryError") for cls in type(error).mro()):
            return True
        error = error.__cause__
    return False


def in_smaller_parts(
    work: Callable[[int, int], T],
    start: int,
    stop: int,
    on_short: Callable[[str, int, int], None],
) -> list[T]:
    """Do work on a range; where memory is short, on half as much at a time.

    Before a range is done in halves, `on_short` gets what is known, and the range.
    """
    try:
        return [work(start, stop)]
    except Exception as err:
        if stop - start <= 1 or not is_memory_error(err):
            raise
        short = str(err) or "no more is known"
    # Outside of the exception, which keeps what it had allocated.
    on_short(short, start, stop)
    half = (stop - start + 1) // 2
    parts = ((first, min(stop, first + half)) for first in range(start, stop, half))
    return [one for part in parts for one in in_smaller_parts(work, *part, on_short)]
