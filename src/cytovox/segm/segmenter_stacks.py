"""Segmenters whose algorithm takes a stack of images: in any worker, or in one thread."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from ..errors import OptionError
from .segmenter import FrameOffsets, Images, Masks, Segmenter

__all__ = ["STOSegmenter", "UNISegmenter"]


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

    def segment_batch(self, images: Images, bg_off: FrameOffsets = None) -> Masks:
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


class STOSegmenter(Segmenter, abc.ABC):
    """A segmenter with single-thread operation, whose algorithm takes a stack.

    Whole chunks are passed to the algorithm from one thread, which is what a
    GPU wants: it is never asked twice at the same time.

    Parameters
    ----------
    num_workers
        None or 1; it is there so that all segmenters can be made alike.
    kwargs_mask
        Options of the mask clean-up; see `Segmenter.process_labels`.
    debug
        Not used by this kind of segmenter.
    **kwargs
        Options of `segment_algorithm`.

    Raises
    ------
    OptionError
        If more than one worker is asked for, or an option does not fit.

    Examples
    --------
    >>> class SegmentBrighter(STOSegmenter):
    ...     @staticmethod
    ...     def segment_algorithm(image, *, level: float = 8):
    ...         return image > level
    >>> SegmentBrighter(level=3).segment_single(np.array([[2, 4]]))
    array([[False,  True]])
    """

    #: What the algorithm is made for, ``"cpu"`` or ``"gpu"``.
    hardware_processor: ClassVar[str] = "gpu"

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        kwargs_mask: dict[str, Any] | None = None,
        debug: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(kwargs_mask=kwargs_mask, debug=debug, **kwargs)
        if num_workers not in (None, 1):
            raise OptionError(
                f"segmenter {self.get_ppid_code()} works in one thread, not with "
                f"{num_workers} workers",
                hint="leave num_workers out",
            )
        self.num_workers = 1

    def segment_batch(self, images: Images, bg_off: FrameOffsets = None) -> Masks:
        return self._masks_of(self.corrected(np.asarray(images), bg_off))
