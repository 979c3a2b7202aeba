"""Chunks that are not as they were written.

Their bytes are read beside HDF5, so that threads can compare checksums at the
speed of the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..errors import CytovoxError
from .chunks import ChunkBytes, Reader, StoredChunk
from .const import MAX_CHUNK_BYTES
from .dataset import CheckedDataset
from .filters import ChunkError, checksum_fits
from .permissions import Permissions

__all__ = ["find_defects"]

#: So many chunks at most are looked at by a thread at a time.
_BATCH = 64


@dataclass(frozen=True, slots=True)
class ChunkDefect:
    """A chunk, and what is wrong with it."""

    chunk: StoredChunk
    what: str


def find_defects(
    chunks: Sequence[StoredChunk],
    permissions: Permissions | None = None,
    *,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[ChunkDefect]:
    """Read chunks of one file and yield those that are not as they were written.

    `on_progress` receives the bytes that were checked, and all of them.
    """
    alone = [chunk for chunk in chunks if chunk.check == "hdf5"]
    rest = [chunk for chunk in chunks if chunk.check not in ("hdf5", "plain")]
    rest.sort(key=lambda chunk: chunk.position)
    step = max(1, min(_BATCH, len(rest) // (4 * workers)))
    batches = [rest[start : start + step] for start in range(0, len(rest), step)]
    done, total = 0, sum(chunk.size for chunk in (*rest, *alone))
    report = on_progress or (lambda done, total: None)
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        try:
            for batch, defects in zip(batches, pool.map(_check_batch, batches), strict=True):
                yield from defects
                done += sum(chunk.size for chunk in batch)
                report(done, total)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for chunk in alone:
        if what := _defect_by_hdf5(chunk, permissions):
            yield ChunkDefect(chunk, what)
        done += chunk.size
        report(done, total)


def _check_batch(batch: Sequence[StoredChunk]) -> list[ChunkDefect]:
    with ChunkBytes(batch[0].index.dataset) as read:
        found = [(chunk, _defect_of(chunk, read)) for chunk in batch]
    return [ChunkDefect(chunk, what) for chunk, what in found if what is not None]


def _defect_of(chunk: StoredChunk, read: Reader) -> str | None:
    if chunk.size > MAX_CHUNK_BYTES:
        return "is too large to be checked"
    try:
        data = read(chunk, chunk.size)
    except (OSError, RuntimeError) as err:
        return f"cannot be read: {getattr(err, 'strerror', None) or err}"
    if len(data) < chunk.size:
        return "is cut short"
    if chunk.check == "fletcher32" and not checksum_fits(np.frombuffer(data, np.uint8)):
        return "its checksum does not fit its bytes"
    if (pipeline := chunk.index.known) is not None:
        try:
            pipeline.check(data, chunk.size, chunk.mask, in_full=chunk.check == "unpack")
        except ChunkError as err:
            return str(err)
    return None


def _defect_by_hdf5(chunk: StoredChunk, permissions: Permissions | None) -> str | None:
    if chunk.index.content > MAX_CHUNK_BYTES:
        return "is too large to be checked"
    dataset = CheckedDataset(chunk.index.dataset, permissions, index=chunk.index)
    sizes = zip(chunk.start, dataset.chunks or (), strict=True)
    rows = tuple(slice(start, start + size) for start, size in sizes)
    try:
        _ = dataset[rows]
    except (CytovoxError, OSError, RuntimeError, ValueError) as err:
        return f"cannot be read: {err.what if isinstance(err, CytovoxError) else err}"
    return None
