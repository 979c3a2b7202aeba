"""Chunks that are not as they were written.

Their bytes are read from the file itself, beside HDF5, so that threads can
compare checksums at the speed of the disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError
from .chunks import StoredChunk
from .const import MAX_CHUNK_BYTES
from .dataset import CheckedDataset
from .filters import ChunkError, checksum_fits
from .permissions import Permissions

__all__ = ["find_defects"]

#: So much is read at a time [bytes]; neighbours with small gaps come together.
_BATCH = 8 << 20
_GAP = 1 << 16


@dataclass(frozen=True, slots=True)
class ChunkDefect:
    """A chunk, and what is wrong with it."""

    chunk: StoredChunk
    what: str


def find_defects(
    path: Path,
    chunks: Sequence[StoredChunk],
    permissions: Permissions | None = None,
    *,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[ChunkDefect]:
    """Read chunks and yield those that are not as they were written.

    `on_progress` receives the bytes that were checked, and all of them.
    """
    alone = [chunk for chunk in chunks if chunk.check == "hdf5"]
    rest = [chunk for chunk in chunks if chunk.check not in ("hdf5", "plain")]
    batches = list(_batches(sorted(rest, key=lambda chunk: chunk.position)))
    done, total = 0, sum(chunk.size for chunk in (*rest, *alone))
    report = on_progress or (lambda done, total: None)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="verify") as pool:
        try:
            results = pool.map(lambda batch: _check_batch(path, batch), batches)
            for batch, defects in zip(batches, results, strict=True):
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


def _batches(chunks: Sequence[StoredChunk]) -> Iterator[list[StoredChunk]]:
    batch = list(chunks[:1])
    for before, chunk in itertools.pairwise(chunks):
        gap = chunk.position - before.position - before.size
        span = chunk.position + chunk.size - batch[0].position
        if 0 <= gap <= _GAP and span <= _BATCH:
            batch.append(chunk)
        else:
            yield batch
            batch = [chunk]
    if batch:
        yield batch


def _check_batch(path: Path, batch: Sequence[StoredChunk]) -> list[ChunkDefect]:
    if batch[0].size > MAX_CHUNK_BYTES:
        return [ChunkDefect(batch[0], "is too large to be checked")]
    start = batch[0].position
    span = batch[-1].position + batch[-1].size - start
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            data = np.empty(span, np.uint8)
            got = stream.readinto(data.data)
    except OSError as err:
        return [ChunkDefect(batch[0], f"cannot be read: {err.strerror or err}")]
    defects = []
    for chunk in batch:
        begin = chunk.position - start
        if begin + chunk.size > got:
            defects.append(ChunkDefect(chunk, "is cut short"))
            continue
        what = _defect_of(chunk, data[begin : begin + chunk.size])
        if what is not None:
            defects.append(ChunkDefect(chunk, what))
    return defects


def _defect_of(chunk: StoredChunk, data: npt.NDArray[np.uint8]) -> str | None:
    if chunk.check == "fletcher32" and not checksum_fits(data):
        return "its checksum does not fit its bytes"
    pipeline = chunk.index.known
    if pipeline is None:
        return None
    try:
        pipeline.check(data.data, chunk.size, chunk.mask, in_full=chunk.check == "unpack")
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
