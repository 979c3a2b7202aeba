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
        """Return the boolean masks of a stack of raw images (N, H, W), made in this process.

        Parameters
        ----------
        model_file, model_sha256
            Model file of format 1, or its bare name; and the SHA-256 that may be run.
        """
        model, meta = load_model(model_file or "", model_sha256=model_sha256)
        return masks_of_format_1(model, meta, np.asarray(images))
