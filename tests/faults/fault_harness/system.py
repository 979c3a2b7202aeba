"""Between the program and the system: every operation on files can be seen or refused.

Reading is left alone. Three ways lead to the system: the object `DISK`, the
functions of `os`, and whatever Python opens by itself, of which it tells
those who ask (`sys.addaudithook`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cytovox.write.disk import DISK, Disk, DiskFile
from support.disk import Operation, RecordingDisk

__all__ = ["RecordingSystem", "watch"]

#: Told each operation beforehand: its kind, its file, the number of bytes. What
#: it raises is what the system answers.
Before = Callable[[str, Path, int], None]

_METHODS = ("open", "replace", "rename_new", "remove", "sync_folder")
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_hooks: list[Callable[[str, Any], None]] = []
_active: list[Callable[[str, Any], None]] = []


class _WatchedFile:
    """An open file of the disk."""

    def __init__(self, inner: DiskFile, watch: _Watch) -> None:
        self.path = inner.path
        self.size, self.read_into = inner.size, inner.read_into
        self._inner, self._watch = inner, watch

    def write_at(self, offset: int, view: memoryview) -> int:
        try:
            self._watch.ask("write", self.path, len(view))
        except OSError:
            # A full disk takes what it can before it refuses.
            with self._watch.inside():
                self._inner.write_at(offset, view[: len(view) // 2])
            raise
        with self._watch.inside():
            return self._inner.write_at(offset, view)

    def truncate(self, size: int) -> None:
        self._watch.ask("truncate", self.path)
        with self._watch.inside():
            self._inner.truncate(size)

    def sync(self) -> None:
        self._watch.ask("fsync", self.path)
        with self._watch.inside():
            self._inner.sync()

    def close(self) -> None:
        self._inner.close()


class _Watch(Disk):
    """A disk that asks before each operation."""

    def __init__(self, folder: Path, before: Before, inner: Disk) -> None:
        self._root = f"{folder}{os.sep}"
        self._before, self._inner = before, inner
        self._local = threading.local()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Operations in this block have been asked for."""
        before = self.is_inside
        self._local.inside = True
        try:
            yield
        finally:
            self._local.inside = before

    @property
    def is_inside(self) -> bool:
        return getattr(self._local, "inside", False)

    def ask(self, kind: str, path: Any, size: int = 0) -> None:
        if not self.is_inside and isinstance(path, (str, Path)):
            path = os.path.abspath(path)
            if f"{path}{os.sep}".startswith(self._root):
                with self.inside():
                    self._before(kind, Path(path), size)

    def open(self, path: Path, mode: str) -> Any:
        self.ask("open", path)
        with self.inside():
            return _WatchedFile(self._inner.open(path, mode), self)

    def replace(self, source: Path, target: Path) -> None:
        self.ask("rename", target)
        with self.inside():
            self._inner.replace(source, target)

    def rename_new(self, source: Path, target: Path) -> None:
        self.ask("rename", target)
        with self.inside():
            self._inner.rename_new(source, target)

    def remove(self, path: Path) -> None:
        self.ask("remove", path)
        with self.inside():
            self._inner.remove(path)

    def sync_folder(self, folder: Path) -> None:
        # As the real one, which does without where it cannot.
        with contextlib.suppress(OSError):
            self.ask("fsync", folder)
            with self.inside():
                self._inner.sync_folder(folder)

    def hear(self, event: str, args: Any) -> None:
        """Take what Python tells of itself."""
        if event == "open":
            path, mode, flags = args
            writes = any(c in mode for c in "wxa+") if mode else flags & _FOR_WRITING
            if writes:
                self.ask("open", path)
        elif event in ("os.link", "os.rename"):
            self.ask("rename", args[1])
        elif event == "os.remove":
            self.ask("remove", args[0])
        elif event == "os.mkdir":
            self.ask("mkdir", args[0])


@contextmanager
def watch(folder: Path, before: Before, inner: Disk | None = None) -> Iterator[None]:
    """Ask before each operation that changes something in a folder.

    Parameters
    ----------
    folder
        The folder.
    before
        Told kind, path and number of bytes; may raise what the system would.
    inner
        Disk that then does it.
    """
    seen = _Watch(folder, before, Disk() if inner is None else inner)

    def write(fd: int, data: Any) -> int:
        seen.ask("write", _path_of(fd), len(data))
        return os_write(fd, data)

    def fsync(fd: int) -> None:
        seen.ask("fsync", _path_of(fd))
        os_fsync(fd)

    os_write, os_fsync = os.write, os.fsync
    with redirected(seen), _told(seen.hear):
        os.write, os.fsync = write, fsync
        try:
            yield
        finally:
            os.write, os.fsync = os_write, os_fsync


