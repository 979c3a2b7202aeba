"""Segmentation with a model, a stack of images at a time, in any worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..segmenter import Images, Masks
from ..segmenter_stacks import UNISegmenter
from .inference import masks_of_format_2
from .model_file import choose_wiring, inspect_model
from .segm_torch_base import TorchSegmenterBase
from .torch_model import get_model_meta, load_model

__all__ = ["SegmentTorchUNI"]


class SegmentTorchUNI(TorchSegmenterBase, UNISegmenter):
    """PyTorch segmentation (universal worker version).

    Parameters
    ----------
    kwargs_mask
        Options of the mask clean-up.
    debug
        For debugging.
    **kwargs
        Options of `segment_algorithm`. The number of images that the model
        takes at once becomes `required_batch_size`.
    """

    hardware_processor = "gpu"
    requires_model_format_version = "2.0"
    releases_gil = True

    def __init__(
        self, *, kwargs_mask: dict[str, Any] | None = None, debug: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(kwargs_mask=kwargs_mask, debug=debug, **kwargs)
        meta = inspect_model(self.kwargs["model_file"]).meta
        choose_wiring(meta, self.kwargs["backend"], self.kwargs["device"])
        self.required_batch_size = int(meta.get("batch_size") or 0) or None

    @staticmethod
    def get_model_meta(segm_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata of the model that options name, without running it.

        Parameters
        ----------
        segm_kwargs
            Options of the segmenter by name, of which ``model_file`` is needed.
        """
        wiring = segm_kwargs.get("backend"), segm_kwargs.get("device")
        return get_model_meta(segm_kwargs.get("model_file", ""), *wiring)

    @staticmethod
    def segment_algorithm(
        images: Images,
        *,
        model_file: str | None = None,
        backend: str | None = None,
        device: str | None = None,
        model_sha256: str | None = None,
    ) -> Masks:
        """Return the masks of a stack of images; runs the model in this process.

        Parameters
        ----------
        images
            Raw images (N, H, W), uint8.
        model_file
            Model file of format 2, or its bare name.
        backend
            ``"torch.eager"``, ``"torch.jit"`` or a backend of `torch.compile`;
            the best that the model names if None. No part of the identifier.
        device
            ``"cpu"`` or ``"cuda"``; CUDA where there is one if None. No part
            of the identifier.
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
        model, meta = load_model(model_file or "", backend, device, model_sha256)
        return masks_of_format_2(model, meta, np.asarray(images))
