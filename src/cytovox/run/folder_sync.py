"""Names in a folder that outlive a power cut."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["sync_folder"]


def sync_folder(folder: Path) -> None:
    """Wait until new and changed names in a folder would outlive a power cut.

    Windows cannot open a folder, and some file systems cannot synchronise one:
    there it does nothing.

    Parameters
    ----------
    folder
        The folder.

    Examples
    --------
    >>> sync_folder(getfixture("tmp_path"))
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
