"""The stored form of rows: types, filters, and chunks that are packed outside of HDF5.

HDF5 does one thing at a time, in whatever thread. Compressing is by far the
most work in storing images, so it is done here in several threads at once, and
HDF5 only gets the bytes that it has to put away.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import zstandard

from ..kernels.checksum import fletcher32
from ..kernels.zstd_images import pack_images
from ..read.const import ZSTD

__all__ = [
    "IMAGE_ATTRIBUTES",
    "PackedDataset",
    "as_items",
    "can_pack",
    "fit_items",
    "pack_chunk",
    "set_default_filter_kwargs",
    "suitable_way",
    "text_lines",
    "write_chunk",
]

#: By these a viewer recognises images.
IMAGE_ATTRIBUTES = {
    "CLASS": np.bytes_("IMAGE"),
    "IMAGE_VERSION": np.bytes_("1.2"),
    "IMAGE_SUBCLASS": np.bytes_("IMAGE_GRAYSCALE"),
}


def set_default_filter_kwargs(
    ds_kwds: Mapping[str, Any] | None = None, compression: bool = True
) -> dict[str, Any]:
    """Return options for new datasets, with defaults where nothing is said.

    Parameters
    ----------
    ds_kwds
        Options that are already chosen.
    compression
        Whether to compress by default (Zstandard, level 5).

    Examples
    --------
    >>> set_default_filter_kwargs()
    {'compression': 32015, 'compression_opts': (5,), 'fletcher32': True}
    """
    kwds = dict(ds_kwds or {})
    kwds.setdefault("compression", ZSTD if compression else None)
    kwds.setdefault("compression_opts", (5,) if kwds["compression"] == ZSTD else None)
    kwds.setdefault("fletcher32", True)
    return kwds


def as_items(feat: str, data: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return rows as an array; a ``mask`` of truth values becomes 0 and 255."""
    items = np.asarray(data)
    if items.ndim == 0:
        raise TypeError(f"'{feat}' needs an array with a row for each item")
    if feat == "mask" and items.dtype == bool:
        items = np.multiply(items, 255, dtype=np.uint8)
    return items


