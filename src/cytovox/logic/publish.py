"""From a temporary file to the final name: verified, on disk, all or nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import h5py

from ..errors import OutputExistsError, StorageError, VerificationError

__all__ = ["publish", "refuse_existing", "verify_output"]


def refuse_existing(path: Path) -> None:
    """Raise an error if something has this name already.

    Raises
    ------
    OutputExistsError
        If so.
    """
    if path.exists() or path.is_symlink():
        raise OutputExistsError(
            "the output exists already",
            path=path,
            hint="choose another name, or say that it may be replaced",
        )


def verify_output(path: Path, events: int) -> None:
    """Read a finished file back and check that nothing is missing.

    Parameters
    ----------
    path
        File to check.
    events
        Number of events that were counted while they were made.

    Raises
    ------
    VerificationError
        If a feature is shorter or longer than the header says, or the header
        says something else than was counted.
    """
    try:
        with h5py.File(path, "r") as h5:
            _verify_header(h5, path, events)
            for name, item in h5["events"].items():
                if isinstance(item, h5py.Dataset) and item.shape[0] != events:
                    raise VerificationError(
                        f"feature '{name}' has {item.shape[0]} entries where {events} events "
                        "were counted",
                        path=path,
                        hint="the output was not published; run again",
                    )
    except OSError as err:
        raise StorageError(f"the output cannot be read back: {err}", path=path) from err


def _verify_header(h5: h5py.File, path: Path, events: int) -> None:
    for key in ("experiment:event count", "pipeline:dcnum yield"):
        if int(h5.attrs.get(key, -1)) != events:
            raise VerificationError(
                f"'{key}' is {h5.attrs.get(key)} where {events} events were counted",
                path=path,
                hint="the output was not published; run again",
            )


def publish(temporary: Path, final: Path, *, replace: bool) -> None:
    """Give a finished file its final name, so that it outlives a power cut.

    Parameters
    ----------
    temporary
        Closed file in the same folder.
    final
        Name that it gets.
    replace
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputExistsError
        If there is such a file and it may not be replaced.
    StorageError
        If the storage refuses.
    """
    try:
        _sync(temporary)
        if replace:
            os.replace(temporary, final)
        else:
            _rename_new(temporary, final)
        _sync_folder(final.parent)
    except FileExistsError as err:
        raise OutputExistsError(
            "the output appeared while it was being made",
            path=final,
            hint="another run may have made it; nothing was replaced",
        ) from err
    except OSError as err:
        raise StorageError(f"the output cannot get its name: {err}", path=final) from err


def _rename_new(temporary: Path, final: Path) -> None:
    """Rename, but never over an existing file."""
    if os.name == "nt":
        os.rename(temporary, final)  # refuses by itself
        return
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:
        # Some network and FAT file systems know no links.
        if final.exists():
            raise FileExistsError(str(final)) from None
        os.rename(temporary, final)
    else:
        os.unlink(temporary)


def _sync(path: Path) -> None:
    # Windows only flushes handles that were opened for writing.
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    # Windows cannot open a folder, and some file systems cannot sync one.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
