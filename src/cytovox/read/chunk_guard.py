"""What a stored chunk unpacks to is known before it is unpacked.

HDF5 hands a chunk to a filter that takes as much memory as the chunk asks for;
12 kB can ask for gigabytes. Here the head of each chunk is looked at first: it
must unpack to exactly what a chunk of the dataset holds.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy.typing as npt
import zstandard

from .deflate import HARMLESS, MOST_PER_BYTE, inflates_beyond
from .permissions import RefusedInputError, default_permissions
from .read_errors import read_errors

__all__ = [
    "KNOWN_FILTERS",
    "check_filters",
    "check_stored",
    "read_checked",
    "trust_chunks_of",
]

_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
_BLOSC, _LZ4, _BITSHUFFLE, _ZSTD = 32001, 32004, 32008, 32015
#: Filters whose chunks tell, or bound, what they unpack to.
KNOWN_FILTERS = {
    _DEFLATE: "gzip",
    _SHUFFLE: "shuffle",
    _FLETCHER: "fletcher32",
    _LZF: "lzf",
    _BLOSC: "blosc",
    _LZ4: "lz4",
    _BITSHUFFLE: "bitshuffle",
    _ZSTD: "zstd",
}
#: Most that a byte of gzip or lzf can unpack to.
_MOST_PER_BYTE = {_DEFLATE: MOST_PER_BYTE, _LZF: 264}
#: Longest head that is needed [bytes].
_HEAD = 18
_DAMAGED = "it is damaged, or was made to fill the memory; get the file again"
_REPACK = "store it again with gzip or zstd (h5repack)"

_trusted: set[str] = set()
_lock = threading.Lock()


def trust_chunks_of(path: str | os.PathLike[str]) -> None:
    """Do not look at the chunks of a file any more.

    Parameters
    ----------
    path
        The file, as HDF5 names it.
    """
    with _lock:
        _trusted.add(os.fspath(path))


def check_filters(dataset: h5py.Dataset) -> None:
    """Refuse filters of which nobody knows what they unpack to.

    Parameters
    ----------
    dataset
        Any dataset.

    Raises
    ------
    RefusedInputError
        If a filter is not one of `KNOWN_FILTERS`, or data are packed twice.
    """
    plist = dataset.id.get_create_plist()
    _pipeline(dataset, [plist.get_filter(i) for i in range(plist.get_nfilters())])


def read_checked(dataset: h5py.Dataset, rows: Any = ()) -> npt.NDArray[Any]:
    """Return values of a dataset whose chunks have been looked at.

    Parameters
    ----------
    dataset
        Any dataset.
    rows
        A slice of rows; all if not given.

    Raises
    ------
    RefusedInputError
        If a chunk does not unpack to what a chunk holds.
    InputError
        If it cannot be read.
    """
    start, stop = 0, None
    if isinstance(rows, slice) and dataset.ndim:
        start, stop, _ = slice(rows.start, rows.stop).indices(len(dataset))
    with read_errors(dataset):
        check_stored(dataset, start, stop)
        values: npt.NDArray[Any] = dataset[rows]
    return values


def check_stored(
    dataset: h5py.Dataset,
    start: int = 0,
    stop: int | None = None,
    rest: Sequence[tuple[int, int]] | None = None,
) -> None:
    """Look at the heads of the chunks that hold some rows.

    Costs a few microseconds a chunk; a chunk that takes longer to check than
    that is one of gzip or lzf that could unpack to more than 32 MiB.

    Parameters
    ----------
    dataset
        Any dataset.
    start, stop
        First row, and the one after the last; all if None.
    rest
        Start and stop along each further axis; all if None.

    Raises
    ------
    RefusedInputError
        If a chunk does not unpack to what a chunk holds.
    """
    chunks = dataset.chunks
    if not chunks:
        return
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    if not any(number not in (_SHUFFLE, _FLETCHER) for number, *_ in filters):
        return
    file = dataset.file
    # what this process is writing may not have reached the file
    if file.mode != "r" or file.filename in _trusted or default_permissions().oversized:
        return
    check = _Check(dataset, *_pipeline(dataset, filters))
    stop = dataset.shape[0] if stop is None else min(stop, dataset.shape[0])
    box = [(start, stop), *([(0, n) for n in dataset.shape[1:]] if rest is None else rest)]
    steps = [range(a // c * c, b, c) for (a, b), c in zip(box, chunks, strict=True)]
    with _Bytes(dataset) as read:
        for offset in itertools.product(*steps):
            check.chunk(offset, read)


def _pipeline(dataset: h5py.Dataset, filters: list[Any]) -> tuple[int, int, int, Any]:
    """Return position and number of the packing filter, what it unpacks to, and its values."""
    size = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    packer: tuple[int, int, int, Any] | None = None
    for position, (number, _, values, name) in enumerate(filters):
        if number not in KNOWN_FILTERS:
            label = name.decode("utf-8", "replace")[:40] if name else "unnamed"
            raise RefusedInputError(
                f"'{_short(dataset)}' is compressed by filter {number} ({label}), "
                "which is not read",
                path=dataset.file.filename,
                hint=f"{_REPACK}, or allow it with --allow-oversized",
            )
        if number == _FLETCHER:
            size += 4
        elif number == _SHUFFLE and packer is None:
            continue
        elif packer is not None:
            raise RefusedInputError(
                f"'{_short(dataset)}' is packed twice",
                path=dataset.file.filename,
                hint=f"{_REPACK}, or allow it with --allow-oversized",
            )
        else:
            packer = (position, number, size, values)
    return packer or (-1, 0, size, ())


class _Bytes:
    """Reads stored bytes, from the file itself where there is one."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._descriptor: int | None = None

    def __enter__(self) -> Callable[[Any, Any, int], bytes]:
        path = self._dataset.file.filename
        if self._dataset.file.driver != "fileobj":
            try:
                self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError:
                self._descriptor = None  # moved away since it was opened
        return self._read

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _read(self, info: Any, offset: Any, size: int) -> bytes:
        if self._descriptor is None:
            return bytes(self._dataset.id.read_direct_chunk(offset)[1][:size])
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, info.byte_offset)
        os.lseek(self._descriptor, info.byte_offset, os.SEEK_SET)
        return os.read(self._descriptor, size)


