"""Chunks of a dataset: where they are, which an index asks for, and whether they are damaged.

Their bytes are read beside HDF5, so that threads can compare checksums at the
speed of the disk.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError
from .const import FLETCHER, MAX_CHUNK_BYTES
from .filters import ChunkError, Pipeline, checksum_fits, is_unpacked_alone
from .members import chunk_infos
from .permissions import RefusedInputError

__all__ = [
    "ChunkBytes",
    "ChunkIndex",
    "Offset",
    "Ranges",
    "Selection",
    "StoredChunk",
    "find_defects",
    "shape_of",
]

#: So many bytes of chunks are looked at by a thread at a time.
_BATCH_BYTES = 1 << 20

#: First index along each axis and the one after the last.
Ranges = Sequence[tuple[int, int]]
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
        """How it can be checked, given its filters in the order of writing."""
        index = self.index
        used = [number for i, number in enumerate(index.numbers) if not self.mask >> i & 1]
        if not used:
            whole = index.chunk_shape is None or self.size == index.content
            return "plain" if whole or index.known is None else "size"
        if used[-1] == FLETCHER:
            return "fletcher32"
        return "unpack" if index.known is not None and is_unpacked_alone(used) else "hdf5"


class ChunkIndex:
    """Where the chunks of a dataset are; HDF5 would go through all of them for each.

    A dataset in one piece counts as one chunk. What is kept in the header of
    the dataset or in another file has no chunks.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
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
    def path(self) -> str | None:
        """The file that stored bytes can be read from; None if only HDF5 can read them."""
        file = self.dataset.file
        return None if file.driver == "fileobj" or file.userblock_size else str(file.filename)

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
    def places(self) -> dict[Offset, tuple[int, int, int]]:
        """Position, size and filter mask of chunks that were written, by their first indices.

        A `StoredChunk` refers to its index, so those are made when they are wanted:
        in a circle of objects all of them would outlive the file.
        """
        if self.chunk_shape is not None:
            infos = chunk_infos(self.dataset.id)
            places = [(i.chunk_offset, i.byte_offset, i.size, i.filter_mask) for i in infos]
        else:
            position, size = self.dataset.id.get_offset(), self.dataset.id.get_storage_size()
            places = [((0,), position, size, 0)] if position is not None and size else []
        if any(start is None or position is None for start, position, *_ in places):
            raise InputError(
                f"a chunk of '{self.name}' has no place in the file",
                path=self.dataset.file.filename,
                hint="the file is damaged; copy it again",
            )
        return {tuple(start): (int(at), int(size), int(mask)) for start, at, size, mask in places}

    def find(self, start: Offset) -> StoredChunk | None:
        """Return the chunk with these first indices along each axis, if it was written."""
        place = self.places.get(start)
        return None if place is None else StoredChunk(self, start, *place)

    @property
    def chunks(self) -> list[StoredChunk]:
        """The chunks that were written."""
        return [StoredChunk(self, start, *place) for start, place in self.places.items()]

    @property
    def missing(self) -> int:
        """Number of chunks that were never written."""
        if self.chunk_shape is None:
            layout = self.dataset.id.get_create_plist().get_layout()
            needed = layout == h5py.h5d.CONTIGUOUS and bool(self.dataset.size)
            return int(needed and not self.places)
        pairs = zip(self.shape, self.chunk_shape, strict=True)
        expected = math.prod(int(-(-n // c)) for n, c in pairs)
        within = (all(a < n for a, n in zip(s, self.shape, strict=True)) for s in self.places)
        return expected - sum(within)

    def offsets(self, box: Iterable[tuple[int, int]]) -> Iterator[Offset]:
        """Yield the first indices of the chunks that hold a part of a box."""
        pairs = zip(box, self.chunk_shape or (), strict=True)
        return itertools.product(*(range(a // c * c, b, c) for (a, b), c in pairs))

    def stored(self, box: Iterable[tuple[int, int]]) -> Iterator[StoredChunk]:
        """Yield the chunks that were written and hold a part of a box."""
        pairs = zip(box, self.chunk_shape or (), strict=True)
        axes = [range(a // c * c, b, c) for (a, b), c in pairs]
        starts: Iterable[Offset]
        if math.prod(max(1, -((r.start - r.stop) // r.step)) for r in axes) > len(self.places):
            # a dataset can claim any number of chunks, but the file has only some
            written = sorted(self.places)
            starts = (s for s in written if all(n in one for n, one in zip(s, axes, strict=True)))
        else:
            starts = itertools.product(*axes)
        return (found for start in starts if (found := self.find(start)) is not None)

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

    def unpack_into(self, chunk: StoredChunk, read: Reader, out: npt.NDArray[np.uint8]) -> None:
        """Write what a chunk holds into an array, uint8 of shape (n,)."""
        last = self.last
        if last is not None and last[0] == chunk.start:
            out[:] = last[1]
            return
        self.pipeline.unpack_into(read(chunk, chunk.size), out, chunk.mask)
        self.sound.add(chunk.start)


class ChunkBytes:
    """Reads the first bytes of chunks, from the file itself where there is one."""

    def __init__(self, index: ChunkIndex) -> None:
        self._path = index.path
        self._descriptor: int | None = None

    def __enter__(self) -> Reader:
        if self._path is not None:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
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
            stored = chunk.index.dataset.id.read_direct_chunk(chunk.start)
            return bytes(stored[1][:size])
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, chunk.position)
        os.lseek(self._descriptor, chunk.position, os.SEEK_SET)
        return os.read(self._descriptor, size)


@dataclass(frozen=True, slots=True)
class Selection:
    """What an index of an array asks for."""

    box: Ranges
    #: Rows within the first range of the box, in rising order; None for all.
    rows: npt.NDArray[np.int64] | None
    #: What is taken of the values of the box.
    within: tuple[slice | int, ...]

    @property
    def is_box(self) -> bool:
        """Whether it is all of the box."""
        return self.rows is None and all(one == slice(None) for one in self.within)

    @classmethod
    def of(cls, args: Any, shape: tuple[int, ...]) -> Selection | None:
        """Return what is asked for; None for what h5py has to judge."""
        index = list(args) if isinstance(args, tuple) else [args]
        missing = len(shape) - len(index)
        at = next((i for i, one in enumerate(index) if one is Ellipsis), None)
        if at is None:
            index += [slice(None)] * missing
        else:
            index[at : at + 1] = [slice(None)] * (missing + 1)
        if len(index) != len(shape):
            return None
        rows: npt.NDArray[np.int64] | None = None
        box: list[tuple[int, int]] = []
        within: list[slice | int] = []
        for axis, (one, length) in enumerate(zip(index, shape, strict=True)):
            if axis == 0 and isinstance(one, list | np.ndarray | range):
                if (rows := _rising(one, length)) is None:
                    return None
            elif axis == 0 and isinstance(one, slice) and (one.step or 1) > 1:
                rows = np.arange(*one.indices(length))
            if axis == 0 and rows is not None:
                one = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
            if isinstance(one, slice) and (one.step or 1) > 0:
                start, stop, step = one.indices(length)
                box.append((start, max(start, stop)))
                within.append(slice(None) if step == 1 else slice(None, None, step))
            elif type(one) is not bool and isinstance(one, int | np.integer):
                if not -length <= one < length:
                    return None
                box.append((int(one) % length, int(one) % length + 1))
                within.append(0)
            else:
                return None
        return cls(box, rows, tuple(within))


def _rising(given: Any, length: int) -> npt.NDArray[np.int64] | None:
    """Return numbers of rows; None if they do not exist or do not rise."""
    rows = np.asarray(given)
    if rows.dtype == bool and rows.shape == (length,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        return None
    rows = rows.astype(np.int64)
    exist = not rows.size or (rows[0] >= 0 and rows[-1] < length)
    return rows if exist and (np.diff(rows) > 0).all() else None


def shape_of(box: Ranges) -> tuple[int, ...]:
    """Return the number of values along each axis."""
    return tuple(b - a for a, b in box)


@dataclass(frozen=True, slots=True)
class ChunkDefect:
    """A chunk, and what is wrong with it."""

    chunk: StoredChunk
    what: str


def find_defects(
    chunks: Sequence[StoredChunk],
    *,
    oversized: bool = False,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[ChunkDefect]:
    """Read chunks of one file and yield those that are not as they were written.

    Filters that are not known are tried if they are allowed. `on_progress`
    receives the bytes that were checked, and all of them.
    """
    alone = [chunk for chunk in chunks if chunk.check == "hdf5"]
    rest = [chunk for chunk in chunks if chunk.check not in ("hdf5", "plain")]
    batches = _batches(sorted(rest, key=lambda chunk: chunk.position))
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
        if what := _defect_by_hdf5(chunk, oversized):
            yield ChunkDefect(chunk, what)
        done += chunk.size
        report(done, total)


def _batches(chunks: Sequence[StoredChunk]) -> list[list[StoredChunk]]:
    """Return chunks in parts that are worth a thread's while."""
    batches: list[list[StoredChunk]] = []
    room = 0
    for chunk in chunks:
        if room <= 0:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(chunk)
        room -= chunk.size
    return batches


def _check_batch(batch: Sequence[StoredChunk]) -> list[ChunkDefect]:
    with ChunkBytes(batch[0].index) as read:
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


def _defect_by_hdf5(chunk: StoredChunk, oversized: bool) -> str | None:
    index = chunk.index
    if index.content > MAX_CHUNK_BYTES:
        return "is too large to be checked"
    sizes = zip(chunk.start, index.chunk_shape or (), strict=True)
    try:
        if index.known is not None or not oversized:
            with ChunkBytes(index) as read:
                index.require_sound(chunk, read)
        _ = index.dataset[tuple(slice(start, start + size) for start, size in sizes)]
    except (CytovoxError, OSError, RuntimeError, ValueError) as err:
        return f"cannot be read: {err.what if isinstance(err, CytovoxError) else err}"
    return None
