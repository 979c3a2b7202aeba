"""Opening HDF5 files with messages that tell what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import h5py

# Importing it registers the compression filters that recordings use.
import hdf5plugin  # noqa: F401

from ..errors import InputError, InputNotFoundError

__all__ = ["open_recording"]


def open_recording(source: Path | BinaryIO) -> h5py.File:
    """Open a file for reading.

    Parameters
    ----------
    source
        Path or binary stream.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputError
        If it is no HDF5 file, or was cut short, or may not be read.
    """
    if not isinstance(source, Path):
        return _open(source, None)
    if not source.exists():
        raise InputNotFoundError("there is no such file", path=source, hint="check the path")
    if not source.is_file():
        raise InputError("this is not a file", path=source, hint="give a recording (.rtdc)")
    return _open(source, source)


def _open(source: Any, path: Path | None) -> h5py.File:
    try:
        try:
            return h5py.File(source, "r", libver="latest")
        except OSError as err:
            # another library in this process may hold the file without locks
            if path is None or "lock" not in str(err).lower():
                raise
            return h5py.File(source, "r", libver="latest", locking=False)
    except PermissionError as err:
        raise InputError("the file may not be read", path=path, hint="check its rights") from err
    except OSError as err:
        raise _explain(err, path) from err


def _explain(err: OSError, path: Path | None) -> InputError:
    text = str(err)
    if path is not None and path.stat().st_size == 0:
        return InputError("the file is empty", path=path, hint="copy it again")
    if "truncated" in text:
        return InputError("the file was cut short", path=path, hint="copy it again")
    if "signature" in text:
        return InputError("this is not an HDF5 file", path=path, hint="give a recording (.rtdc)")
    return InputError(f"the file cannot be opened: {text}", path=path)
