"""A file that is verified: what all checks share, and whether it is stored whole.

That is: all of it was written, lies within the file, and is unchanged.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from ..errors import CytovoxError
from ..read.chunks import StoredChunk, find_defects
from ..read.dataset import CheckedDataset
from ..read.members import is_within
from ..read.opening import OpenedFile, OpenedFiles
from ..read.permissions import Permissions
from ..run.findings import Finding, Severity
from ..run.memory import cpu_count

__all__ = [
    "FAILURES",
    "FileToVerify",
    "Findings",
    "check_places",
    "compare_checksums",
    "error",
    "list_contents",
    "note",
    "reason",
    "warning",
]

#: More chunks of one dataset are not listed one by one.
_LISTED = 5
_DEEPEST = 32

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
        index = self.opened.index_of(dataset)
        return CheckedDataset(dataset, self.permissions, self.files, index)

    def members(self, group: str) -> list[tuple[str, CheckedDataset]]:
        """Return the datasets directly in a group of the root, with their names."""
        found = [(name.split("/"), dataset) for name, dataset in self.datasets.items()]
        return [(parts[1], ds) for parts, ds in found if parts[:-1] == [group]]


def list_contents(file: FileToVerify) -> Findings:
    """Find all datasets that a file itself holds; links out of it are only named."""
    yield from _list_group(file, file.h5, "", set())


def _list_group(file: FileToVerify, group: h5py.Group, prefix: str, seen: set[Any]) -> Findings:
    """Go through a group; a group that contains itself does no harm."""
    try:
        _read_attributes(group)
    except FAILURES as err:
        yield error(prefix or "attributes", f"is damaged: {reason(err)}")
    if prefix.count("/") >= _DEEPEST:
        yield warning(prefix[:80], "is so deep that what is below was not looked at")
        return
    try:
        names = list(group)
        group.id.links.iterate(lambda name: None)  # by the index that the list may not use
    except FAILURES as err:
        yield error(prefix or "/", f"the list of its contents is damaged: {reason(err)}")
        return
    for name in names:
        place = f"{prefix}/{name}".lstrip("/")
        try:
            link = None if is_within(group, name) else group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                yield note(place, f"is in another file, which was not looked at: {link.filename}")
                continue
            if isinstance(link, h5py.SoftLink):
                yield note(place, f"is a link to {link.path}, not followed")
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
            else:
                _read_attributes(item)
            if isinstance(item, h5py.Dataset):
                file.datasets[place] = file.checked(item)
        except FAILURES as err:
            yield error(place, f"is damaged: {reason(err)}")
            continue
        if isinstance(item, h5py.Group) and address not in seen:
            seen.add(address)
            yield from _list_group(file, item, place, seen)


def _read_attributes(item: h5py.HLObject) -> None:
    attributes = item.attrs
    for name in attributes if len(attributes) else ():  # most have none
        # of a type that has no equivalent in NumPy
        with contextlib.suppress(TypeError):
            _ = attributes[name]


def check_places(file: FileToVerify) -> Findings:
    """Check that all chunks were written and lie within the file."""
    size = file.path.stat().st_size
    for name, dataset in file.datasets.items():
        try:
            yield from _check_places(file, name, dataset, size)
        except CytovoxError as err:
            yield error(name, err.what)
        except FAILURES as err:
            yield error(name, f"the index of its chunks is damaged: {reason(err)}")
    numbers = {"datasets": len(file.datasets), "chunks": len(file.chunks), "bytes": size}
    file.counts.update(numbers)


def _check_places(file: FileToVerify, name: str, dataset: CheckedDataset, size: int) -> Findings:
    if dataset.is_virtual:
        files = dict.fromkeys(part.file for part, _ in dataset.find_sources())
        names = ", ".join(files)[:200]
        yield note(name, f"is a view of other files, which were not looked at: {names}")
        return
    if dataset.external:
        yield warning(name, "is kept in another file, which was not looked at")
        return
    index = dataset.index
    if index.chunk_shape is not None:
        _ = index.content  # fails for values of an unknown type
    chunks = index.chunks
    if missing := index.missing:
        yield error(name, f"{missing} of its chunks were never written and read as zeros")
    within = [c for c in chunks if c.position >= 0 and c.position + c.size <= size]
    if beyond := len(chunks) - len(within):
        yield error(name, f"{beyond} of its chunks lie beyond the end of the file")
    file.chunks += within


def compare_checksums(file: FileToVerify) -> Findings:
    """Read chunks and compare their checksums, or unpack them if they have none."""
    if file.h5.userblock_size:
        yield note("/", "begins with a block of its user; its checksums were not compared")
        return
    chunks = [chunk for chunk in file.chunks if chunk.check != "plain"]
    bad: Counter[str] = Counter()
    found = find_defects(
        chunks,
        oversized=file.permissions.oversized,
        workers=file.workers or cpu_count(),
        on_progress=file.on_progress,
    )
    for defect in found:
        bad[defect.chunk.name] += 1
        if bad[defect.chunk.name] <= _LISTED:
            yield error(defect.chunk.where, defect.what)
    for name, number in bad.items():
        if number > _LISTED:
            yield error(name, f"{number - _LISTED} more chunks are damaged")
    file.counts["checked"] = len(chunks)
    file.counts["checksums"] = sum(chunk.check == "fletcher32" for chunk in chunks)
    file.counts["bytes_checked"] = sum(chunk.size for chunk in chunks)
