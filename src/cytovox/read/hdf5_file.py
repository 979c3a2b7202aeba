"""Opening HDF5 files with messages that tell what is wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, BinaryIO

import h5py

# Importing it registers the compression filters that recordings use.
import hdf5plugin  # noqa: F401

from ..errors import InputError, InputNotFoundError
from .heap_guard import check_heaps
from .permissions import default_permissions

__all__ = ["is_being_written", "keep_to_known_filters", "open_hdf5_file", "open_own_file"]

_plugins = threading.Lock()
#: What HDF5 says of a file that is marked as open, as newer formats are.
_OPEN_MARK = "already open for write"


def keep_to_known_filters() -> None:
    """Let HDF5 load no filter libraries from folders.

    HDF5 runs whatever library lies in the folders of ``HDF5_PLUGIN_PATH``, or in
    its own default ones, once a file asks for a filter. The filters of
    hdf5plugin are registered already and need no such folder.
    """
    with _plugins:
        while h5py.h5pl.size():
            h5py.h5pl.remove(0)


def open_own_file(path: Path, mode: str, **options: Any) -> h5py.File:
    """Open an HDF5 file of this program, also where the file system refuses locks."""
    try:
        return h5py.File(path, mode, **options)
    except BlockingIOError:  # another program has it
        raise
    except OSError as err:
        if "lock" not in str(err).lower():
            raise
        return h5py.File(path, mode, locking=False, **options)


def is_being_written(path: Path) -> bool:
    """Return whether another program has an HDF5 file open for writing.

    HDF5 locks a file that it writes, from version 1.10 on.
    """
    try:
        h5py.File(path, "r").close()
    except BlockingIOError:
        return True
    except OSError as err:
        return _OPEN_MARK in str(err)
    return False


def open_hdf5_file(source: Path | BinaryIO, *, growing: bool | None = None) -> h5py.File:
    """Open any HDF5 file for reading, and look no further."""
    may = default_permissions()
    if not may.oversized:
        keep_to_known_filters()
    growing = may.growing if growing is None else growing
    if not isinstance(source, Path):
        return _checked(_open(source, None, growing), source)
    if not source.exists():
        raise InputNotFoundError("there is no such file", path=source, hint="check the path")
    if not source.is_file():
        raise InputError("this is not a file", path=source, hint="give a recording (.rtdc)")
    return _checked(_open(source, source, growing), source)


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


def _open(source: Any, path: Path | None, growing: bool) -> h5py.File:
    try:
        try:
            return h5py.File(source, "r", libver="latest")
        except BlockingIOError as err:
            if not growing:
                raise InputError(
                    "another program has this file open for writing",
                    path=path,
                    hint="wait until it is closed; to measure what is there now: "
                    "cytovox run --growing",
                ) from err
        except OSError as err:
            # the file system may refuse locks, another library in this process may
            # hold the file without
            if path is None or "lock" not in str(err).lower():
                raise
        return _open_unlocked(source, growing)
    except PermissionError as err:
        raise InputError("the file may not be read", path=path, hint="check its rights") from err
    except OSError as err:
        raise _explain(err, path) from err


def _open_unlocked(source: Any, growing: bool) -> h5py.File:
    try:
        return h5py.File(source, "r", libver="latest", locking=False)
    except OSError as err:
        if not growing or _OPEN_MARK not in str(err):
            raise
    # a writer that lets others read meanwhile (SWMR)
    return h5py.File(source, "r", libver="latest", locking=False, swmr=True)


def _explain(err: OSError, path: Path | None) -> InputError:
    text = str(err)
    if path is not None and path.stat().st_size == 0:
        return InputError("the file is empty", path=path, hint="copy it again")
    if "truncated" in text:
        return InputError("the file was cut short", path=path, hint="copy it again")
    if _OPEN_MARK in text:
        return InputError(
            "the file says that it is open for writing",
            path=path,
            hint="wait until it is closed; if the program that wrote it has ended: h5clear -s",
        )
    if "signature" in text:
        return InputError("this is not an HDF5 file", path=path, hint="give a recording (.rtdc)")
    return InputError(f"the file cannot be opened: {text}", path=path)
