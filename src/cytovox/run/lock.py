"""One run at a time for each output, and whose files lie around.

A lock is a file beside the output that the system locks for the process, and
unlocks whatever happens to it. So a lock file that nobody has locked belongs
to a run that was killed or has kept its files; what is written in it tells by
which names these go.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import platform
import re
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

__all__ = ["LockOwner", "OutputLock", "boot_id", "lock_descriptor"]

#: A byte far behind the end, so that others can read a file that is locked.
_FAR = 1 << 40
#: So often may the lock file change hands while it is being taken.
_ATTEMPTS = 100
#: Lock files are not longer than this [bytes].
_MOST = 1 << 16
#: Longest suffix; the name of a host has 64 letters at most.
_LONGEST = 120
#: What follows the name of a lock that is being made.
_MADE = re.compile(r"\.[0-9a-f]{8}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def lock_descriptor(descriptor: int) -> bool:
    """Lock an open file for this process, until it is closed or the process ends."""
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
    """Return what tells one start of this machine from another, if that is known."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class LockOwner:
    """Who has taken an output.

    Parameters
    ----------
    host
        Name of the machine.
    pid
        Number of the process; 0 once its run has ended.
    boot
        See `boot_id`.
    started
        When, UTC, in ISO form.
    suffixes
        Texts in the names of temporary files; the first is that of the run
        itself, others are of dead runs whose files it may not have removed.
    """

    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    boot: str = field(default_factory=boot_id)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    suffixes: tuple[str, ...] = ()

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
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


