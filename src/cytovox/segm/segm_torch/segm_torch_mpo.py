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
        """Return the mask of one image; runs the model in this process, on the CPU.

        Parameters
        ----------
        image
            Raw image (H, W), uint8.
        model_file
            Model file of format 1, or its bare name.
        model_sha256
            SHA-256 of the model that may be run.

        Returns
        -------
        numpy.ndarray
            Boolean mask (H, W).

        Raises
        ------
        ModelNotTrustedError
            If the model is not trusted.
        """
        model, meta = load_model(model_file or "", device="cpu", model_sha256=model_sha256)
        (mask,) = masks_of_format_1(model, meta, np.asarray(image)[np.newaxis])
        return np.asarray(mask)
