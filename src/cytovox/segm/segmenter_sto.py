"""Segmenters that want a whole stack of images in one thread, as on a GPU."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from .segmenter import Segmenter

__all__ = ["STOSegmenter"]


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

    def segment_batch(
        self, images: npt.NDArray[Any], bg_off: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.bool_]:
        return self._masks_of(self.corrected(np.asarray(images), bg_off))
