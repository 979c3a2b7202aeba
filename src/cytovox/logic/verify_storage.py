"""Whether all that an HDF5 file holds was written, lies within it, and is unchanged."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from ..errors import CytovoxError
from ..read.chunks import StoredChunk
from ..read.dataset import check_chunks, checked
from ..read.opening import open_hdf5_file
from ..read.permissions import Permissions
from ..run.findings import Verification
from ..run.resources import cpu_count

__all__ = ["DAMAGE", "Progress", "check_storage", "surviving", "verify_hdf5", "walk"]

#: Called with the bytes checked so far and the bytes to check.
Progress = Callable[[int, int], None]

#: What HDF5 and its reader raise where a file is damaged.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError)
#: More chunks of one dataset are not listed one by one.
_LISTED = 5
_DEEPEST = 32


def verify_hdf5(
    path: str | os.PathLike[str],
    *,
    thorough: bool = True,
    workers: int | None = None,
    on_progress: Progress | None = None,
    permissions: Permissions | None = None,
) -> Verification:
    """Check how an HDF5 file is stored, whatever it is about."""
    begin = time.perf_counter()
    path = Path(path)
    found = Verification(os.fspath(path), "hdf5")
    with open_hdf5_file(path, permissions) as h5:
        datasets = walk(h5, found)
        threads = workers or cpu_count()
        check_storage(h5, path, datasets, found, thorough, threads, on_progress, permissions)
    found.seconds = time.perf_counter() - begin
    return found


@contextlib.contextmanager
def surviving(where: str, found: Verification) -> Iterator[None]:
    """Make a finding of what damage makes a check fail with."""
    try:
        yield
    except DAMAGE as err:
        found.error(where, f"is damaged: {_short(err)}")


def walk(h5: h5py.File, found: Verification) -> dict[str, h5py.Dataset]:
    """Return all datasets that a file itself holds; links out of it are only named."""
    datasets: dict[str, h5py.Dataset] = {}
    seen: set[Any] = set()
    with surviving("attributes", found):
        _read_attributes(h5)
    for name, item in _links(h5, "", found, seen):
        if isinstance(item, h5py.ExternalLink):
            found.note(name, f"is in another file, which was not looked at: {item.filename}")
        elif isinstance(item, h5py.SoftLink):
            found.note(name, f"is a link to {item.path}, not followed")
        else:
            try:
                _read_attributes(item)
            except DAMAGE as err:
                found.error(name, f"is damaged: {_short(err)}")
                continue
            if isinstance(item, h5py.Dataset):
                datasets[name] = item
    return datasets


def _read_attributes(item: h5py.HLObject) -> None:
    for name in item.attrs:
        # of a type that has no equivalent in NumPy
        with contextlib.suppress(TypeError):
            _ = item.attrs[name]


def _links(
    group: h5py.Group, prefix: str, found: Verification, seen: set[Any]
) -> Iterator[tuple[str, Any]]:
    """Yield what lies below a group, once each, or the link that leads elsewhere.

    A group that contains itself does no harm.
    """
    if prefix.count("/") >= _DEEPEST:
        found.warn(prefix[:80], "is so deep that what is below was not looked at")
        return
    try:
        names = list(group)
        group.id.links.iterate(lambda name: None)  # by the index that the list may not use
    except DAMAGE as err:
        found.error(prefix or "/", f"the list of its contents is damaged: {_short(err)}")
        return
    for name in names:
        full = f"{prefix}/{name}".lstrip("/")
        try:
            link = group.get(name, getlink=True)
            item = group[name] if isinstance(link, h5py.HardLink) else None
            key = None if item is None else h5py.h5o.get_info(item.id).addr
        except DAMAGE as err:
            found.error(full, f"is damaged: {_short(err)}")
            continue
        yield full, link if item is None else item
        if isinstance(item, h5py.Group) and key not in seen:
            seen.add(key)
            yield from _links(item, full, found, seen)


def check_storage(
    h5: h5py.File,
    path: Path,
    datasets: dict[str, h5py.Dataset],
    found: Verification,
    thorough: bool,
    workers: int,
    on_progress: Progress | None,
    permissions: Permissions | None = None,
) -> None:
    """Check where chunks lie and, if asked, their checksums."""
    size = path.stat().st_size
    chunks: list[StoredChunk] = []
    for name, dataset in datasets.items():
        chunks += _chunks_within(name, dataset, size, found, permissions)
    found.counts |= {"datasets": len(datasets), "chunks": len(chunks), "bytes": size}
    if not thorough:
        return
    if h5.userblock_size:
        found.note("/", "begins with a block of its user; its checksums were not compared")
        return
    checked_here = [chunk for chunk in chunks if chunk.check != "plain"]
    total = sum(chunk.size for chunk in checked_here)
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if on_progress is not None:
            on_progress(done, total)

    bad: dict[str, int] = {}
    for defect in check_chunks(path, checked_here, permissions, workers=workers, on_bytes=count):
        name = defect.chunk.name
        bad[name] = bad.get(name, 0) + 1
        if bad[name] <= _LISTED:
            found.error(defect.chunk.where, defect.what)
    for name, number in bad.items():
        if number > _LISTED:
            found.error(name, f"{number - _LISTED} more chunks are damaged")
    found.counts["checked"] = len(checked_here)
    found.counts["checksums"] = sum(chunk.check == "fletcher32" for chunk in checked_here)
    found.counts["bytes_checked"] = total


def _chunks_within(
    name: str,
    dataset: h5py.Dataset,
    size: int,
    found: Verification,
    permissions: Permissions | None,
) -> list[StoredChunk]:
    """Return the chunks that lie within the file; name what does not."""
    try:
        if dataset.is_virtual:
            files = dict.fromkeys(
                part.file for part, _ in checked(dataset, permissions).find_sources()
            )
            told = ", ".join(files)[:200]
            found.note(name, f"is a view of other files, which were not looked at: {told}")
            return []
        if dataset.external:
            found.warn(name, "is kept in another file, which was not looked at")
            return []
        index = checked(dataset, permissions).index
        if index.chunk_shape is not None:
            _ = index.content  # fails for values of an unknown type
        chunks, missing = list(index.chunks.values()), index.missing
    except CytovoxError as err:
        found.error(name, err.what)
        return []
    except DAMAGE as err:
        found.error(name, f"the index of its chunks is damaged: {_short(err)}")
        return []
    if missing:
        found.error(name, f"{missing} of its chunks were never written and read as zeros")
    within = [c for c in chunks if c.position >= 0 and c.position + c.size <= size]
    if len(within) < len(chunks):
        number = len(chunks) - len(within)
        found.error(name, f"{number} of its chunks lie beyond the end of the file")
    return within


def _short(err: BaseException) -> str:
    return " ".join(str(err).split())[:200]