def fit_items(
    feat: str, items: npt.NDArray[Any], dtype: np.dtype[Any], item_shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return items as the stored type.

    Numbers with a fraction may lose precision, but nothing else.
    """
    if items.shape[1:] != item_shape:
        raise TypeError(
            f"items of shape {items.shape[1:]} do not fit '{feat}', "
            f"which has items of shape {item_shape}"
        )
    if items.dtype == dtype:
        return items
    with np.errstate(invalid="ignore", over="ignore"):
        fitted = items.astype(dtype)
    same = np.can_cast(items.dtype, dtype, "safe") or items.dtype.kind == dtype.kind == "f"
    if not same and not np.array_equal(fitted, items):
        raise TypeError(f"{items.dtype} values do not fit '{feat}', which is stored as {dtype}")
    return fitted


def text_lines(lines: Sequence[Any]) -> npt.NDArray[np.bytes_]:
    """Return lines of text as UTF-8 of a fixed width."""
    encoded = [str(line).encode("utf-8") for line in lines]
    return np.array(encoded, dtype=f"S{max(1, *map(len, encoded))}")


class _Compressors(threading.local):
    """Those of a thread, by level and size of what they compress."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], zstandard.ZstdCompressor] = {}


_compressors = _Compressors()

#: The level in whose place images may be packed by codes of their own (decision 8).
_CODES_LEVEL = 5
#: Bytes that get the same codes, and whether the same rows of all images of a chunk do. The
#: more do, the faster; the last ways are for light that flickers.
_WAYS = ((2400, True), (1600, True), (800, True), (1600, False), (800, False))
#: How much larger than by that level a chunk may become.
_LARGER = 1.02
#: What the level packs to less than this is no noise: masks.
_REPETITIVE = 0.01


def can_pack(ds_kwds: Mapping[str, Any]) -> bool:
    """Return whether chunks with such filters can be made here."""
    known = {"compression", "compression_opts", "fletcher32"}
    return set(ds_kwds) <= known and ds_kwds.get("compression") in (None, ZSTD)


def pack_chunk(
    items: npt.NDArray[Any],
    level: int | None,
    checksum: bool,
    *,
    way: tuple[int, bool] | None = None,
) -> bytes:
    """Return the stored form of a whole chunk; images by codes of their own, if a way is given."""
    packed: bytes
    if way is not None:
        packed = pack_images(items, *way)
    else:
        raw: Any = np.ascontiguousarray(items).reshape(-1).view(np.uint8).data
        packed = raw.tobytes() if level is None else _compressor(level, len(raw)).compress(raw)
    return packed + fletcher32(packed).to_bytes(4, "little") if checksum else packed


def suitable_way(items: npt.NDArray[Any], level: int | None) -> tuple[int, bool] | None:
    """Return the fastest way by which images are packed as small as by level 5, if any."""
    if level != _CODES_LEVEL or items.ndim != 3 or items.dtype.itemsize != 1:
        return None
    by_level = len(pack_chunk(items, level, False))
    if by_level < items.nbytes * _REPETITIVE:
        return None
    for way in _WAYS:
        if len(pack_chunk(items, level, False, way=way)) <= _LARGER * by_level:
            return way
    return None


def _compressor(level: int, size: int) -> zstandard.ZstdCompressor:
    """Return the compressor of this thread for so many bytes."""
    known = _compressors.known
    if (level, size) not in known:
        params = zstandard.ZstdCompressionParameters.from_level(
            level, source_size=size, write_content_size=True
        )
        known[level, size] = zstandard.ZstdCompressor(compression_params=params)
    return known[level, size]


def write_chunk(dataset: h5py.Dataset, row: int, content: bytes, length: int) -> None:
    """Write the stored form of the chunk that begins at a row.

    The dataset gets its length before, so that the last chunk stays as it was
    written, also if it is longer: HDF5 would write it anew to cut it off.
    """
    # Each call waits for threads that read; those of `h5py.Dataset` are several calls.
    rest = dataset.id.shape[1:]
    dataset.id.set_extent((length, *rest))
    dataset.id.write_direct_chunk((row, *(0 for _ in rest)), content)


class PackedDataset:
    """Appends items to a dataset, in whole chunks packed by a pool."""

    def __init__(
        self,
        dataset: h5py.Dataset,
        ds_kwds: Mapping[str, Any],
        pool: ThreadPoolExecutor,
        most_waiting: int = 8,
        write: Callable[[h5py.Dataset, int, bytes, int], None] = write_chunk,
    ) -> None:
        self.dataset = dataset
        self.rows: int = dataset.chunks[0]
        self.length, *item_shape = dataset.shape
        self.item_shape: tuple[int, ...] = tuple(item_shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        level = ds_kwds.get("compression_opts")
        self._level = int(level[0]) if ds_kwds.get("compression") == ZSTD and level else None
        self._checksum = bool(ds_kwds.get("fletcher32"))
        self._way: tuple[int, bool] | None = None
        self._is_chosen = False
        self._pool = pool
        self._most_waiting = most_waiting
        self._write = write
        self._waiting: deque[tuple[int, Future[bytes]]] = deque()
        self._rest: list[npt.NDArray[Any]] = []
        self._rest_rows = 0

    def append(self, items: npt.NDArray[Any]) -> None:
        """Append items of the stored type, which must not be changed afterwards."""
        start = 0
        while len(items) - start >= self.rows - self._rest_rows:
            stop = start + self.rows - self._rest_rows
            self._submit([*self._rest, items[start:stop]], self.rows)
            self._rest, self._rest_rows = [], 0
            start = stop
        if start < len(items):
            self._rest.append(items[start:])
            self._rest_rows += len(items) - start

    def settle(self) -> npt.NDArray[Any]:
        """Store all whole chunks; return the items that make up none yet."""
        while self._waiting:
            self._store_oldest()
        if len(self._rest) > 1:
            self._rest = [np.concatenate(self._rest, dtype=self.dtype)]
        if self._rest:
            return self._rest[0]
        return np.empty((0, *self.item_shape), self.dtype)

    def fill_up(self) -> None:
        """Let the items that make up no whole chunk be packed as the last one."""
        rest = self._rest_rows
        if rest:
            filler = np.zeros((self.rows - rest, *self.item_shape), self.dtype)
            self._submit([*self._rest, filler], rest)
            self._rest, self._rest_rows = [], 0

    def _submit(self, parts: list[npt.NDArray[Any]], rows: int) -> None:
        offset = self.length
        self.length += rows
        if not self._is_chosen:
            # the first of the file, so that it is the same when a run is resumed
            first = self.dataset[: self.rows] if offset else self._joined(parts)
            self._way = suitable_way(first, self._level)
            self._is_chosen = True
        packed = self._pool.submit(self._pack, parts)
        self._waiting.append((offset, packed))
        while len(self._waiting) > self._most_waiting:
            self._store_oldest()

    def _joined(self, parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return parts[0] if len(parts) == 1 else np.concatenate(parts, dtype=self.dtype)

    def _pack(self, parts: list[npt.NDArray[Any]]) -> bytes:
        return pack_chunk(self._joined(parts), self._level, self._checksum, way=self._way)

    def _store_oldest(self) -> None:
        offset, packed = self._waiting.popleft()
        length = min(offset + self.rows, self.length)
        self._write(self.dataset, offset, packed.result(), length)
