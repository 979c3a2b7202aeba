"""Segmentation with a model, a stack of images at a time, in one thread."""

from __future__ import annotations

import numpy as np

from ..segmenter import Images, Masks
from ..segmenter_stacks import STOSegmenter
from .inference import masks_of_format_1
from .segm_torch_base import TorchSegmenterBase
from .torch_model import load_model

__all__ = ["SegmentTorchSTO"]


class SegmentTorchSTO(TorchSegmenterBase, STOSegmenter):
    """PyTorch segmentation (GPU version); on the CPU where there is no GPU."""

    requires_model_format_version = "1.0"

    @staticmethod
    def segment_algorithm(
        images: Images, *, model_file: str | None = None, model_sha256: str | None = None
    ) -> Masks:
        """Return the masks of a stack of images; runs the model in this process.

        Parameters
        ----------
        images
            Raw images (N, H, W), uint8.
        model_file
            Model file of format 1, or its bare name.
        model_sha256
            SHA-256 of the model that may be run.

        Returns
        -------
        numpy.ndarray
            Boolean masks (N, H, W).

        Raises
        ------
        ModelNotTrustedError
            If the model is not trusted.
        """
        model, meta = load_model(model_file or "", model_sha256=model_sha256)
        return masks_of_format_1(model, meta, np.asarray(images))
