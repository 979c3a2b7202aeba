"""What the storage says when it refuses, as one kind of error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CytovoxError, StorageError
from ..read.opening import system_errno

__all__ = ["storage_error", "storage_errors"]

_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC: "your quota is used up",
    errno.EROFS: "choose a folder that may be written",
    errno.EACCES: "choose a folder that may be written",
    errno.EFBIG: "this storage or your limits do not allow such large files",
}


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
