"""The operations of the system on files that must survive a kill or a power cut.

All of them go through one small object, so that a test can record them, fail
one of them, or play back what a power cut would have left. What the system says
when it refuses is one kind of error. HDF5 writes through a sink.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import h5py

from ..errors import CytovoxError, StorageError
from ..read.const import HDF5_VERSIONS
from ..read.members import member, members
from ..read.opening import open_own_file, system_errno
from ..run.folder_sync import sync_file, sync_folder

__all__ = [
    "DISK",
    "Disk",
    "DiskFile",
    "Sink",
    "open_output",
    "storage_error",
    "storage_errors",
]

#: How files are opened.
_OPTIONS = {
    "libver": HDF5_VERSIONS,
    "rdcc_nbytes": 10 * 2**20,
    "rdcc_w0": 1.0,
    "rdcc_nslots": 1000,
}

_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC: "your quota is used up",
    errno.EROFS: "choose a folder that may be written",
    errno.EACCES: "choose a folder that may be written",
    errno.EFBIG: "this storage or your limits do not allow such large files",
}


class DiskFile:
    """An open binary file that is read and written at given places."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        self._file = io.FileIO(path, mode.replace("b", ""))

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill a buffer with what is at a place; return how many bytes there were."""
        self._file.seek(offset)
        done = 0
        while done < len(view) and (number := self._file.readinto(view[done:])):
            done += number
        return done

    def write_at(self, offset: int, view: memoryview) -> int:
        """Write some or all bytes at a place; return how many were taken."""
        self._file.seek(offset)
        return self._file.write(view) or 0

    def truncate(self, size: int) -> None:
        """Set the length."""
        self._file.truncate(size)

    def sync(self) -> None:
        """Wait until everything written so far would outlive a power cut."""
        sync_file(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Disk:
    """Opens, renames and removes files."""

    def open(self, path: Path, mode: str) -> DiskFile:
        """Open a file for reading and writing."""
        return DiskFile(path, mode)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another one, all at once."""
        os.replace(source, target)

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename a file, but never over an existing one."""
        if os.name == "nt":
            os.rename(source, target)  # refuses by itself
            return
        try:
            os.link(source, target)
        except FileExistsError:
            # A network may ask twice, so that the first answer is lost.
            if not os.path.samefile(source, target):
                raise
            os.unlink(source)
        except OSError:
            # Some network and FAT file systems know no links.
            if target.exists():
                raise FileExistsError(str(target)) from None
            os.rename(source, target)
        else:
            os.unlink(source)

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Wait until new and changed names in a folder would outlive a power cut."""
        sync_folder(folder)


#: The disk that is used where nothing else is said.
DISK = Disk()


def storage_error(err: BaseException, path: str | os.PathLike[str] | None) -> StorageError:
    """Return what a failed write means."""
    number = system_errno(err)
    reason = str(err) if not number else os.strerror(number)
    error = StorageError(
        f"cannot write: {reason}", path=path, hint=_HINTS.get(number) if number else None
    )
    error.errno = number
    return error


@contextmanager
def storage_errors(path: str | os.PathLike[str] | Path | None) -> Iterator[None]:
    """Raise whatever the storage refuses as `StorageError` that knows the file."""
    try:
        yield
    except CytovoxError:
        raise
    except OSError as err:
        raise storage_error(err, path) from err
    except RuntimeError as err:
        # h5py reports so what fails while a file or dataset is being closed
        raise storage_error(err, path) from err
    except KeyError as err:
        # and so what is there, but cannot be opened
        if "Unable to" not in str(err):
            raise
        raise storage_error(RuntimeError(err.args[0]), path) from err


class Sink:
    """A file that takes what HDF5 writes and survives a storage that refuses.

    When a write fails, the HDF5 library cannot close its file any more: it leaks
    it, complains while objects are released, and may crash at the end of the
    program. So it writes through an object that always succeeds and remembers the
    first error, which is raised as soon as the library has returned. Nothing
    reaches the disk any more then; the rest is kept in memory.
    """

    def __init__(self, path: Path, mode: str, *, disk: Disk | None = None) -> None:
        self.path = path
        self.error: OSError | None = None
        #: Receives the place and the bytes of each write.
        self.on_write: Callable[[int, memoryview], None] | None = None
        self._disk = disk or DISK
        self._file = self._disk.open(path, mode)
        self._position = 0
        self._end = self._file.size()
        self._refused: list[tuple[int, bytes]] = []

    def __repr__(self) -> str:
        # h5py takes this as the name of the file
        return str(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        self._refused.clear()
        try:
            self._file.close()
        except OSError as err:
            # network storage may refuse as late as here
            self.error = self.error or err

    def open_hdf5(self) -> h5py.File:
        """Open what the file holds for writing, or make it anew if it is empty."""
        return h5py.File(self, "r+" if self._end else "w", **_OPTIONS)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def flush(self) -> None:
        """Do nothing: every write goes to the system at once."""

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file."""
        size = self._position if size is None else size
        if self.error is None:
            try:
                self._file.truncate(size)
            except OSError as err:
                self.error = err
        self._end = size
        return size

    def sync(self) -> int:
        """Wait until all that was written would outlive a power cut; return the length."""
        self._file.sync()
        return self._end

    def write(self, data: Any) -> int:
        """Write at the position; always succeeds."""
        view = memoryview(data).cast("B")
        if self.on_write is not None:
            self.on_write(self._position, view)
        done = self._write(view) if self.error is None else 0
        if done < len(view):
            self._refused.append((self._position + done, bytes(view[done:])))
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def _write(self, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view):
                done += self._file.write_at(self._position + done, view[done:])
        except OSError as err:
            self.error = err
        return done

    def readinto(self, buffer: Any) -> int:
        """Read at the position what was written there, or zeros."""
        view = memoryview(buffer).cast("B")
        start = self._position
        done = self._file.read_into(start, view)
        view[done:] = bytes(len(view) - done)
        for offset, data in self._refused:
            low, high = max(start, offset), min(start + len(view), offset + len(data))
            if low < high:
                view[low - start : high - start] = data[low - offset : high - offset]
        self._position = start + len(view)
        return len(view)

    def read(self, size: int) -> bytes:
        """Return bytes from the position."""
        buffer = bytearray(max(0, min(size, self._end - self._position)))
        self.readinto(buffer)
        return bytes(buffer)


def open_output(path: Path, mode: str) -> tuple[h5py.File, Sink | None]:
    """Open a file for writing, through a sink wherever that is possible."""
    exists = path.is_file() and path.stat().st_size > 0
    if exists and mode in ("a", "r+") and _refers_to_other_files(path):
        return open_own_file(path, "r+", **_OPTIONS), None
    if mode in ("x", "w-"):
        sink = Sink(path, "x+b")
    elif mode == "w" or (mode == "a" and not exists):
        sink = Sink(path, "w+b")
    else:
        sink = Sink(path, "r+b")
    try:
        return sink.open_hdf5(), sink
    except BaseException:
        sink.close()
        raise


def _refers_to_other_files(path: Path) -> bool:
    """Return whether a file has virtual datasets.

    HDF5 crashes when it reads one while it writes through a file object.
    """
    with open_own_file(path, "r") as h5:
        events = member(h5, "events", {})
        return any(isinstance(ds, h5py.Dataset) and ds.is_virtual for _, ds in members(events))
