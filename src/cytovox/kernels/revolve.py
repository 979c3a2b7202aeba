"""Volume of an object that is taken for a body of revolution around the flow axis."""

from __future__ import annotations

import math

from .arrays import Integer, Ints
from .jit import kernel

__all__ = ["revolved_volume"]


@kernel()
def revolved_volume(
    x: Ints, y: Ints, n: Integer, centre_x: float, centre_y: float, px: float
) -> float:
    """Turn the upper and the lower half of a border around x, and average.

    Parameters
    ----------
    x, y
        Border, pixels, in the direction of `contour.trace`, int32 of shape
        (n,) or longer.
    n
        Number of points.
    centre_x, centre_y
        A point on the axis, pixels.
    px
        Pixel size, µm.

    Returns
    -------
    float
        Volume in µm³; NaN for fewer than 4 points.

    Notes
    -----
    A side of the border makes a truncated cone. The halves are cut at the
    corners of the border, not between them.
    """
    if n < 4:
        return math.nan
    upper = 0.0
    lower = 0.0
    for k in range(n):
        j = k + 1 if k + 1 < n else 0
        z0 = x[k] - centre_x
        r0 = y[k] - centre_y
        dz = (x[j] - centre_x) - z0
        r1 = y[j] - centre_y
        a0 = max(r0, 0.0)
        d = max(r1, 0.0) - a0
        upper += (math.pi / 3) * dz * abs(3 * a0**2 + 3 * a0 * d + d**2)
        a0 = max(-r0, 0.0)
        d = max(-r1, 0.0) - a0
        lower += (math.pi / 3) * dz * abs(3 * a0**2 + 3 * a0 * d + d**2)
    return 0.5 * (upper - lower) * px**3
