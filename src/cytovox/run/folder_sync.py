"""Contents of files and names in folders that outlive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

__all__ = ["sync_file", "sync_folder"]

#: What file systems say that cannot synchronise a file: there it does nothing.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def sync_file(descriptor: int) -> None:
    """Wait until everything written to a file so far would outlive a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as err:
        if err.errno not in _CANNOT:
            raise


def sync_folder(folder: Path) -> None:
    """Wait until new and changed names in a folder would outlive a power cut.

    Windows cannot open a folder, and some file systems cannot synchronise one:
    there it does nothing.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
