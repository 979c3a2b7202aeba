"""One run at a time for each output or journal.

The lock is a file beside the output. The system locks it for the process that has it,
and unlocks it whatever happens to that process. Its content says which process that is,
and what the names of its temporary files contain. So a lock file that is not locked
belongs to a run that was killed or has kept its files.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import platform
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import OutputBusyError, OutputError, StorageError
from .folder_sync import sync_file, sync_folder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # only on Windows
    msvcrt = None  # type: ignore[assignment]

__all__ = ["LockOwner", "OutputLock", "boot_id", "is_being_made", "lock_descriptor", "read_owner"]

#: A byte far behind the end, so that others can read a file that is locked.
_FAR = 1 << 40
#: How often the lock file may get another owner while it is being taken.
_ATTEMPTS = 100
#: Lock files are not longer than this [bytes].
_MOST = 1 << 16
#: Longest suffix; the name of a host has 64 letters at most.
_LONGEST = 120
#: What follows the name of a lock file that is being made or removed.
_ASIDE = "[0-9a-f]" * 8
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_OPEN = os.O_RDWR | getattr(os, "O_BINARY", 0)


def lock_descriptor(descriptor: int) -> bool:
    """Lock an open file for this process; False if the file system knows no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            return False
    except OSError as err:
        if err.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise BlockingIOError(err.errno, "locked by another process") from err
        return False
    return True


def boot_id() -> str:
    """Return what distinguishes one start of this machine from another, if that is known."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The process that has a lock."""

    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    """0 once its run has ended."""
    boot: str = field(default_factory=boot_id)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    suffixes: tuple[str, ...] = ()
    """Texts in the names of temporary files; the first is that of the run itself, others
    are of dead runs whose files it may not have removed."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host or 'an unnamed host'}, since {self.started}"

    def may_live(self) -> bool:
        """Return whether the process may still be there, and its run with it."""
        if not self.pid:  # the run has ended and said so
            return False
        if self.host != platform.node():
            return True
        if self.boot != boot_id():
            return False
        if os.name == "nt":
            return True
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):  # no process can have such a number
            return False
        except OSError:
            return True
        return True


class OutputLock:
    """The lock of an output; with a name of an earlier run, unless one is given."""

    def __init__(self, output: Path, suffix: str | None = None, default: str = "") -> None:
        self.output = output
        self.path = output.with_name(f"{output.name}.lock")
        self.suffix = default if suffix is None else suffix
        #: The dead run from which the lock was taken over.
        self.left: LockOwner | None = None
        self._given = suffix
        self._fd = -1
        self._by_system = True

    def __enter__(self) -> OutputLock:
        self.acquire()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether this object has the lock."""
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the lock."""
        try:
            if not any(self._try() for _ in range(_ATTEMPTS)):
                raise self._busy(None)
            self._sweep()
            # It names all files that follow, so it must be there if they are.
            sync_folder(self.path.parent)
        except OutputError:
            raise
        except OSError as err:
            is_long = err.errno == errno.ENAMETOOLONG
            raise StorageError(
                f"the output cannot be made: {err.strerror or err}",
                path=self.path.parent,
                hint="choose a shorter name"
                if is_long
                else "is the folder there, writable and not full?",
            ) from err

    def look(self) -> None:
        """Find the dead run that has left the lock, without taking it; an error if one has it."""
        try:
            fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return
        try:
            owner, is_locked = _owner_in(fd, self.path), False
            try:
                by_system = lock_descriptor(fd)  # until it is closed
            except BlockingIOError:
                is_locked = by_system = True
        finally:
            os.close(fd)
        if is_locked or (owner is not None and not by_system and owner.may_live()):
            raise self._busy(owner)
        self._take_name(owner)

    def release(self, *, keep: bool = False) -> None:
        """Give the lock back, and keep the file if files are left; may be called again."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        remove = False
        with contextlib.suppress(OSError):
            if keep and not self._by_system:  # or this process would seem to have it still
                self._write(fd, pid=0)
            remove = not keep and _is_still(fd, self.path)
        if os.name == "nt":  # where no open file can be removed
            os.close(fd)
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        if os.name != "nt":
            os.close(fd)

    def _try(self) -> bool:
        """Make the file or take it over; False if its owner is changing."""
        is_there = self.path.exists()
        # Windows removes no open file, so the other name would stay.
        if not is_there and os.name != "nt" and self._make_with_content():
            return True
        fd, is_new = _open_or_create(self.path)
        if fd < 0:
            return False
        try:
            if self._is_free(fd, is_new=is_new):
                self._write(fd)
                self._fd = fd
        except OSError:
            if is_new:  # and empty
                self.path.unlink(missing_ok=True)
            raise
        finally:
            if not self.is_held:
                os.close(fd)
        return self.is_held

    def _make_with_content(self) -> bool:
        """Make the file so that it names its owner from the start; that takes a hard link."""
        aside = self._aside()
        fd = os.open(aside, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            self._by_system = lock_descriptor(fd)
            self._write(fd)
            os.link(aside, self.path)
        except OSError:
            # A network may have asked twice, and the first answer was lost.
            if not _is_still(fd, self.path):
                os.close(fd)
                return False
        finally:
            with contextlib.suppress(OSError):  # others remove it once this run has ended
                aside.unlink()
        self._fd = fd
        return True

    def _is_free(self, fd: int, *, is_new: bool) -> bool:
        """Lock the file, unless another process has it, and read which dead run has left it."""
        try:
            self._by_system = lock_descriptor(fd)
            is_locked = False
        except BlockingIOError:
            is_locked = True
        if not _is_still(fd, self.path):
            return False
        owner = _owner_in(fd, self.path)
        if owner is None:  # the process that made the file is about to write into it
            return not is_locked and (self._by_system or is_new)
        if is_locked or (not self._by_system and owner.may_live()):
            raise self._busy(owner)
        self._take_name(owner)
        if not self._by_system:
            self._remove_stale(fd)
        return self._by_system

    def _take_name(self, owner: LockOwner | None) -> None:
        """Note the dead run, and let this one have its name unless one is given."""
        self.left = owner
        if self._given is None and owner is not None and owner.suffixes:
            self.suffix = owner.suffixes[0]

    def _write(self, fd: int, **more: Any) -> None:
        """Write the owner in one piece and shorten nothing, so that a kill leaves no mixture."""
        old = () if self.left is None else self.left.suffixes
        others = (suffix for suffix in old if suffix != self.suffix)
        owner = LockOwner(suffixes=(self.suffix, *others), **more)
        content = json.dumps(asdict(owner), indent=1).encode() + b"\n"
        size = os.lseek(fd, 0, os.SEEK_END)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, content.ljust(size))
        sync_file(fd)

    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")

    def _remove_stale(self, fd: int) -> None:
        """Remove the lock of a dead run where the system knows no locks.

        Of the processes that try, only one can rename the file that all have read.
        """
        aside = self._aside()
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if _is_still(fd, aside):
                aside.unlink()
            else:  # that of another run, which was faster and lives
                os.rename(aside, self.path)

    def _sweep(self) -> None:
        """Remove what is left of runs that were killed while they took the lock."""
        for path in self.path.parent.glob(f"{glob.escape(self.path.name)}.{_ASIDE}"):
            with contextlib.suppress(OSError, OutputError):  # its maker lives
                if _is_still(self._fd, path):  # another name of our own
                    path.unlink()
                    continue
                fd = os.open(path, _OPEN)
                try:
                    owner = _owner_in(fd, path)
                    is_dead = lock_descriptor(fd)  # raises if it is locked
                    if not is_dead and owner is not None:  # the system knows no locks
                        is_dead = not owner.may_live()
                finally:
                    os.close(fd)
                if is_dead:
                    path.unlink()

    def _busy(self, owner: LockOwner | None) -> OutputBusyError:
        maker = "another run" if owner is None else f"{owner},"
        hint = "wait for it, or stop it"
        if owner is None or owner.host != platform.node():
            hint += f"; if that machine no longer runs it, delete {self.path.name}"
        return OutputBusyError(f"{maker} is making this output", path=self.output, hint=hint)


