"""Filters of stored chunks: what a chunk must unpack to, and unpacking within bounds.

HDF5 takes what a filter makes of a chunk, whatever its size: too little, and
pixels are what happened to be in memory; too much, and memory is full. So each
chunk is looked at before HDF5 may unpack it, or is unpacked here.
"""

from __future__ import annotations

import functools
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import zstandard

from ..kernels.checksum import fletcher32
from ..run.extras import require
from .const import BITSHUFFLE, BLOSC, DEFLATE, FILTERS, FLETCHER, LZ4, LZF, SHUFFLE, SZIP, ZSTD
from .permissions import RefusedInputError

__all__ = ["ChunkError", "Pipeline", "checksum_fits", "is_unpacked_alone"]

#: Filters that do not say what they unpack to, or may make less of it.
_SILENT = (DEFLATE, SZIP, LZF)
#: Those, and the one of most recordings: while HDF5 unpacks, no thread can read or write.
_UNPACKED_HERE = (ZSTD, *_SILENT)
#: Those of them for which a library is needed that not every installation has.
_BY_IMAGECODECS = {SZIP: "szip", LZF: "lzf"}
#: Filters whose stored blocks each say their size.
_IN_BLOCKS = (LZ4, BITSHUFFLE)
#: Longest head that is needed [bytes].
_HEAD = 18
#: Bytes of the widest number; a file can claim any width.
_LONG_DOUBLE = 16
#: Bytes of the checksum.
_SUM = 4
_REPACK = "store it again with gzip or zstd (h5repack)"

_Values = tuple[int, ...]


class ChunkError(ValueError):
    """A stored chunk does not unpack to a chunk; says what is wrong."""


@dataclass(frozen=True, slots=True)
class _Steps:
    """Filters that were used for a chunk, in the order of writing."""

    used: tuple[tuple[int, _Values], ...]
    packer: int
    values: _Values
    #: What the packing filter must unpack to, and what was added after it.
    size: int
    added: int


@dataclass(frozen=True)
class Pipeline:
    """How the chunks of a dataset are stored."""

    #: Number and values of each filter, in the order of writing.
    filters: tuple[tuple[int, _Values], ...]
    #: Bytes of a chunk.
    content: int

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> Pipeline:
        """Return the pipeline of a dataset that is stored in chunks."""
        plist = dataset.id.get_create_plist()
        content = math.prod(dataset.chunks or (0,)) * _stored_size(dataset)
        filters = []
        for number, _, values, name in map(plist.get_filter, range(plist.get_nfilters())):
            if number not in FILTERS:
                label = name.decode("utf-8", "replace")[:40] if name else "unnamed"
                raise _not_read(dataset, f"compressed by filter {number} ({label})")
            if number in _BY_IMAGECODECS:
                what = f"'{_name(dataset)}', which is compressed by {_BY_IMAGECODECS[number]}"
                require("volumes", what, "imagecodecs", path=dataset.file.filename)
            filters.append((number, values))
        made = cls(tuple(filters), content)
        try:
            made.steps(0)
        except ChunkError as err:
            raise _not_read(dataset, str(err)) from None
        return made

    @functools.lru_cache(maxsize=64)  # noqa: B019  few pipelines, few masks
    def steps(self, mask: int) -> _Steps:
        """Return the filters that a chunk went through; bits of the mask leave filters out."""
        used = [step for i, step in enumerate(self.filters) if not mask >> i & 1]
        packer, size, added = 0, self.content, 0
        packed_by: _Values = ()
        for number, values in used:
            if number == FLETCHER:
                size, added = (size, added + _SUM) if packer else (size + _SUM, added)
            elif packer:
                raise ChunkError("packed twice")
            elif not _only_sorts(number, values):
                packer, packed_by = number, values
        return _Steps(tuple(used), packer, packed_by, size, added)

    def unpacks_here(self, mask: int) -> bool:
        """Return whether `unpack` takes chunks with such a mask."""
        known = (FLETCHER, SHUFFLE, *_UNPACKED_HERE)
        steps = self.steps(mask)
        return steps.packer in _UNPACKED_HERE and all(n in known for n, _ in steps.used)

    def needed(self, size: int, mask: int) -> int:
        """Return how many of the stored bytes `check` needs."""
        packer = self.steps(mask).packer
        if packer in (*_SILENT, *_IN_BLOCKS):
            return size
        return min(size, _HEAD) if packer else 0

    def check(
        self, data: bytes | memoryview, size: int, mask: int = 0, *, in_full: bool = False
    ) -> None:
        """Make sure that a chunk unpacks to a chunk; in full, if not only by what it says."""
        steps = self.steps(mask)
        stored = size - steps.added
        if not steps.packer:
            if stored != steps.size:
                raise ChunkError(f"is stored in {stored:,} bytes instead of {steps.size:,}")
        elif steps.packer in _SILENT or (in_full and steps.packer == ZSTD):
            _unpacked(steps, memoryview(data)[: max(0, stored)])
        else:
            try:
                said = _said(steps, memoryview(data)[: max(0, stored)], stored)
            except (struct.error, zstandard.ZstdError):
                raise ChunkError("does not say what it unpacks to") from None
            if said != steps.size:
                raise ChunkError(f"unpacks to {said:,} bytes instead of {steps.size:,}")

    def unpack(self, data: bytes | memoryview, mask: int = 0) -> npt.NDArray[np.uint8]:
        """Return what a chunk holds, uint8 of shape (n,)."""
        steps = self.steps(mask)
        part: Any = memoryview(data)
        for number, values in reversed(steps.used):
            if number == FLETCHER:
                part = _without_checksum(part)
            elif number == SHUFFLE:
                part = _unshuffled(part, values)
            else:
                part = memoryview(_unpacked(steps, part))
        if len(part) != self.content:
            raise ChunkError(f"is stored in {len(part):,} bytes instead of {self.content:,}")
        return np.frombuffer(part, np.uint8)

    def unpack_into(
        self, data: bytes | memoryview, out: npt.NDArray[np.uint8], mask: int = 0
    ) -> None:
        """Write what a chunk holds into an array of its size, uint8 of shape (n,)."""
        steps = self.steps(mask)
        if not steps.used or steps.used[0][0] != ZSTD:
            out[:] = self.unpack(data, mask)
            return
        part: Any = memoryview(data)
        for _ in steps.used[1:]:  # only checksums come after it
            part = _without_checksum(part)
        found = _unpacked(steps, part, out)
        if not isinstance(found, np.ndarray):
            out[:] = np.frombuffer(found, np.uint8)


