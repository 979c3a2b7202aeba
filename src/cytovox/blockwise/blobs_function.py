"""Roundish bright (or dark) spots of a known size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .functions import as_segment_function, filled, one_channel

__all__ = ["blobs", "default_parameters", "segment_function"]

#: Options of `blobs`, where the caller gives no others.
default_parameters: dict[str, Any] = {
    "sigma": 3.0,
    "threshold": 1.0,
    "separation": None,
    "bright": True,
}


@one_channel
def blobs(
    array: npt.NDArray[Any],
    *,
    sigma: float = 3.0,
    threshold: float = 1.0,
    separation: int | None = None,
    bright: bool = True,
) -> npt.NDArray[np.uint32]:
    """Find blobs by the Laplacian of a Gaussian and grow each from its maximum.

    The response is ``-sigma**2 * LoG(image)`` (scale-normalised, Lindeberg
    1998). Each local maximum above the threshold is a blob; a watershed on the
    response divides the area where that is positive.

    Parameters
    ----------
    array
        Image, of shape (y, x) or (z, y, x). Where it is NaN or infinite, the
        value of the nearest finite voxel is taken; NaN is background.
    sigma
        Size of the blobs in voxels: radius divided by the square root of the
        number of dimensions.
    threshold
        Least response of a blob, in grey values.
    separation
        Least distance between two maxima in voxels; `sigma` if None.
    bright
        Whether blobs are brighter than what is around them.

    Returns
    -------
    numpy.ndarray
        uint32 labels of the same shape, 0 is background.

    Examples
    --------
    >>> y, x = np.mgrid[:30, :40]
    >>> image = 100 * np.exp(-((y - 10) ** 2 + (x - 12) ** 2) / 18.0)
    >>> int(blobs(image, sigma=3, threshold=5).max())
    1
    """
    from scipy import ndimage
    from skimage.segmentation import watershed as flood

    image = filled(array)
    response = -(sigma**2) * ndimage.gaussian_laplace(image if bright else -image, sigma)
    window = 2 * max(1, round(sigma) if separation is None else separation) + 1
    maxima = (response == ndimage.maximum_filter(response, window)) & (response > threshold)
    markers, _ = ndimage.label(maxima, np.ones((3,) * array.ndim))
    inside = (response > 0) & ~np.isnan(array)
    return np.asarray(flood(-response, markers, mask=inside), dtype=np.uint32)


segment_function = as_segment_function(blobs)