def is_being_made(output: Path) -> bool:
    """Return whether a living run has the lock of an output; the lock is not taken."""
    path = output.with_name(f"{output.name}.lock")
    try:
        owner = read_owner(path)
        if owner is None or not owner.may_live():
            return False
        # Another process may have got the number of one that is dead.
        fd = os.open(path, _OPEN)
        try:
            return not lock_descriptor(fd)
        finally:
            os.close(fd)
    except BlockingIOError:
        return True
    except (OSError, OutputError):
        return False


def read_owner(path: Path) -> LockOwner | None:
    """Return the present or last owner of a lock; None if nothing is written in it."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return _owner_in(fd, path)
    finally:
        os.close(fd)


def _owner_in(fd: int, path: Path) -> LockOwner | None:
    os.lseek(fd, 0, os.SEEK_SET)
    content = os.read(fd, _MOST)
    if not content.strip(b"\0 \r\n"):  # perhaps the power was cut before it was written
        return None
    try:
        record: dict[str, Any] = json.loads(content)
        owner = LockOwner(
            host=str(record["host"]),
            pid=int(record["pid"]),
            boot=str(record["boot"]),
            started=str(record["started"]),
            suffixes=tuple(record["suffixes"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as err:
        raise OutputError(
            "a file that is not a lock is in the way",
            path=path,
            hint="rename it, or choose another name for the output",
        ) from err
    if not all(map(_is_plain, owner.suffixes)):
        raise OutputError("this lock names files elsewhere", path=path, hint="delete it")
    return owner


def _is_plain(suffix: object) -> bool:
    """Return whether a suffix, which any program may have written, stays in the folder."""
    if not isinstance(suffix, str) or len(suffix) > _LONGEST:
        return False
    return not set(suffix) & set('/\\:*?"<>|\0') and suffix not in (".", "..")


def _open_or_create(path: Path) -> tuple[int, bool]:
    """Return an open file and whether it is new; -1 if another has just removed it."""
    try:
        return os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, _OPEN), False
    return -1, False


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
