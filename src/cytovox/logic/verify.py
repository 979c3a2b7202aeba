"""Whether a recording or a result is whole: nothing missing, nothing changed.

Nothing is written, and nothing outside the file is read but the headers of
files to which its basins point. The file is opened once. Each question about it
is one of a table of checks, which are asked one after the other.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import VerificationError
from ..read.opening import OpenedFiles
from ..read.permissions import Permissions, default_permissions
from ..run.findings import Verification
from . import verify_contents as contents
from . import verify_file as stored
from .verify_file import FAILURES, FileToVerify, Findings, error, reason

__all__ = ["require_whole", "verify_recording"]


class _Check(NamedTuple):
    #: What is said to be damaged if that ends the check; None if damage does not.
    where: str | None
    find: Callable[[FileToVerify], Findings]
    #: Whether it is asked of any HDF5 file, or of recordings only.
    of_any: bool = False
    #: Whether it unpacks something, which is not done of what readers refuse.
    unpacks: bool = False


#: The checks in their order: later ones use what earlier ones have found out.
_CHECKS = (
    _Check("/", stored.list_contents, of_any=True),
    _Check("/", contents.check_structure),
    _Check("attributes", contents.check_header),
    _Check("events", contents.check_features),
    _Check("pipeline:dcnum", contents.check_pipeline, unpacks=True),
    _Check("basins", contents.check_basins, unpacks=True),
    _Check("logs", contents.check_logs, unpacks=True),
    _Check("/", stored.check_places, of_any=True),
)
#: The last one, unless only headers and places are looked at.
_THOROUGH = _Check(None, stored.compare_checksums, of_any=True, unpacks=True)


def verify_recording(
    path: str | os.PathLike[str],
    *,
    thorough: bool = True,
    events: int | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    permissions: Permissions | None = None,
    opened: OpenedFiles | None = None,
    or_hdf5: bool = False,
) -> Verification:
    """Check a recording or a result, of this program or of another.

    Lengths of all features against the header, the header against itself, the
    pipeline identifier against its hash and the events, basins, logs, whether
    every chunk was written and lies within the file, and the checksum of each.

    Parameters
    ----------
    path
        File to check.
    thorough
        Whether chunks are read and their checksums compared.
    events
        How many events there must be, if the caller knows.
    workers
        Number of threads that compare checksums; as many as cores if None.
    on_progress
        Called with the bytes checked so far and the bytes to check.
    permissions
        What the file may do; what is allowed in this process if None.
    opened
        Files of a reader that is open, which are not opened again.
    or_hdf5
        Whether it may be any HDF5 file: of one that counts no events, only how it
        is stored is checked.

    Returns
    -------
    Verification
        A file that cannot even be opened raises instead.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputError
        If it is not an HDF5 file, was cut short or may not be read.

    Examples
    --------
    >>> import h5py, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "short.rtdc"
    >>> with h5py.File(path, "w") as h5:
    ...     h5.attrs["experiment:event count"] = 4
    ...     h5["events/deform"] = [0.1, 0.2, 0.3]
    >>> for finding in verify_recording(path).findings:
    ...     print(finding)
    error: events/deform: has 3 rows where the header counts 4 events
    >>> folder.cleanup()
    """
    begin = time.perf_counter()
    found = Verification(os.fspath(path), "recording")
    may = default_permissions() if permissions is None else permissions
    with OpenedFiles(opened) as files:
        own = files.open(Path(path), may)
        file = FileToVerify(Path(path), own, files, may, events, workers, on_progress)
        with contextlib.suppress(*FAILURES):  # the checks report damage
            if or_hdf5 and "experiment:event count" not in file.h5.attrs:
                file.kind = "hdf5"
        for check in (*_CHECKS, _THOROUGH) if thorough else _CHECKS:
            is_asked = check.of_any or file.kind != "hdf5"
            if is_asked and not (check.unpacks and file.is_refused):
                found.extend(_ask(check, file))
    found.kind, found.counts = file.kind, file.counts
    found.seconds = time.perf_counter() - begin
    return found


def _ask(check: _Check, file: FileToVerify) -> Findings:
    """Yield what a check finds; damage that ends it is a finding too."""
    try:
        yield from check.find(file)
    except FAILURES as err:
        if check.where is None:
            raise
        yield error(check.where, f"is damaged: {reason(err)}")


def require_whole(found: Verification) -> None:
    """Raise an error if data are lost or wrong.

    Parameters
    ----------
    found
        What a check found.

    Raises
    ------
    VerificationError
        With the first error and the number of all.
    """
    errors = found.errors
    if not errors:
        return
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    raise VerificationError(
        f"{errors[0].where}: {errors[0].what}{more}",
        path=found.path,
        hint="see what cytovox verify says",
    )
