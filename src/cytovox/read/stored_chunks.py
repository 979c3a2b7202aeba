"""Stored chunks of an HDF5 file: whether all are there, and as they were written.

The bytes of a chunk are read from the file itself, beside HDF5, so that threads
can compare checksums at the speed of the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import zstandard

from ..errors import CytovoxError
from .chunk_guard import checked
from .filters import FLETCHER, ZSTD, ChunkError, Pipeline, checksum_fits
from .members import chunk_infos
from .permissions import RefusedInputError
from .volume_limits import MAX_CHUNK_BYTES

__all__ = ["ChunkDefect", "StoredChunk", "check_chunks", "list_chunks"]

#: So much is read at a time [bytes]; neighbours with small gaps come together.
_BATCH = 8 << 20
_GAP = 1 << 16

_DEFLATE, _SHUFFLE = 1, 2


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """Where one chunk of a dataset lies in the file.

    Parameters
    ----------
    name
        Dataset, as path within the file.
    start
        First index of the chunk along each axis.
    position, size
        First byte in the file and number of bytes.
    check
        How it can be checked without HDF5: ``"fletcher32"``, ``"zstd"``,
        ``"deflate"``, ``"size"`` (too short or too long for a chunk without
        filters), ``"plain"`` (nothing to check but its place), or ``"hdf5"``
        where only HDF5 itself knows.
    content
        Number of bytes when unpacked.
    pipeline, mask
        Its filters, if all are known, and bits of those that were left out.
    """

    name: str
    start: tuple[int, ...]
    position: int
    size: int
    check: str
    content: int
    pipeline: Pipeline | None = None
    mask: int = 0

    @property
    def where(self) -> str:
        """The chunk in words."""
        return f"{self.name}, chunk at {'/'.join(map(str, self.start)) or 0}"


@dataclass(frozen=True, slots=True)
class ChunkDefect:
    """What is wrong with a chunk.

    Parameters
    ----------
    chunk
        The chunk.
    what
        What is wrong.
    """

    chunk: StoredChunk
    what: str


def list_chunks(dataset: h5py.Dataset) -> tuple[list[StoredChunk], int]:
    """Return where the chunks of a dataset lie, and how many were never written.

    A dataset in one piece counts as one chunk. What is kept in the header of
    the dataset or in another file has no chunks.
    """
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout == h5py.h5d.CONTIGUOUS:
        return _one_piece(dataset)
    if layout != h5py.h5d.CHUNKED or dataset.chunks is None:
        return [], 0
    try:
        pipeline: Pipeline | None = Pipeline.of(dataset)
    except RefusedInputError:
        pipeline = None  # HDF5 may know its filters
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    content = int(np.prod(dataset.chunks, dtype=np.int64)) * dataset.dtype.itemsize
    content = content if pipeline is None else pipeline.content
    chunks = [
        StoredChunk(
            dataset.name.lstrip("/"),
            tuple(info.chunk_offset),
            int(info.byte_offset),
            int(info.size),
            _check_of(filters, int(info.filter_mask), pipeline, int(info.size)),
            content,
            pipeline,
            int(info.filter_mask),
        )
        for info in chunk_infos(dataset)
    ]
    rows = zip(dataset.shape, dataset.chunks, strict=True)
    expected = int(np.prod([-(-length // chunk) for length, chunk in rows], dtype=object))
    within = sum(
        all(a < n for a, n in zip(chunk.start, dataset.shape, strict=True)) for chunk in chunks
    )
    return chunks, expected - within


def check_chunks(
    path: Path,
    chunks: Sequence[StoredChunk],
    h5: h5py.File,
    *,
    workers: int = 2,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[ChunkDefect]:
    """Read chunks and yield those that are not as they were written."""
    alone = [chunk for chunk in chunks if chunk.check == "hdf5"]
    rest = sorted(
        (c for c in chunks if c.check not in ("hdf5", "plain")), key=lambda c: c.position
    )
    batches = list(_batches(rest))
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="verify") as pool:
        try:
            results = pool.map(lambda batch: _check_batch(path, batch), batches)
            for batch, defects in zip(batches, results, strict=True):
                yield from defects
                if on_bytes is not None:
                    on_bytes(sum(chunk.size for chunk in batch))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    opened: dict[str, h5py.Dataset] = {}
    for chunk in alone:
        if chunk.name not in opened:
            opened[chunk.name] = checked(h5[chunk.name])
        defect = _check_by_hdf5(opened[chunk.name], chunk)
        if defect is not None:
            yield defect
        if on_bytes is not None:
            on_bytes(chunk.size)


def _one_piece(dataset: h5py.Dataset) -> tuple[list[StoredChunk], int]:
    size = int(dataset.id.get_storage_size())
    position = dataset.id.get_offset()
    if position is None or not size:
        return [], int(bool(dataset.size))
    name = dataset.name.lstrip("/")
    return [StoredChunk(name, (0,), int(position), size, "plain", size)], 0


def _check_of(filters: Sequence[int], skipped: int, pipeline: Pipeline | None, size: int) -> str:
    """Return how a chunk can be checked, given its filters in the order of writing."""
    used = [number for i, number in enumerate(filters) if not skipped >> i & 1]
    if not used:
        return "plain" if pipeline is None or size == pipeline.content else "size"
    if used[-1] == FLETCHER:
        return "fletcher32"
    # Other filters change the size, so that it says nothing.
    if set(used[:-1]) <= {_SHUFFLE} and used[-1] in (ZSTD, _DEFLATE):
        return "zstd" if used[-1] == ZSTD else "deflate"
    return "hdf5"


def _batches(chunks: Sequence[StoredChunk]) -> Iterator[list[StoredChunk]]:
    batch = list(chunks[:1])
    for before, chunk in pairwise(chunks):
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
        with path.open("rb", buffering=0) as stream:
            stream.seek(start)
            data = np.empty(span, np.uint8)
            got = _read_into(stream.readinto, data.data)
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


def _read_into(readinto: Callable[[memoryview], int | None], view: memoryview) -> int:
    got = 0
    while got < len(view):
        now = readinto(view[got:])
        if not now:
            break
        got += now
    return got


def _defect_of(chunk: StoredChunk, data: npt.NDArray[np.uint8]) -> str | None:
    if chunk.check == "fletcher32" and not checksum_fits(data):
        return "its checksum does not fit its bytes"
    if chunk.pipeline is not None:
        try:
            chunk.pipeline.check(data.data, chunk.size, chunk.mask)
        except ChunkError as err:
            return str(err)
    return _zstd_defect(chunk, data) if chunk.check == "zstd" else None


def _zstd_defect(chunk: StoredChunk, data: npt.NDArray[np.uint8]) -> str | None:
    try:
        size = zstandard.frame_content_size(data.data)
        if size not in (-1, chunk.content):
            return f"unpacks to {size} bytes instead of {chunk.content}"
        got = 0
        for part in _unpacked(chunk, data):
            got += len(part)
    except zstandard.ZstdError as err:
        return f"cannot be unpacked: {err}"
    if got != chunk.content:
        return f"unpacks to {got} bytes instead of {chunk.content}"
    return None


def _unpacked(chunk: StoredChunk, data: npt.NDArray[np.uint8]) -> Iterable[bytes]:
    """Yield the content in pieces, never more than one byte too much."""
    left = chunk.content + 1
    with zstandard.ZstdDecompressor().stream_reader(data.data) as reader:
        while left and (part := reader.read(min(left, 1 << 20))):
            left -= len(part)
            yield part


def _check_by_hdf5(dataset: h5py.Dataset, chunk: StoredChunk) -> ChunkDefect | None:
    if chunk.content > MAX_CHUNK_BYTES:
        return ChunkDefect(chunk, "is too large to be checked")
    sizes = zip(chunk.start, dataset.chunks or (), strict=True)
    rows = tuple(slice(start, start + size) for start, size in sizes)
    try:
        _ = dataset[rows]
    except (CytovoxError, OSError, RuntimeError, ValueError) as err:
        what = err.what if isinstance(err, CytovoxError) else str(err)
        return ChunkDefect(chunk, f"cannot be read: {what}")
    return None
