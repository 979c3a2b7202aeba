"""Files that are written whole or not at all, and outlive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["replaced_file", "sync_file", "sync_folder"]

#: What file systems say that cannot synchronise a file: there it does nothing.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def sync_file(descriptor: int) -> None:
    """Wait until everything written to a file so far would outlive a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as err:
        if err.errno not in _CANNOT:
            raise


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under another name, and give it its own when it is whole.

    Unlike a file of `tempfile`, it has the mode that the umask says. If there is
    an exception, what was there before stays.
    """
    if path.exists() and not path.is_file():  # a folder, a pipe, a device
        raise FileExistsError(errno.EEXIST, "there is something else of this name", str(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            sync_file(file.fileno())
        os.replace(temporary, path)
    except BaseException as err:
        if isinstance(err, OSError) and err.filename == str(temporary):
            err.filename = str(path)
        temporary.unlink(missing_ok=True)
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
