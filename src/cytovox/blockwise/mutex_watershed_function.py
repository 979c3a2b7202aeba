"""Mutex watershed of affinities, by the optional package ``mwatershed``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..run.extras import require
from .functions import all_channels, as_segment_function

__all__ = ["default_parameters", "mutex_watershed", "segment_function"]

#: Options of `mutex_watershed`, where the caller gives no others.
default_parameters: dict[str, Any] = {
    "offsets": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "bias": 0.5,
    "min_affinity": None,
}


@all_channels
def mutex_watershed(
    array: npt.NDArray[Any],
    *,
    offsets: Sequence[Sequence[int]] = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    bias: float = 0.5,
    min_affinity: float | None = None,
) -> npt.NDArray[np.uint64]:
    """Segment affinities between voxels (Wolf et al. 2018).

    Parameters
    ----------
    array
        Affinities, of shape (number of offsets, z, y, x): 0 to 1 as floating-point
        numbers, or 0 to 255 as uint8. NaN neither attracts nor repels; a voxel
        with nothing but NaN is background.
    offsets
        Neighbour of each affinity, in voxels.
    bias
        Subtracted from the affinities: above it voxels attract each other,
        below it they repel each other.
    min_affinity
        Objects whose mean affinity is lower become background; none do if None.

    Returns
    -------
    numpy.ndarray
        uint64 labels (z, y, x), 0 is background.

    Raises
    ------
    UsageError
        If the package is not installed, or the numbers of affinities and
        offsets differ.
    """
    require("mutex", "the mutex watershed")
    import mwatershed

    if len(array) != len(offsets):
        raise OptionError(f"there are {len(array)} affinities and {len(offsets)} offsets")
    affinities = array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64)
    known = ~np.isnan(affinities)
    labels: npt.NDArray[np.uint64] = mwatershed.agglom(
        np.where(known, affinities - bias, 0), [list(offset) for offset in offsets]
    )
    labels[~known.any(axis=0)] = 0
    if min_affinity is not None:
        counted = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, affinities, 0).sum(axis=0) / counted
        ids, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        total = np.bincount(inverse.ravel(), weights=mean.ravel(), minlength=len(ids))
        weak = ids[total / counts < min_affinity]
        labels[np.isin(labels, weak)] = 0
    return labels


segment_function = as_segment_function(mutex_watershed)
