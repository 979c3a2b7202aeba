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
from functools import partial
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import zstandard

from ..kernels.checksum import fletcher32
from ..kernels.zstd_images import pack_images
from ..kernels.zstd_masks import pack_masks
from ..read.const import ZSTD

__all__ = [
    "IMAGE_ATTRIBUTES",
    "PackedDataset",
    "as_items",
    "can_pack",
    "fit_items",
    "pack_chunk",
    "set_default_filter_kwargs",
    "suitable_packer",
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

#: Returns rows as a frame of Zstandard, uint8; nothing if they are none that it packs.
Packer = Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]

#: The level in whose place images may be packed by an encoder of our own (decision 8).
_OUR_LEVEL = 5
#: Those of images: for bytes that get the same codes, and whether the same rows of all images
#: of a chunk do. The more do, the faster; the last ones are for light that flickers.
_WAYS = (
    *((unit, True) for unit in (3600, 2400, 1600, 1200, 800)),
    *((unit, False) for unit in (1600, 800)),
)
_IMAGES = tuple(partial(pack_images, unit=unit, alike=alike) for unit, alike in _WAYS)
#: How much larger than by that level a chunk may become.
_LARGER = 1.02
#: Bytes of a dataset from which on packing faster saves more than loading the encoder takes.
_WORTH = 1 << 16


def can_pack(ds_kwds: Mapping[str, Any]) -> bool:
    """Return whether chunks with such filters can be made here."""
    known = {"compression", "compression_opts", "fletcher32"}
    return set(ds_kwds) <= known and ds_kwds.get("compression") in (None, ZSTD)


def pack_chunk(
    items: npt.NDArray[Any], level: int | None, checksum: bool, *, packer: Packer | None = None
) -> bytes:
    """Return the stored form of a whole chunk, by an encoder of our own if one is given."""
    packed: Any = packer(items) if packer else b""
    if not len(packed):
        raw: Any = np.ascontiguousarray(items).reshape(-1).view(np.uint8).data
        packed = raw if level is None else _compressor(level, len(raw)).compress(raw)
    return b"".join([packed, fletcher32(packed).to_bytes(4, "little") if checksum else b""])


def suitable_packer(items: npt.NDArray[Any], by_level: int) -> Packer | None:
    """Return what packs images fastest and as small as that, to 2 %, if anything does."""
    packers: Sequence[Packer] = _IMAGES
    if np.all((items == 0) | (items == 255)):
        packers = (pack_masks, *_IMAGES)
    for packer in packers:
        if 0 < len(packer(items)) <= _LARGER * by_level:
            return packer
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
        self._packer: Packer | None = None
        images = dataset.ndim == 3 and dataset.dtype.itemsize == 1
        self._can_choose = images and self._level == _OUR_LEVEL
        self._first: npt.NDArray[Any] | None = None
        self._by_level = 0
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
        if self._can_choose:
            self._choose(parts, offset)
        packed = self._pool.submit(self._pack, parts, self._packer)
        self._waiting.append((offset, packed))
        while len(self._waiting) > self._most_waiting:
            self._store_oldest()

    def _choose(self, parts: list[npt.NDArray[Any]], offset: int) -> None:
        """Choose what packs the next chunks, by the first of the file: a resumed run does, too."""
        if self._first is None:
            self._first = self.dataset[: self.rows] if offset else self._joined(parts)
            self._by_level = len(pack_chunk(self._first, self._level, False))
        if (offset // self.rows + 1) * self._by_level >= _WORTH:
            self._packer = suitable_packer(self._first, self._by_level)
            self._can_choose, self._first = False, None

    def _joined(self, parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return parts[0] if len(parts) == 1 else np.concatenate(parts, dtype=self.dtype)

    def _pack(self, parts: list[npt.NDArray[Any]], packer: Packer | None) -> bytes:
        return pack_chunk(self._joined(parts), self._level, self._checksum, packer=packer)

    def _store_oldest(self) -> None:
        offset, packed = self._waiting.popleft()
        length = min(offset + self.rows, self.length)
        self._write(self.dataset, offset, packed.result(), length)
