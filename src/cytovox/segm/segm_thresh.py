"""Segmentation by a threshold on the background-corrected image."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np

from ..kernels.threshold import below
from ..recipe.options import Within, check_options, options_of
from .segmenter import FrameOffsets, Images, Masks
from .segmenter_stacks import UNISegmenter

__all__ = ["SegmentThresh"]

_BELOW = Within(below=0, hint="cells are darker than the background: try -6")


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

    @staticmethod
    def segment_algorithm(image: Images, *, thresh: Annotated[float, _BELOW] = -6) -> Masks:
        """Return where the image is below a threshold.

        Parameters
        ----------
        image
            Image less background, int16 of shape (..., H, W).
        thresh
            Grey value less background, below zero, below which a pixel belongs to a cell.
        """
        known = options_of(SegmentThresh.segment_algorithm)
        check_options("segmenter thresh", known, {"thresh": thresh})
        return np.asarray(image < thresh)

    def segment_into(self, images: Images, bg_off: FrameOffsets, out: Masks) -> None:
        """Write the masks of int16 images, without a corrected copy of them."""
        below(images, float(self.kwargs["thresh"]), bg_off, out)
