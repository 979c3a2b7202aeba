"""What every kind of segmenter asks of the masks that an algorithm returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

__all__ = ["as_masks"]


def as_masks(code: str, masks: Any, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return what an algorithm made of images as boolean masks.

    Parameters
    ----------
    code
        Code of the segmenter, for the message.
    masks
        What the algorithm has returned; anything that is not zero is object.
    shape
        Shape of the images, in pixels (H, W) or (N, H, W).

    Returns
    -------
    numpy.ndarray
        Boolean array of this shape.

    Raises
    ------
    UsageError
        If the shape is another.

    Examples
    --------
    >>> as_masks("mine", [[0, 2]], (1, 2))
    array([[False,  True]])
    """
    found = np.asarray(masks)
    if found.shape != shape:
        raise UsageError(
            f"segmenter {code} made a mask of shape {found.shape} of images of shape {shape}",
            hint="segment_algorithm must return one boolean per pixel",
        )
    return found.astype(bool, copy=False)
