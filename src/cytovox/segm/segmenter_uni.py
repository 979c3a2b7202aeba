"""Segmenters that take a stack of images anywhere: in any worker, in batches."""

from __future__ import annotations

import abc
from typing import Any

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

    #: Number of images that the algorithm must get, or None for any number.
    required_batch_size: int | None = None

    def segment_batch(
        self, images: npt.NDArray[Any], bg_off: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Return the raw boolean masks of a stack of images.

        Parameters
        ----------
        images
            Stack (N, H, W): uint8, or int16 if background correction is
            required.
        bg_off
            float64 offsets (N,) to subtract before.

        Returns
        -------
        numpy.ndarray
            Boolean masks (N, H, W), before any clean-up.
        """
        images = self.corrected(images, bg_off)
        size = self.required_batch_size
        if size is None:
            return np.asarray(self.segment_algorithm_wrapper(images), dtype=bool)
        masks = np.empty(images.shape, dtype=bool)
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            count = len(batch)
            if count < size:
                filler = np.zeros((size - count, *batch.shape[1:]), dtype=batch.dtype)
                batch = np.concatenate([batch, filler])
            masks[start : start + count] = self.segment_algorithm_wrapper(batch)[:count]
        return masks

    def segment_single(
        self, image: npt.NDArray[Any], bg_off: float | None = None
    ) -> npt.NDArray[np.bool_]:
        """Return the raw boolean mask (H, W) of one image."""
        offset = None if bg_off is None else np.array([bg_off], dtype=np.float64)
        return self.segment_batch(np.asarray(image)[np.newaxis], offset)[0]
