"""Watershed from seeds inside of objects: cells with dark or bright borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from .functions import as_segment_function, filled, one_channel

__all__ = ["default_parameters", "segment_function", "watershed"]

#: Options of `watershed`, where the caller gives no others.
default_parameters: dict[str, Any] = {
    "threshold": 128.0,
    "sigma": 1.0,
    "seeds": "distance",
    "seed_distance": 5,
    "relief": "distance",
    "bright_inside": True,
    "min_size": 0,
}


@one_channel
def watershed(
    array: npt.NDArray[Any],
    *,
    threshold: float = 128.0,
    sigma: float = 1.0,
    seeds: str = "distance",
    seed_distance: int = 5,
    relief: str = "distance",
    bright_inside: bool = True,
    min_size: int = 0,
) -> npt.NDArray[np.uint32]:
    """Grow objects from seeds over what is inside of them.

    The image is smoothed and divided by a threshold into inside and border.
    Seeds are places that lie deepest inside, and the watershed divides the
    inside among them. Nothing depends on what else is in the block but what
    is near, so that neighbouring blocks agree where their context is large
    enough.

    Parameters
    ----------
    array
        Image, of shape (y, x) or (z, y, x). NaN is background, infinity is
        beyond the threshold; both are smoothed as if they had the value of the
        nearest finite voxel.
    threshold
        Grey value between inside and border.
    sigma
        Standard deviation of the smoothing in voxels.
    seeds
        ``"distance"``: where the distance to the border is largest;
        ``"intensity"``: where the smoothed image is farthest from the border's
        grey value.
    seed_distance
        Least distance between two seeds in voxels.
    relief
        What the watershed runs on: ``"distance"`` to the border, which divides
        touching objects at their waists; or the ``"intensity"``, which follows
        borders that can be seen, such as membranes. The latter depends less on
        what is far away, so blocks agree better.
    bright_inside
        Whether the inside is brighter than the border.
    min_size
        Objects of fewer voxels are removed.

    Returns
    -------
    numpy.ndarray
        uint32 labels of the same shape, 0 is background.

    Raises
    ------
    OptionError
        If `seeds` or `relief` is neither of the two.

    Examples
    --------
    >>> image = np.zeros((20, 40)); image[5:15, 5:15] = image[5:15, 22:34] = 200
    >>> int(watershed(image, threshold=100, sigma=0).max())
    2
    """
    from scipy import ndimage
    from skimage.segmentation import watershed as flood

    image = filled(array)
    if sigma:
        image = ndimage.gaussian_filter(image, sigma)
    sign = 1 if bright_inside else -1
    image, threshold = sign * image, sign * threshold
    inside = image > threshold
    if array.dtype.kind == "f":
        largest = np.finfo(np.float32).max
        inside[sign * array > largest] = True
        inside[np.isnan(array) | (sign * array < -largest)] = False
    for what, value in (("seeds", seeds), ("relief", relief)):
        if value not in ("distance", "intensity"):
            raise OptionError(f"there is no {what} '{value}'", hint="choose distance or intensity")
    depth = {"intensity": image}
    if "distance" in (seeds, relief):
        # A little smoothing joins the many maxima of a flat ridge.
        depth["distance"] = ndimage.gaussian_filter(
            ndimage.distance_transform_edt(inside).astype(np.float32), 1.0
        )
    window = 2 * max(0, seed_distance) + 1
    deepest = depth[seeds]
    highest = (deepest == ndimage.maximum_filter(deepest, window)) & inside
    markers, _ = ndimage.label(highest, np.ones((3,) * array.ndim))
    labels = np.asarray(flood(-depth[relief], markers, mask=inside), dtype=np.uint32)
    if min_size > 1:
        sizes = np.bincount(labels.ravel())
        labels[sizes[labels] < min_size] = 0
    return labels


segment_function = as_segment_function(watershed)
