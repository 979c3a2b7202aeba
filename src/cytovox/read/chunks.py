"""Chunks of a dataset: where they are, and whether all are there and as they were written.

Their bytes are read from the file itself, beside HDF5, so that threads can
compare checksums at the speed of the disk.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import numpy.typing as npt

from .const import FLETCHER, MAX_CHUNK_BYTES
from .filters import ChunkError, Pipeline, checksum_fits, is_unpacked_alone
from .members import chunk_infos
from .permissions import RefusedInputError

__all__ = ["ChunkBytes", "ChunkDefect", "ChunkIndex", "Offset", "StoredChunk", "find_defects"]

#: So much is read at a time [bytes]; neighbours with small gaps come together.
_BATCH = 8 << 20
_GAP = 1 << 16

Offset = tuple[int, ...]
#: How a chunk can be checked without HDF5: nothing but its place, its size, its
#: checksum, or by unpacking it; or only by HDF5.
Check = Literal["plain", "size", "fletcher32", "unpack", "hdf5"]
#: Returns the first bytes of a chunk, so many.
Reader = Callable[["StoredChunk", int], bytes]


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """Where one chunk of a dataset is in the file.

    Its first index along each axis, first byte and number of bytes, and the
    bits of the filters that were left out.
    """

    index: ChunkIndex = field(repr=False, compare=False)
    start: Offset
    position: int
    size: int
    mask: int = 0

    @property
    def name(self) -> str:
        """Dataset, as path within the file."""
        return self.index.name

    @property
    def where(self) -> str:
        """The chunk in words."""
        return f"{self.name}, chunk at {'/'.join(map(str, self.start)) or 0}"

    @property
    def check(self) -> Check:
        """How it can be checked."""
        return self.index.check_of(self)


@dataclass(frozen=True, slots=True)
class ChunkDefect:
    """A chunk, and what is wrong with it."""

    chunk: StoredChunk
    what: str


class ChunkIndex:
    """Where the chunks of a dataset are; HDF5 would go through all of them for each.

    A dataset in one piece counts as one chunk. What is kept in the header of
    the dataset or in another file has no chunks.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = h5py.Dataset(dataset.id)
        self.shape = dataset.shape
        #: Shape of a chunk; None if the dataset is in one piece.
        self.chunk_shape = dataset.chunks
        self.name = str(dataset.name or "").lstrip("/")
        #: Chunks that were found to unpack to a chunk.
        self.sound: set[Offset] = set()
        #: The chunk that was unpacked last.
        self.last: tuple[Offset, npt.NDArray[np.uint8]] | None = None

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """How the chunks are stored."""
        return Pipeline.of(self.dataset)

    @functools.cached_property
    def known(self) -> Pipeline | None:
        """How the chunks are stored; None if only HDF5 may know the filters."""
        try:
            return self.pipeline
        except RefusedInputError:
            return None

    @functools.cached_property
    def numbers(self) -> list[int]:
        """Numbers of the filters in the order of writing."""
        plist = self.dataset.id.get_create_plist()
        return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]

    @functools.cached_property
    def content(self) -> int:
        """Bytes of a chunk when unpacked."""
        if self.known is not None:
            return self.known.content
        return math.prod(self.chunk_shape or (0,)) * int(self.dataset.dtype.itemsize)

    @functools.cached_property
    def chunks(self) -> dict[Offset, StoredChunk]:
        """The chunks that were written, by their first index along each axis."""
        if self.chunk_shape is not None:
            infos = chunk_infos(self.dataset)
            places = [(i.chunk_offset, i.byte_offset, i.size, i.filter_mask) for i in infos]
        else:
            position, size = self.dataset.id.get_offset(), self.dataset.id.get_storage_size()
            places = [((0,), position, size, 0)] if position is not None and size else []
        return {
            tuple(start): StoredChunk(self, tuple(start), int(position), int(size), int(mask))
            for start, position, size, mask in places
        }

    @property
    def missing(self) -> int:
        """Number of chunks that were never written."""
        if self.chunk_shape is None:
            layout = self.dataset.id.get_create_plist().get_layout()
            needed = layout == h5py.h5d.CONTIGUOUS and bool(self.dataset.size)
            return int(needed and not self.chunks)
        pairs = zip(self.shape, self.chunk_shape, strict=True)
        expected = math.prod(int(-(-n // c)) for n, c in pairs)
        within = (all(a < n for a, n in zip(s, self.shape, strict=True)) for s in self.chunks)
        return expected - sum(within)

    def offsets(self, box: Iterable[tuple[int, int]]) -> Iterator[Offset]:
        """Yield the first indices of the chunks that hold a part of a box."""
        pairs = zip(box, self.chunk_shape or (), strict=True)
        return itertools.product(*(range(a // c * c, b, c) for (a, b), c in pairs))

    def check_of(self, chunk: StoredChunk) -> Check:
        """Return how a chunk can be checked, given its filters in the order of writing."""
        used = self._used(chunk.mask)
        if not used:
            whole = self.chunk_shape is None or chunk.size == self.content
            return "plain" if whole or self.known is None else "size"
        if used[-1] == FLETCHER:
            return "fletcher32"
        return "unpack" if self.known is not None and is_unpacked_alone(used) else "hdf5"

    def _used(self, mask: int) -> list[int]:
        return [number for i, number in enumerate(self.numbers) if not mask >> i & 1]

    def require_sound(self, chunk: StoredChunk, read: Reader) -> None:
        """Make sure that a chunk unpacks to a chunk, once."""
        if chunk.start in self.sound:
            return
        needed = self.pipeline.needed(chunk.size, chunk.mask)
        self.pipeline.check(read(chunk, needed), chunk.size, chunk.mask)
        self.sound.add(chunk.start)

    def unpack(self, chunk: StoredChunk, read: Reader) -> npt.NDArray[np.uint8]:
        """Return what a chunk holds, uint8 of shape (n,); the last one is kept."""
        last = self.last
        if last is not None and last[0] == chunk.start:
            return last[1]
        self.last = last = None  # there shall not be two at a time
        values = self.pipeline.unpack(read(chunk, chunk.size), chunk.mask)
        self.last = chunk.start, values
        self.sound.add(chunk.start)
        return values


class ChunkBytes:
    """Reads the first bytes of chunks, from the file itself where there is one."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._descriptor: int | None = None

    def __enter__(self) -> Reader:
        file = self._dataset.file
        if file.driver != "fileobj" and not file.userblock_size:
            try:
                self._descriptor = os.open(file.filename, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError:
                self._descriptor = None  # moved away since it was opened
        return self._read

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _read(self, chunk: StoredChunk, size: int) -> bytes:
        if not size:
            return b""
        if self._descriptor is None:
            return bytes(self._dataset.id.read_direct_chunk(chunk.start)[1][:size])
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, chunk.position)
        os.lseek(self._descriptor, chunk.position, os.SEEK_SET)
        return os.read(self._descriptor, size)


def find_defects(
    path: Path,
    chunks: Sequence[StoredChunk],
    check_by_hdf5: Callable[[StoredChunk], str | None],
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
        too_large = chunk.index.content > MAX_CHUNK_BYTES
        if what := "is too large to be checked" if too_large else check_by_hdf5(chunk):
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
