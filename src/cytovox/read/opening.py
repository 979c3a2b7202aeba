"""Opening HDF5 files with messages that tell what is wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, BinaryIO

import h5py

# Importing it registers the compression filters that recordings use.
import hdf5plugin  # noqa: F401

from ..errors import InputError, InputNotFoundError
from .chunk_guard import trust_chunks_of
from .heap_guard import check_heaps
from .permissions import Permissions, default_permissions
from .structure import check_structure

__all__ = ["examine", "keep_to_known_filters", "open_hdf5_file", "open_recording"]

_plugins = threading.Lock()


def open_recording(source: Path | BinaryIO, permissions: Permissions | None = None) -> h5py.File:
    """Open a recording for reading, unless it leads elsewhere or claims too much.

    Parameters
    ----------
    source
        Path or binary stream.
    permissions
        What it may do; what is allowed in this process if None.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    RefusedInputError
        If it leads to other files, or claims impossible sizes.
    InputError
        If it is no HDF5 file, or was cut short, or may not be read.
    """
    h5 = open_hdf5_file(source)
    try:
        examine(h5, permissions)
    except BaseException:
        h5.close()
        raise
    return h5


def examine(h5: h5py.File, permissions: Permissions | None = None) -> list[str]:
    """Look at all that a reader of a recording may touch.

    Parameters
    ----------
    h5
        Opened file.
    permissions
        What it may do; what is allowed in this process if None.

    Returns
    -------
    list of str
        What leads outside of the file and is allowed, in words.

    Raises
    ------
    RefusedInputError
        If something is not allowed.
    InputError
        If the file is damaged.
    """
    may = default_permissions() if permissions is None else permissions
    if may.oversized:
        trust_chunks_of(h5.filename)
    try:
        return check_structure(h5, may)
    except (OSError, RuntimeError, KeyError, ValueError) as err:
        if isinstance(err, InputError):
            raise
        raise InputError(
            f"what is in the file cannot be listed: {str(err)[:200]}",
            path=h5.filename if isinstance(h5.filename, str) else None,
            hint="the file is damaged; copy it again",
        ) from err


def keep_to_known_filters() -> None:
    """Let HDF5 load no filter libraries from folders.

    HDF5 runs whatever library lies in the folders of ``HDF5_PLUGIN_PATH``, or in
    its own default ones, once a file asks for a filter. The filters of
    hdf5plugin are registered already and need no such folder.
    """
    with _plugins:
        while h5py.h5pl.size():
            h5py.h5pl.remove(0)


def open_hdf5_file(source: Path | BinaryIO) -> h5py.File:
    """Open any HDF5 file for reading, and look no further.

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
    if not default_permissions().oversized:
        keep_to_known_filters()
    if not isinstance(source, Path):
        return _checked(_open(source, None), source)
    if not source.exists():
        raise InputNotFoundError("there is no such file", path=source, hint="check the path")
    if not source.is_file():
        raise InputError("this is not a file", path=source, hint="give a recording (.rtdc)")
    return _checked(_open(source, source), source)


def _checked(h5: h5py.File, source: Path | BinaryIO) -> h5py.File:
    """Return a file in which HDF5 does not get lost; close it otherwise."""
    try:
        if isinstance(source, Path):
            with source.open("rb") as stream:
                check_heaps(h5, stream, source)
        else:
            check_heaps(h5, source)
    except BaseException:
        h5.close()
        raise
    return h5


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
