"""Frames that worker processes see without a copy.

Shared memory can be handed to a process only when it starts. What is here
can be pickled in that moment, and opened as arrays on the other side.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..run.children import mp_spawn
from .segmenter import ChunkOfFrames

__all__ = [
    "Batch",
    "BatchView",
    "OpenSlot",
    "SharedArray",
    "SharedSlot",
    "share_array",
    "share_slot",
]


@dataclass(frozen=True, slots=True, eq=False)
class SharedArray:
    """An array in memory that was made by ``mp_spawn.RawArray``.

    Parameters
    ----------
    raw
        The memory.
    dtype, shape
        What the array is.
    offset
        Bytes of `raw` before its first element.
    """

    raw: Any
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0

    def open(self) -> npt.NDArray[Any]:
        """Return the array, a view on the memory."""
        count = math.prod(self.shape)
        if not count:
            return np.empty(self.shape, self.dtype)
        flat: npt.NDArray[Any] = np.frombuffer(
            self.raw, np.dtype(self.dtype), count=count, offset=self.offset
        )
        return flat.reshape(self.shape)


def share_array(array: npt.NDArray[Any]) -> SharedArray | None:
    """Return how another process gets at an array, if it lies in shared memory."""
    owner: Any = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if not array.size:
        return SharedArray(None, array.dtype.str, array.shape)
    if not (isinstance(owner, ctypes.Array) and hasattr(owner, "_wrapper")):
        return None
    if not array.flags.c_contiguous:
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
    """A slot that can be handed to a process when it starts."""

    length: int
    image: SharedArray
    image_corr: SharedArray | None
    bg_off: SharedArray | None
    mask: SharedArray

    def open(self) -> OpenSlot:
        """Return the arrays, views on shared memory."""
        return OpenSlot(
            self.length,
            self.image.open(),
            None if self.image_corr is None else self.image_corr.open(),
            None if self.bg_off is None else self.bg_off.open(),
            self.mask.open(),
        )


def share_slot(slot: ChunkOfFrames) -> SharedSlot | None:
    """Return how another process gets at a slot; None if it cannot."""
    image, mask = share_array(slot.image), share_array(slot.mask)
    corrected = None if slot.image_corr is None else share_array(slot.image_corr)
    offset = None if slot.bg_off is None else share_array(slot.bg_off)
    lacking = (
        image is None,
        mask is None,
        slot.image_corr is not None and corrected is None,
        slot.bg_off is not None and offset is None,
    )
    if image is None or mask is None or any(lacking):
        return None
    return SharedSlot(slot.length, image, corrected, offset, mask)


@dataclass(frozen=True, slots=True)
class BatchView:
    """What lies in a batch at the moment: small, sent along with the work."""

    dtype: str
    shape: tuple[int, int, int]
    has_offset: bool


class Batch:
    """Shared memory for images that come from anywhere."""

    def __init__(self, image_bytes: int, pixels: int, frames: int) -> None:
        self.room = (int(image_bytes), int(pixels), int(frames))
        self._images = mp_spawn.RawArray("B", self.room[0])
        self._masks = mp_spawn.RawArray("B", self.room[1])
        self._offsets = mp_spawn.RawArray("d", self.room[2])

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