class _Check:
    """Looks at chunks of one dataset."""

    def __init__(
        self, dataset: h5py.Dataset, position: int, number: int, size: int, values: Any
    ) -> None:
        self._dataset = dataset
        self._find = dataset.id.get_chunk_info_by_coord
        self._bit = 1 << position if position >= 0 else 0
        self._number = number
        self._size = size
        self._values = values

    def chunk(self, offset: Any, read: Callable[[Any, Any, int], bytes]) -> None:
        """Refuse a chunk that unpacks to anything but its size."""
        info = self._find(offset)
        if info.byte_offset is None or info.filter_mask & self._bit:
            return
        if self._number in _MOST_PER_BYTE:
            if info.size * _MOST_PER_BYTE[self._number] > max(HARMLESS, self._size):
                self._slow(info, offset, read)
            return
        try:
            found = self._said(read(info, offset, min(_HEAD, info.size)))
        except (struct.error, zstandard.ZstdError):
            found = None
        if found != self._size:
            self._refuse(offset, "nobody knows what" if found is None else f"{found:,} bytes")

    def _said(self, head: bytes) -> int | None:
        if self._number == _ZSTD:
            found = int(zstandard.frame_content_size(head))
            return None if found < 0 else found
        if self._number == _BLOSC:
            return int(struct.unpack_from("<I", head, 4)[0])
        if self._number == _BITSHUFFLE and (len(self._values) < 5 or not self._values[4]):
            return self._size  # the bits are only sorted
        return int(struct.unpack_from(">Q", head)[0])

    def _slow(self, info: Any, offset: Any, read: Callable[[Any, Any, int], bytes]) -> None:
        if self._number == _LZF:
            self._refuse(offset, "nobody knows what")
        if inflates_beyond(read(info, offset, info.size), self._size):
            self._refuse(offset, "more")

    def _refuse(self, offset: Any, found: str) -> None:
        raise RefusedInputError(
            f"a chunk of '{_short(self._dataset)}' does not unpack to its "
            f"{self._size:,} bytes, but to {found}",
            path=Path(self._dataset.file.filename),
            frame=int(offset[0]) if len(offset) == 3 else None,
            hint=_DAMAGED,
        )


def _short(dataset: h5py.Dataset) -> str:
    return str(dataset.name or "").lstrip("/").removeprefix("events/")[:80]
