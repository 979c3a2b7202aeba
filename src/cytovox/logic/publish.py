"""From a temporary file to the final name: verified, on disk, all or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import InputError, OutputExistsError, StorageError, VerificationError
from ..read.permissions import Permissions
from ..write.disk import DISK
from .verify import require_whole, verify_recording

__all__ = ["publish", "refuse_existing", "verify_output"]


def refuse_existing(path: Path) -> None:
    """Raise an error if something has this name already."""
    if path.exists() or path.is_symlink():
        raise OutputExistsError(
            "the output exists already",
            path=path,
            hint="choose another name, or say that it may be replaced",
        ) from FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def verify_output(path: Path, events: int, permissions: Permissions | None = None) -> None:
    """Read a finished file back and check that nothing is missing or changed.

    Lengths, header, checksums of all that is stored, and what it refers to.
    """
    try:
        require_whole(verify_recording(path, events=events, permissions=permissions))
    except (InputError, OSError) as err:
        raise StorageError(f"the output cannot be read back: {err}", path=path) from err
    except VerificationError as err:
        err.hint = "the output was not published; run again"
        raise


def publish(temporary: Path, final: Path, *, replace: bool) -> None:
    """Give a finished file its final name, so that it outlives a power cut."""
    try:
        file = DISK.open(temporary, "r+b")
        try:
            file.sync()
        finally:
            file.close()
        if replace:
            DISK.replace(temporary, final)
        else:
            DISK.rename_new(temporary, final)
        DISK.sync_folder(final.parent)
    except FileExistsError as err:
        raise OutputExistsError(
            "the output appeared while it was being made",
            path=final,
            hint="another run may have made it; nothing was replaced",
        ) from err
    except OSError as err:
        raise StorageError(f"the output cannot get its name: {err}", path=final) from err