@contextmanager
def _told(hear: Callable[[str, Any], None]) -> Iterator[None]:
    """Let a function hear what Python tells of itself in this block."""
    if not _hooks:
        _hooks.append(_tell)
        sys.addaudithook(_tell)
    _active.append(hear)
    try:
        yield
    finally:
        _active.remove(hear)


@contextmanager
def redirected(disk: Disk) -> Iterator[None]:
    """Let the one disk that the program knows be another.

    Parameters
    ----------
    disk
        The other.
    """
    for name in _METHODS:
        setattr(DISK, name, getattr(disk, name))
    try:
        yield
    finally:
        for name in _METHODS:
            delattr(DISK, name)


def _tell(event: str, args: Any) -> None:
    for hear in _active:
        hear(event, args)


def _path_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


class RecordingSystem(RecordingDisk):
    """Notes what is done by means of the disk, and by the functions of `os` as well.

    Parameters
    ----------
    folder
        Only what is below it is noted.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._open: dict[int, Path] = {}
        self._folders: dict[int, Path] = {}
        self._is_disk = threading.local()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what is done in this block."""
        names = ("open", "write", "fsync", "close", "link", "rename", "replace", "unlink")
        before = {name: getattr(os, name) for name in names}
        with _told(self._hear), redirected(_Flagged(self, self._is_disk)):
            for name in names:
                setattr(os, name, self._noting(name, before[name]))
            try:
                yield
            finally:
                for name, function in before.items():
                    setattr(os, name, function)

    def _hear(self, event: str, args: Any) -> None:
        """Note what Python makes by itself; what it writes there are only logs."""
        if event == "open" and isinstance(args[1], str) and set(args[1]) & set("xw"):
            path = Path(os.fsdecode(args[0])).absolute()
            if path.is_relative_to(self._folder) and not getattr(self._is_disk, "flag", False):
                self._created(path)

    def _created(self, path: Path) -> None:
        if path not in self._numbers:
            self._numbers[path] = self._count
            self._count += 1
            self.operations.append(Operation("create", self._numbers[path], path=path))

    def _noting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        note = getattr(self, f"_note_{name}")

        def work(*args: Any, **kwargs: Any) -> Any:
            size = os.fstat(args[0]).st_size if name == "write" else 0
            result = function(*args, **kwargs)
            if not getattr(self._is_disk, "flag", False):
                note(result, size, *args)
            return result

        return work

    def _note_open(self, fd: int, _size: int, path: Any, flags: int, *_: Any) -> None:
        path = Path(os.fsdecode(path)).absolute()
        if not path.is_relative_to(self._folder):
            return
        if not flags & _FOR_WRITING:
            if path.is_dir():
                self._folders[fd] = path
            return
        self._open[fd] = path
        self._created(path)

    def _note_write(self, done: int, size: int, fd: int, data: Any) -> None:
        if fd in self._open:
            number = self._numbers[self._open[fd]]
            self.operations.append(Operation("write", number, size, bytes(data)[:done]))

    def _note_fsync(self, _done: None, _size: int, fd: int) -> None:
        path = self._open.get(fd)
        if fd in self._folders:
            self.sync_folder(self._folders[fd])
        elif path is not None and path in self._numbers:
            self.operations.append(Operation("sync", self._numbers[path]))

    def _note_close(self, _done: None, _size: int, fd: int) -> None:
        self._open.pop(fd, None)
        self._folders.pop(fd, None)

    def _note_link(self, _done: None, _size: int, source: Any, target: Any, **_: Any) -> None:
        # The first name is always removed at once.
        self._note_replace(None, 0, source, target)

    def _note_replace(self, _done: None, _size: int, source: Any, target: Any) -> None:
        source, target = (Path(os.fsdecode(path)).absolute() for path in (source, target))
        if source in self._numbers:
            self._renamed(source, target)
            self._open = {k: target if p == source else p for k, p in self._open.items()}

    _note_rename = _note_replace

    def _note_unlink(self, _done: None, _size: int, path: Any, **_: Any) -> None:
        path = Path(os.fsdecode(path)).absolute()
        if path in self._numbers:
            self.operations.append(Operation("remove", self._numbers.pop(path), path=path))


class _Flagged(Disk):
    """Passes on to a disk, and lets that be known meanwhile."""

    def __init__(self, inner: Disk, flag: threading.local) -> None:
        for name in _METHODS:
            setattr(self, name, _flagging(getattr(inner, name), flag))


def _flagging(function: Callable[..., Any], flag: threading.local) -> Callable[..., Any]:
    def work(*args: Any) -> Any:
        flag.flag = True
        try:
            return function(*args)
        finally:
            flag.flag = False

    return work