def _stored_size(dataset: h5py.Dataset) -> int:
    """Return the bytes that a value takes in the file, where a text is a place in a heap."""
    dtype = dataset.dtype
    if not dtype.hasobject:
        return int(dtype.itemsize)
    address = dataset.file.id.get_create_plist().get_sizes()[0]
    kinds = [dtype[name] for name in dtype.names] if dtype.names else [dtype]
    texts = sum(h5py.check_string_dtype(kind) is not None and kind.hasobject for kind in kinds)
    # a length and a place, and a pointer in memory
    return int(dtype.itemsize + texts * (4 + address + 4 - np.dtype(object).itemsize))


def checksum_fits(data: npt.NDArray[np.uint8]) -> bool:
    """Return whether bytes end in their checksum."""
    if data.size < _SUM:
        return False
    stored = int.from_bytes(data[-_SUM:].tobytes(), "little")
    computed = fletcher32(data[:-_SUM])
    if stored == computed:
        return True
    # Old versions of the filter swapped the bytes of each half on some machines.
    halves = np.array([computed], "<u4").view("<u2").byteswap().view("<u4")
    return stored == int(halves[0])


def _without_checksum(data: memoryview) -> memoryview:
    if not checksum_fits(np.frombuffer(data, np.uint8)):
        raise ChunkError("has a checksum that does not fit its bytes")
    return data[:-_SUM]


def _unshuffled(data: memoryview, values: _Values) -> memoryview:
    width = values[0] if values else 1
    number = len(data) // max(1, width)
    if width <= 1 or number <= 1:
        return data
    whole = np.frombuffer(data, np.uint8)
    sorted_ = np.empty_like(whole)
    rows, columns = (
        sorted_[: width * number].reshape(number, width),
        whole[: width * number].reshape(width, number),
    )
    if width <= _LONG_DOUBLE:  # several times as fast as the transposed array at once
        for byte, column in enumerate(columns):
            rows[:, byte] = column
    else:
        rows[:] = columns.T
    sorted_[width * number :] = whole[width * number :]
    return sorted_.data


