"""A file that is verified: what all its checks share, and what they find."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from ..errors import CytovoxError
from ..read.chunks import StoredChunk
from ..read.dataset import CheckedDataset, checked
from ..read.opening import OpenedFile, OpenedFiles
from ..read.permissions import Permissions
from ..run.findings import Finding, Severity

__all__ = [
    "FAILURES",
    "FileToVerify",
    "Findings",
    "error",
    "note",
    "reason",
    "warning",
]

Findings = Iterator[Finding]

error = functools.partial(Finding, Severity.ERROR)
refused = functools.partial(Finding, Severity.REFUSED)
warning = functools.partial(Finding, Severity.WARNING)
note = functools.partial(Finding, Severity.NOTE)

#: What HDF5 and its readers raise where a file is damaged or may not be read.
FAILURES = (
    CytovoxError,
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
)


def reason(err: BaseException) -> str:
    """Return what one of `FAILURES` says, without place and hint."""
    return err.what if isinstance(err, CytovoxError) else " ".join(str(err).split())[:200]


@dataclass(slots=True, eq=False)
class FileToVerify:
    """A file that is open, with what one check finds out and a later one needs."""

    path: Path
    opened: OpenedFile
    files: OpenedFiles
    permissions: Permissions
    #: How many events there must be, if the caller knows.
    wanted: int | None = None
    #: Number of threads; as many as cores if None.
    workers: int | None = None
    #: Called with the bytes checked so far and the bytes to check.
    on_progress: Callable[[int, int], None] | None = None
    #: ``"recording"``, ``"result"`` or ``"hdf5"``.
    kind: str = "recording"
    counts: dict[str, int] = field(default_factory=dict)
    #: Datasets that the file itself holds, by their paths.
    datasets: dict[str, CheckedDataset] = field(default_factory=dict)
    #: Chunks that lie within the file.
    chunks: list[StoredChunk] = field(default_factory=list)
    #: How many events the header counts.
    events: int | None = None
    #: Whether readers refuse the recording; nothing of it is unpacked then.
    is_refused: bool = False

    @property
    def h5(self) -> h5py.File:
        """The file itself."""
        return self.opened.h5

    def checked(self, dataset: h5py.Dataset) -> CheckedDataset:
        """Return a dataset to read; all checks share the index of its chunks."""
        return checked(dataset, self.permissions, self.files)

    def members(self, group: str) -> list[tuple[str, CheckedDataset]]:
        """Return the datasets directly in a group of the root, with their names."""
        found = [(name.split("/"), dataset) for name, dataset in self.datasets.items()]
        return [(parts[1], ds) for parts, ds in found if parts[:-1] == [group]]
