"""What a folder can do, and whether there is room in it for what a run will need."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError, UsageError
from .lock import lock_descriptor
from .memory import memory_allowed

__all__ = [
    "MARGIN",
    "FolderTrait",
    "Need",
    "NotEnoughMemoryError",
    "check_need",
    "examine_folder",
    "existing_folder",
    "free_bytes",
    "in_words",
]

#: So many times the estimate should be free.
MARGIN = 1.2
_ALL_THE_SAME = "--no-preflight, or preflight=False in Python"
#: What is written to measure the speed [bytes].
_SAMPLE = 16 << 20


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


@dataclass(frozen=True, slots=True)
class FolderTrait:
    """One thing that a folder can or cannot do."""

    name: str  # what was tried
    good: bool  # whether it works
    needed: bool  # whether nothing can be written without it
    outcome: str  # in words


def existing_folder(path: str | os.PathLike[str]) -> Path:
    """Return a folder or, if it does not exist yet, the one in which it would be made."""
    place = Path(path).absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def examine_folder(path: str | os.PathLike[str]) -> list[FolderTrait]:
    """Try out in a folder what runs do there; leave nothing behind."""
    folder = Path(path)
    if not folder.is_dir():
        return [FolderTrait("folder", False, True, "there is no such folder")]
    try:
        with _scratch(folder) as place:
            return [*_writing(place), *_tried(place)]
    except OSError as err:
        return [FolderTrait("write", False, True, f"refused: {err.strerror or err}")]


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix=".cytovox-doctor-", dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _writing(place: Path) -> Iterator[FolderTrait]:
    """Write for a short time, to the disk and not to the system's memory; return the speed."""
    data = os.urandom(1 << 20)
    begin = time.perf_counter()
    with (place / "sample").open("wb") as file:
        for _ in range(_SAMPLE >> 20):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    seconds = max(time.perf_counter() - begin, 1e-9)
    speed = _SAMPLE / seconds / 1e6
    yield FolderTrait("write", True, True, f"{speed:.0f} MB/s to the disk")
    begin = time.perf_counter()
    with (place / "sample").open("r+b") as file:
        file.write(b"x")
        os.fsync(file.fileno())
    yield FolderTrait("fsync", True, False, f"{(time.perf_counter() - begin) * 1e3:.1f} ms")


def _tried(place: Path) -> Iterator[FolderTrait]:
    tries: list[tuple[str, bool, Callable[[Path], str]]] = [
        ("rename", True, _rename),
        ("link", False, _link),
        ("lock", False, _lock),
        ("sync of folder", False, _sync_folder),
        ("case", False, _case),
    ]
    for name, needed, attempt in tries:
        try:
            outcome = attempt(place)
        except OSError as err:
            yield FolderTrait(name, False, needed, f"does not work: {err.strerror or err}")
        else:
            yield FolderTrait(name, True, needed, outcome)


def _rename(place: Path) -> str:
    (place / "new").write_bytes(b"new")
    (place / "old").write_bytes(b"old")
    os.replace(place / "new", place / "old")
    if (place / "old").read_bytes() != b"new":
        raise OSError("a renamed file has another content")
    return "replaces in one step"


def _link(place: Path) -> str:
    os.link(place / "sample", place / "linked")
    try:
        os.link(place / "sample", place / "linked")
    except FileExistsError:
        return "never replaces"
    raise OSError("a second link replaced the first")


def _lock(place: Path) -> str:
    with (place / "locked").open("wb") as one, (place / "locked").open("wb") as two:
        if not lock_descriptor(one.fileno()):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        try:
            lock_descriptor(two.fileno())
        except BlockingIOError:
            return "holds"
    raise OSError("two could have the lock at once")


def _sync_folder(place: Path) -> str:
    if os.name == "nt":
        return "not known on Windows"
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return "works"


def _case(place: Path) -> str:
    (place / "Case").touch()
    return "A and a are one name" if (place / "cASE").exists() else "A and a are two names"
