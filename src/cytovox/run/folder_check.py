"""What a folder can do: whether results may be written there, and how safely."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FolderTrait", "examine_folder", "existing_folder"]

#: What is written to measure the speed [bytes].
_SAMPLE = 16 << 20


@dataclass(frozen=True, slots=True)
class FolderTrait:
    """One thing that a folder can or cannot do.

    Parameters
    ----------
    name
        What was tried.
    good
        Whether it works.
    needed
        Whether nothing can be written without it.
    outcome
        The outcome in words.
    """

    name: str
    good: bool
    needed: bool
    outcome: str


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
    if fcntl is None:
        return "kept by the system"
    with (place / "locked").open("wb") as one, (place / "locked").open("wb") as two:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
