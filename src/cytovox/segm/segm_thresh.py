"""Segmentation by a threshold on the background-corrected image."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..errors import OptionError
from ..kernels.threshold import below
from .segmenter import FrameOffsets, Images, Masks
from .segmenter_stacks import UNISegmenter

__all__ = ["SegmentThresh"]


class SegmentThresh(UNISegmenter):
    """Everything darker than the background by more than a threshold is a cell."""

    mask_postprocessing = True
    mask_default_kwargs: ClassVar[dict[str, Any]] = {
        "clear_border": True,
        "fill_holes": True,
        "closing_disk": 2,
    }
    requires_background_correction = True
    releases_gil = True

    def __init__(
        self, *, kwargs_mask: dict[str, Any] | None = None, debug: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(kwargs_mask=kwargs_mask, debug=debug, **kwargs)
        _check_threshold(self.kwargs["thresh"])

    @staticmethod
    def segment_algorithm(image: Images, *, thresh: float = -6) -> Masks:
        """Return where the image is below a threshold.

        Parameters
        ----------
        image
            Image less background, int16 of shape (..., H, W).
        thresh
            Grey value less background, below zero, below which a pixel belongs to a cell.
        """
        _check_threshold(thresh)
        return np.asarray(image < thresh)

    def segment_into(self, images: Images, bg_off: FrameOffsets, out: Masks) -> None:
        """Write the masks of int16 images, without a corrected copy of them."""
        below(images, float(self.kwargs["thresh"]), bg_off, out)


def _check_threshold(thresh: float) -> None:
    if not thresh < 0:
        raise OptionError(
            f"segmenter thresh: threshold {thresh} is not below zero",
            hint="cells are darker than the background: try -6",
        )
