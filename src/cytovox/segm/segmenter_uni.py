"""Segmenters that take a stack of images anywhere: in any worker, in batches."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .segmenter import Segmenter

__all__ = ["UNISegmenter"]


class UNISegmenter(Segmenter, abc.ABC):
    """A segmenter whose algorithm takes a stack (N, H, W) and may run anywhere.

    Some algorithms are compiled for a fixed number of images; they set
    `required_batch_size`. A shorter batch is filled up with empty images,
    and their masks are dropped.
    """

    #: What the algorithm is made for, ``"cpu"`` or ``"gpu"``.
    hardware_processor: ClassVar[str] = "cpu"
    #: Number of images that the algorithm must get, or None for any number.
    required_batch_size: int | None = None

    def segment_batch(
        self, images: npt.NDArray[Any], bg_off: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.bool_]:
        # The offset is off before a batch is filled up: the filler has none.
        images = self.corrected(np.asarray(images), bg_off)
        size = self.required_batch_size
        if size is None:
            return self._masks_of(images)
        masks = np.empty(images.shape, dtype=bool)
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            count = len(batch)
            if count < size:
                filler = np.zeros((size - count, *batch.shape[1:]), dtype=batch.dtype)
                batch = np.concatenate([batch, filler])
            masks[start : start + count] = self._masks_of(batch)[:count]
        return masks
