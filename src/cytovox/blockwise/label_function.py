"""Connected components of what is above a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.components import label_components
from .functions import as_segment_function, one_channel
from .threads import uses_threads

__all__ = ["default_parameters", "label", "segment_function"]

#: Options of `label`, where the caller gives no others.
default_parameters: dict[str, Any] = {"threshold": 0.0, "connectivity": None, "below": False}


@one_channel
@uses_threads
def label(
    array: npt.NDArray[Any],
    *,
    threshold: float = 0.0,
    connectivity: int | None = None,
    below: bool = False,
) -> npt.NDArray[np.uint32]:
    """Label the connected components of what is above (or below) a threshold.

    With ``stitch="touch"`` and the same connectivity the result is that of the
    whole volume at once, wherever the blocks are.

    Parameters
    ----------
    array
        Image of any type and shape. NaN is background.
    threshold
        Voxels beyond this value, not at it, are foreground.
    connectivity
        4 or 8 neighbours in two dimensions, 6, 18 or 26 in three; only faces
        count if None.
    below
        Whether the foreground is below the threshold.

    Returns
    -------
    numpy.ndarray
        uint32 labels of the same shape, 0 is background.

    Examples
    --------
    >>> label(np.array([[9, 0, 9], [9, 0, 0]]), threshold=5).tolist()
    [[1, 0, 2], [1, 0, 0]]
    """
    mask = array < threshold if below else array > threshold
    return label_components(mask, connectivity)[0]


segment_function = as_segment_function(label)
