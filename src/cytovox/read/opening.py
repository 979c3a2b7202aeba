"""Opening recordings: the file, and what it may lead to."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import h5py

from ..errors import CytovoxError, InputError
from .elsewhere import OtherFiles, folders_of
from .hdf5_file import open_hdf5_file
from .permissions import Permissions, default_permissions
from .structure import check_structure

__all__ = ["examine", "open_recording"]


def open_recording(source: Path | BinaryIO, permissions: Permissions | None = None) -> h5py.File:
    """Open a recording for reading, unless it leads elsewhere or claims too much."""
    h5 = open_hdf5_file(source, growing=permissions.growing if permissions else None)
    try:
        examine(h5, permissions)
    except BaseException:
        h5.close()
        raise
    return h5


def examine(
    h5: h5py.File, permissions: Permissions | None = None, others: OtherFiles | None = None
) -> list[str]:
    """Look at all that a reader of a recording may touch."""
    may = default_permissions() if permissions is None else permissions
    may = may.within(*folders_of(h5))
    found = OtherFiles() if others is None else others
    try:
        return check_structure(h5, may, found)
    except (CytovoxError, OSError, RuntimeError, KeyError, ValueError) as err:
        if isinstance(err, CytovoxError):
            raise
        raise InputError(
            f"what is in the file cannot be listed: {str(err)[:200]}",
            path=h5.filename if isinstance(h5.filename, str) else None,
            hint="the file is damaged; copy it again",
        ) from err
    finally:
        if others is None:
            found.close()
