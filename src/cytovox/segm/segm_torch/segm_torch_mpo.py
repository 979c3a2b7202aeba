"""Segmentation with a model, one image at a time, in worker processes."""

from __future__ import annotations

import numpy as np

from ..segmenter import Images, Masks
from ..segmenter_mpo import MPOSegmenter
from .inference import masks_of_format_1
from .segm_torch_base import TorchSegmenterBase
from .torch_model import load_model

__all__ = ["SegmentTorchMPO"]


class SegmentTorchMPO(TorchSegmenterBase, MPOSegmenter):
    """PyTorch segmentation (multiprocessing version)."""

    requires_model_format_version = "1.0"

    @staticmethod
    def segment_algorithm(
        image: Images, *, model_file: str | None = None, model_sha256: str | None = None
    ) -> Masks:
        """Return the boolean mask of one raw image (H, W), made in this process, on the CPU.

        Parameters
        ----------
        model_file, model_sha256
            Model file of format 1, or its bare name; and the SHA-256 that may be run.
        """
        model, meta = load_model(model_file or "", device="cpu", model_sha256=model_sha256)
        (mask,) = masks_of_format_1(model, meta, np.asarray(image)[np.newaxis])
        return np.asarray(mask)
