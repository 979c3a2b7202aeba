"""What every kind of segmenter asks of the masks that an algorithm returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

__all__ = ["as_masks"]


def as_masks(code: str, masks: Any, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return what an algorithm made of images as boolean masks."""
    found = np.asarray(masks)
    if found.shape != shape:
        raise UsageError(
            f"segmenter {code} made a mask of shape {found.shape} of images of shape {shape}",
            hint="segment_algorithm must return one boolean per pixel",
        )
    return found.astype(bool, copy=False)
