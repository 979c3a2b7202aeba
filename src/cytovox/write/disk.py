"""The operations of the system on files that must survive a kill or a power cut.

All of them go through one small object, so that a test can record them, fail
one of them, or play back what a power cut would have left.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from ..run.folder_sync import sync_file, sync_folder

__all__ = ["DISK", "Disk", "DiskFile"]


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