class OutputLock:
    """The lock of an output."""

    def __init__(self, output: Path, suffix: str | None = None, default: str = "") -> None:
        self.output = output
        self.path = output.with_name(f"{output.name}.lock")
        self.suffix = default if suffix is None else suffix
        self.left: LockOwner | None = None
        self._given = suffix
        self._fd = -1
        self._is_locked = False

    def __enter__(self) -> OutputLock:
        self.acquire()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether this object has taken the output."""
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the output."""
        try:
            for _ in range(_ATTEMPTS):
                if self._try_new() or self._try_old():
                    self._sweep()
                    # It names all files that follow, so it must be there if they are.
                    sync_folder(self.path.parent)
                    return
        except (OutputError, StorageError):
            raise
        except OSError as err:
            hint = "is the folder there, writable and not full?"
            if err.errno == errno.ENAMETOOLONG:
                hint = "choose a shorter name"
            raise StorageError(
                f"the output cannot be made: {err.strerror or err}",
                path=self.path.parent,
                hint=hint,
            ) from err
        raise OutputBusyError("other runs take it again and again", path=self.output)

    def release(self, *, keep: bool = False) -> None:
        """Give the output free; may be called again."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if keep and not self._is_locked:  # or this process would seem to have it still
            with contextlib.suppress(OSError):
                self._replace(self._content(pid=0))
        if keep or os.name == "nt":  # Windows removes no open files
            os.close(fd)
        if not keep:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        if not (keep or os.name == "nt"):
            os.close(fd)

    def _try_new(self) -> bool:
        """Take an output that nobody has; what is in the lock is there from the start."""
        if self.path.exists():
            return False
        try:
            mine = self._made()
        except BlockingIOError:  # swept before it was locked
            return False
        try:
            os.link(mine, self.path)
        except (FileExistsError, FileNotFoundError):  # another was faster, or has swept it
            # or a network has asked twice, and the first answer was lost
            if not _is_still(self._fd, self.path):
                self._drop()
        except OSError:  # a file system without links
            self._drop()
            return self._try_exclusively()
        finally:
            mine.unlink(missing_ok=True)
        return self.is_held

    def _try_exclusively(self) -> bool:
        try:
            fd = os.open(self.path, _FLAGS | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with contextlib.suppress(BlockingIOError):  # somebody looks whether we live
            self._is_locked = lock_descriptor(fd)
        os.write(fd, self._content())
        sync_file(fd)
        self._fd = fd
        return True

    def _made(self) -> Path:
        """Make a lock under another name and hold it."""
        mine = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        fd = os.open(mine, _FLAGS | os.O_EXCL, 0o666)
        try:
            os.write(fd, self._content())
            self._is_locked = lock_descriptor(fd)
            sync_file(fd)
        except BaseException:
            os.close(fd)
            mine.unlink(missing_ok=True)
            raise
        self._fd = fd
        return mine

    def _sweep(self) -> None:
        """Remove what those have left who died while they took the output."""
        for path in self.path.parent.glob(f"{glob.escape(self.path.name)}.*"):
            if not _MADE.fullmatch(path.name.removeprefix(self.path.name)):
                continue
            with contextlib.suppress(OSError):  # its owner lives, or is gone by now
                fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
                try:
                    if lock_descriptor(fd) or _is_of_dead(path):
                        path.unlink()
                finally:
                    os.close(fd)

    def _drop(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _try_old(self) -> bool:
        """Take an output over from a dead run; False if the lock has changed meanwhile."""
        try:
            fd = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return False
        try:
            try:
                knows_locks = lock_descriptor(fd)
            except BlockingIOError:
                raise self._busy(_read(self.path)) from None
            if not _is_still(fd, self.path):
                return False
            self.left = _read(self.path)
            if not knows_locks and self.left is not None and self.left.may_live():
                raise self._busy(self.left)
            self._inherit()
            if not knows_locks:
                return self._bury(fd) and self._try_new()
            if os.name == "nt":
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, os.SEEK_SET)
                os.write(fd, self._content())
                self._fd, fd = fd, -1
                return True
            return self._replace_old()
        finally:
            if fd >= 0:
                os.close(fd)

    def _replace_old(self) -> bool:
        try:
            os.replace(self._made(), self.path)
        except (BlockingIOError, FileNotFoundError):  # swept while it was made
            self._drop()
        return self.is_held

    def _bury(self, descriptor: int) -> bool:
        """Remove the lock of a dead run, where only one of those who try must win."""
        grave = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        try:
            os.rename(self.path, grave)
        except FileNotFoundError:
            return False
        if _is_still(descriptor, grave):
            grave.unlink()
            return True
        with contextlib.suppress(OSError):  # another one was faster and lives
            os.rename(grave, self.path)
        return False

    def _inherit(self) -> None:
        if self._given is None and self.left is not None and self.left.suffixes:
            self.suffix = self.left.suffixes[0]

    def _replace(self, content: bytes) -> None:
        fresh = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        fresh.write_bytes(content)
        os.replace(fresh, self.path)

    def _content(self, **more: Any) -> bytes:
        old = () if self.left is None else self.left.suffixes
        others = (suffix for suffix in old if suffix != self.suffix)
        owner = LockOwner(suffixes=(self.suffix, *others), **more)
        return json.dumps(asdict(owner), indent=1).encode() + b"\n"

    def _busy(self, owner: LockOwner | None) -> OutputBusyError:
        who = "another run" if owner is None else str(owner)
        hint = "wait for it, or stop it"
        if owner is not None and owner.host != platform.node():
            hint += f"; if that machine no longer runs it, delete {self.path.name}"
        return OutputBusyError(f"{who}, is making this output", path=self.output, hint=hint)


_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)


def _read(path: Path) -> LockOwner | None:
    """Return who has taken an output; None if the file is empty."""
    with path.open("rb") as file:
        content = file.read(_MOST)
    if not content.strip():
        return None
    try:
        told: dict[str, Any] = json.loads(content)
        owner = LockOwner(
            host=str(told["host"]),
            pid=int(told["pid"]),
            boot=str(told["boot"]),
            started=str(told["started"]),
            suffixes=tuple(told["suffixes"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as err:
        raise OutputError(
            "a file that is no lock is in the way",
            path=path,
            hint="rename it, or choose another name for the output",
        ) from err
    if any(not _is_plain(suffix) for suffix in owner.suffixes):
        raise OutputError("this lock names files elsewhere", path=path, hint="delete it")
    return owner


def _is_of_dead(path: Path) -> bool:
    try:
        owner = _read(path)
    except OutputError:
        return False
    return owner is not None and not owner.may_live()


def _is_plain(suffix: object) -> bool:
    """Return whether a suffix stays within the folder, whoever wrote it."""
    if not isinstance(suffix, str) or len(suffix) > _LONGEST:
        return False
    return not set(suffix) & set('/\\:*?"<>|\0') and suffix not in (".", "..")


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
