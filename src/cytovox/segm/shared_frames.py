"""Frames that worker processes see without a copy.

Shared memory can be passed to a process only when it starts. What is here
can be pickled in that moment, and opened as arrays on the other side.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..run.children import mp_spawn
from .segmenter import ChunkOfFrames

__all__ = ["Batch", "BatchView", "OpenSlot", "SharedArray", "SharedSlot", "share_slot"]


@dataclass(frozen=True, slots=True, eq=False)
class SharedArray:
    """An array in memory that was made by ``mp_spawn.RawArray``."""

    raw: Any
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0  # bytes before the first element

    def open(self) -> npt.NDArray[Any]:
        """Return the array, a view on the memory."""
        count = math.prod(self.shape)
        if not count:
            return np.empty(self.shape, self.dtype)
        flat: npt.NDArray[Any] = np.frombuffer(
            self.raw, np.dtype(self.dtype), count=count, offset=self.offset
        )
        return flat.reshape(self.shape)


def _share_array(array: npt.NDArray[Any]) -> SharedArray | None:
    """Return how another process gets at an array, if it lies in shared memory."""
    if not array.size:
        return SharedArray(None, array.dtype.str, array.shape)
    owner: Any = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    is_shared = isinstance(owner, ctypes.Array) and hasattr(owner, "_wrapper")
    if not (is_shared and array.flags.c_contiguous):
        return None
    offset = array.ctypes.data - ctypes.addressof(owner)
    return SharedArray(owner, array.dtype.str, array.shape, offset)


@dataclass(slots=True, eq=False)
class OpenSlot:
    """The arrays of a slot as a segmenter wants them, here or in a worker."""

    length: int
    image: npt.NDArray[Any]
    image_corr: npt.NDArray[Any] | None
    bg_off: npt.NDArray[np.float64] | None
    mask: npt.NDArray[np.bool_]
    chunk: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class SharedSlot:
    """A slot that can be passed to a process when it starts."""

    length: int
    arrays: Mapping[str, SharedArray | None]

    def open(self) -> OpenSlot:
        """Return the arrays, views on shared memory."""
        opened = {k: None if array is None else array.open() for k, array in self.arrays.items()}
        return OpenSlot(self.length, **opened)  # type: ignore[arg-type]


def share_slot(slot: ChunkOfFrames) -> SharedSlot | None:
    """Return how another process gets at a slot; None if it cannot."""
    arrays: dict[str, SharedArray | None] = {}
    for name in ("image", "image_corr", "bg_off", "mask"):
        array = getattr(slot, name)
        arrays[name] = None if array is None else _share_array(array)
        if array is not None and arrays[name] is None:
            return None
    return SharedSlot(slot.length, arrays)


@dataclass(frozen=True, slots=True)
class BatchView:
    """What lies in a batch at the moment: small, sent along with the work."""

    dtype: str
    shape: tuple[int, int, int]
    has_offset: bool


class Batch:
    """Shared memory for images that come from anywhere."""

    def __init__(self, image_bytes: int, pixels: int, frames: int) -> None:
        self.room = (image_bytes, pixels, frames)
        self._images = mp_spawn.RawArray("B", image_bytes)
        self._masks = mp_spawn.RawArray("B", pixels)
        self._offsets = mp_spawn.RawArray("d", frames)

    @staticmethod
    def needs(images: npt.NDArray[Any]) -> tuple[int, int, int]:
        """Return the room that a stack of images takes."""
        return images.nbytes, images.size, len(images)

    def fits(self, needs: Sequence[int]) -> bool:
        """Return whether there is enough room."""
        return all(has >= need for has, need in zip(self.room, needs, strict=True))

    def open(self, view: BatchView) -> OpenSlot:
        """Return the arrays for images of some type and shape."""
        count = view.shape[0]
        images = SharedArray(self._images, view.dtype, view.shape).open()
        offset = SharedArray(self._offsets, "=f8", (count,)).open() if view.has_offset else None
        masks = SharedArray(self._masks, "|b1", view.shape).open()
        return OpenSlot(count, images, images, offset, masks)