def is_unpacked_alone(numbers: Sequence[int]) -> bool:
    """Return whether chunks of these filters can be unpacked in full without HDF5."""
    return set(numbers[:-1]) <= {SHUFFLE} and numbers[-1] in (ZSTD, DEFLATE)


def _only_sorts(number: int, values: _Values) -> bool:
    """Return whether a filter keeps the size."""
    return number == SHUFFLE or (number == BITSHUFFLE and (len(values) < 5 or not values[4]))


def _unpacked(steps: _Steps, data: memoryview, out: npt.NDArray[np.uint8] | None = None) -> Any:
    """Return what a filter makes of bytes; no more memory is taken than that.

    Zstandard mostly writes it into `out`, if that is given, and returns that.
    """
    size = steps.size
    try:
        if steps.packer == DEFLATE:
            unpacker: Any = zlib.decompressobj()
            found: Any = unpacker.decompress(data, size + 1)
            if len(found) <= size and not unpacker.eof:
                raise ChunkError("is cut short")
        elif steps.packer == ZSTD:
            if (said := _said(steps, data, len(data))) != size:  # before there is memory for it
                raise ChunkError(f"unpacks to {said:,} bytes instead of {size:,}")
            unpacker = zstandard.ZstdDecompressor()
            # a stream would not miss the last bytes of a checksum that is cut short
            if out is None or zstandard.get_frame_parameters(data).has_checksum:
                found = unpacker.decompress(data)
            else:
                found = out[: unpacker.stream_reader(data).readinto(out)]
        else:
            found = _unpacked_by_imagecodecs(steps, data)
    except (zstandard.ZstdError, zlib.error, RuntimeError, TypeError) as err:
        raise ChunkError(f"cannot be unpacked to {size:,} bytes: {err}") from err
    if len(found) != size:
        size_found = f"{len(found):,} bytes" if len(found) < size else "more"
        raise ChunkError(f"unpacks to {size_found} instead of {size:,} bytes")
    return found


def _unpacked_by_imagecodecs(steps: _Steps, data: memoryview) -> bytes | bytearray:
    import imagecodecs

    if steps.packer == LZF:
        return imagecodecs.lzf_decode(bytes(data), out=steps.size)
    if int.from_bytes(data[:4], "little") != steps.size:
        raise ChunkError(f"does not unpack to {steps.size:,} bytes")
    return imagecodecs.szip_decode(bytes(data[4:]), *steps.values[:4], out=steps.size)


def _said(steps: _Steps, head: memoryview, stored: int) -> int:
    """Return the number of bytes that a chunk says it unpacks to."""
    if steps.packer == ZSTD:
        found = int(zstandard.frame_content_size(head))
        if found < 0:
            raise ChunkError("does not say what it unpacks to")
        return found
    if steps.packer == BLOSC:
        size, _, packed = struct.unpack_from("<III", head, 4)
        if packed > stored:
            raise ChunkError("is cut short")
        return int(size)
    size, block = struct.unpack_from(">QI", head)
    if size == steps.size:  # else it is refused whatever its blocks are
        _check_blocks(steps, head[12:], block)
    return int(size)


def _check_blocks(steps: _Steps, data: memoryview, block: int) -> None:
    """Make sure that the blocks of lz4 or bitshuffle are within the stored bytes."""
    left, width = steps.size, 1
    if steps.packer == BITSHUFFLE:
        width = steps.values[2] if len(steps.values) > 2 else 0
        if width < 1 or steps.size % width or block < 8 * width:
            raise ChunkError("does not unpack to whole values")
        block -= block % width
        left -= left % (8 * width)  # the rest is stored as it is
    if block < 1:
        raise ChunkError("is cut into blocks of no size")
    at = 0
    while left > 0:
        if at + 4 > len(data):
            raise ChunkError("is cut short")
        at += 4 + int.from_bytes(data[at : at + 4], "big")
        left -= min(block, left)
    rest = steps.size % (8 * width) if steps.packer == BITSHUFFLE else 0
    if at + rest > len(data):
        raise ChunkError("is cut short")


def _name(dataset: h5py.Dataset) -> str:
    return str(dataset.name or "").lstrip("/").removeprefix("events/")[:80]


def _not_read(dataset: h5py.Dataset, why: str) -> RefusedInputError:
    return RefusedInputError(
        f"'{_name(dataset)}' is {why}, which is not read",
        path=dataset.file.filename,
        hint=f"{_REPACK}, or allow it with --allow-oversized",
    )
