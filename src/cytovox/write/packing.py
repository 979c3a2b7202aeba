"""Compressing chunks outside of HDF5, in several threads at once.

HDF5 does one thing at a time, in whatever thread. Compressing is by far the
most work in storing images, so it is done here, and HDF5 only gets the bytes
that it has to put away.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import zstandard

from ..kernels.checksum import fletcher32

__all__ = ["PackedDataset", "can_pack", "pack_chunk"]

_ZSTD = 32015
_compressors = threading.local()


def can_pack(ds_kwds: Mapping[str, Any]) -> bool:
    """Return whether chunks with such filters can be made here.

    Examples
    --------
    >>> can_pack({"compression": 32015, "compression_opts": (5,), "fletcher32": True})
    True
    >>> can_pack({"compression": "gzip", "fletcher32": True})
    False
    """
    known = {"compression", "compression_opts", "fletcher32"}
    return set(ds_kwds) <= known and ds_kwds.get("compression") in (None, _ZSTD)


def pack_chunk(items: npt.NDArray[Any], level: int | None, checksum: bool) -> bytes:
    """Return the stored form of a whole chunk.

    Parameters
    ----------
    items
        All items of the chunk.
    level
        Level of Zstandard; None leaves the bytes as they are.
    checksum
        Whether to append the Fletcher-32 checksum.
    """
    raw: Any = np.ascontiguousarray(items).reshape(-1).view(np.uint8).data
    packed: bytes = bytes(raw) if level is None else _compressor(level).compress(raw)
    return packed + fletcher32(packed).to_bytes(4, "little") if checksum else packed


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """Return the compressor of this thread."""
    if getattr(_compressors, "level", None) != level:
        _compressors.level = level
        _compressors.compressor = zstandard.ZstdCompressor(level=level)
    compressor: zstandard.ZstdCompressor = _compressors.compressor
    return compressor


class PackedDataset:
    """Appends items to a dataset, in whole chunks packed by a pool.

    Parameters
    ----------
    dataset
        Chunked dataset that holds nothing but whole chunks.
    ds_kwds
        Its filters, see `can_pack`.
    pool
        Threads that pack.
    most_waiting
        Number of chunks that may be in work; more are waited for.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        ds_kwds: Mapping[str, Any],
        pool: ThreadPoolExecutor,
        most_waiting: int = 8,
    ) -> None:
        self.dataset = dataset
        self.rows: int = dataset.chunks[0]
        self.length = len(dataset)
        self.dtype: np.dtype[Any] = dataset.dtype
        self.item_shape: tuple[int, ...] = dataset.shape[1:]
        level = ds_kwds.get("compression_opts")
        self._level = int(level[0]) if ds_kwds.get("compression") == _ZSTD and level else None
        self._checksum = bool(ds_kwds.get("fletcher32"))
        self._pool = pool
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[int, Future[bytes]]] = deque()
        self._rest: list[npt.NDArray[Any]] = []
        self._rest_rows = 0

    def append(self, items: npt.NDArray[Any]) -> None:
        """Append items, which must not be changed afterwards."""
        start = 0
        while len(items) - start >= self.rows - self._rest_rows:
            stop = start + self.rows - self._rest_rows
            self._submit([*self._rest, items[start:stop]])
            self._rest, self._rest_rows = [], 0
            start = stop
        if start < len(items):
            self._rest.append(items[start:])
            self._rest_rows += len(items) - start

    def settle(self) -> npt.NDArray[Any]:
        """Store all whole chunks; return the items that make up none yet.

        Returns
        -------
        numpy.ndarray
            Items of shape (n, ...), which will follow those in the file.
        """
        while self._waiting:
            self._store_oldest()
        if len(self._rest) > 1:
            self._rest = [np.concatenate(self._rest)]
        if self._rest:
            return self._rest[0]
        return np.empty((0, *self.item_shape), self.dtype)

    def finish(self) -> None:
        """Store everything that is still open, and set the final length."""
        rest = self._rest_rows
        if rest:
            filler = np.zeros((self.rows - rest, *self.item_shape), self.dtype)
            self._submit([*self._rest, filler])
            self._rest, self._rest_rows = [], 0
        while self._waiting:
            self._store_oldest()
        if rest:
            self.length += rest - self.rows
            self.dataset.resize(self.length, axis=0)

    def _submit(self, parts: list[npt.NDArray[Any]]) -> None:
        items = parts[0] if len(parts) == 1 else np.concatenate(parts)
        offset = self.length
        self.length += self.rows
        packed = self._pool.submit(pack_chunk, items, self._level, self._checksum)
        self._waiting.append((offset, packed))
        while len(self._waiting) > self._most_waiting:
            self._store_oldest()

    def _store_oldest(self) -> None:
        offset, packed = self._waiting.popleft()
        content = packed.result()
        self.dataset.resize(offset + self.rows, axis=0)
        place = (offset, *(0 for _ in self.item_shape))
        self.dataset.id.write_direct_chunk(place, content)
