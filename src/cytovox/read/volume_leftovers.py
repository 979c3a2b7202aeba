"""What writers that were killed leave beside the files of an array."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["forget_torn_write"]

#: What tensorstore adds to the name of a file while it writes its new content.
_UNFINISHED = ".__lock"


def forget_torn_write(path: str | os.PathLike[str]) -> None:
    """Remove new content of a file whose writer has died before it was complete.

    tensorstore would write over it from its beginning and not cut it off, so
    that the rest of a longer content stayed behind a shorter one.
    """
    if fcntl is None:
        return
    torn = f"{os.fspath(path)}{_UNFINISHED}"
    try:
        descriptor = os.open(torn, os.O_RDWR)
    except OSError:  # as it should be
        return
    try:
        with contextlib.suppress(OSError):  # its writer lives
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(torn).unlink(missing_ok=True)
    finally:
        os.close(descriptor)
