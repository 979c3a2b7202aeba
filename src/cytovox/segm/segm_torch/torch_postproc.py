"""From the masks of a model back to the shape of the recorded images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...kernels.labels import label_frames, process_frames
from .torch_preproc import split_evenly

__all__ = ["postprocess_masks"]


def postprocess_masks(
    masks: npt.NDArray[Any], original_image_shape: tuple[int, int]
) -> npt.NDArray[np.uint16]:
    """Undo the cropping and padding that `preprocess_images` did."""
    masks = np.asarray(masks)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3:
        raise UsageError(f"masks have the shape (N, h, w), not {masks.shape}")
    labels = np.empty(masks.shape, dtype=np.uint16)
    label_frames(masks if masks.dtype == np.bool_ else masks != 0, labels)
    (h, w), (height, width) = masks.shape[1:], original_image_shape
    if (h, w) == (height, width):
        return labels
    if h < height or w < width:
        process_frames(labels, True, False, 0)
    out = np.zeros((len(labels), height, width), dtype=np.uint16)
    rows, cols = _between(h, height), _between(w, width)
    out[:, rows[1], cols[1]] = labels[:, rows[0], cols[0]]
    return out


def _between(size: int, target: int) -> tuple[slice, slice]:
    """Return which part of the model's axis lies where in the original axis."""
    # Cropping and padding split their difference the same way, so `before`
    # counts pixels of the longer axis whichever that is.
    before, _ = split_evenly(target, size)
    shared = min(size, target)
    part, whole = slice(before, before + shared), slice(0, shared)
    return (part, whole) if size > target else (whole, part)
