"""Shape of an object, from the moments of its border and of its convex hull.

The formulas are Green's theorem on a polygon, in the order of operations that
gives the same last bit as OpenCV's `moments` and `arcLength`: sums are exact
integers, sides of the perimeter are square roots in single precision.
"""

from __future__ import annotations

import math

import numpy as np

from .arrays import Floats, Integer, Ints
from .jit import kernel

__all__ = ["CONTOUR_NAMES", "polygon", "shape_features"]


#: Features of `shape_features`, in the order of its result.
CONTOUR_NAMES = (
    "area_msd",
    "area_ratio",
    "area_um",
    "area_um_raw",
    "aspect",
    "deform",
    "deform_raw",
    "eccentr_prnc",
    "inert_ratio_cvx",
    "inert_ratio_prnc",
    "inert_ratio_raw",
    "per_ratio",
    "per_um_raw",
    "pos_x",
    "pos_y",
    "size_x",
    "size_y",
    "tilt",
)


@kernel(division="numpy")
def polygon(x: Ints, y: Ints, n: Integer, out: Floats) -> None:
    """Compute area, centroid, central moments and perimeter of a closed polygon.

    Parameters
    ----------
    x, y
        Corners, pixels, int32 of shape (n,) or longer.
    n
        Number of corners.
    out
        To be written, float64 of shape (7,): area m00 (px²), centroid x and y
        (px), central moments mu20, mu11, mu02 (px⁴) and perimeter (px). If the
        area is 0, only the area and the perimeter are written.
    """
    a00 = a10 = a01 = a20 = a11 = a02 = np.int64(0)
    perimeter = 0.0
    x0 = np.int64(x[n - 1])
    y0 = np.int64(y[n - 1])
    for k in range(n):
        x1 = np.int64(x[k])
        y1 = np.int64(y[k])
        d = x0 * y1 - x1 * y0
        a00 += d
        a10 += d * (x0 + x1)
        a01 += d * (y0 + y1)
        a20 += d * (x0 * (x0 + x1) + x1 * x1)
        a11 += d * (x0 * (2 * y0 + y1) + x1 * (y0 + 2 * y1))
        a02 += d * (y0 * (y0 + y1) + y1 * y1)
        square = np.float32((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
        perimeter += np.float64(np.sqrt(square))
        x0 = x1
        y0 = y1
    sign = 1.0 if a00 > 0 else -1.0
    out[6] = perimeter
    if a00 == 0:
        out[0] = 0.0
        return
    m00 = a00 * (sign / 2)
    m10 = a10 * (sign / 6)
    m01 = a01 * (sign / 6)
    inverse = 1.0 / m00
    cx = m10 * inverse
    cy = m01 * inverse
    out[0] = m00
    out[1] = m10 / m00
    out[2] = m01 / m00
    out[3] = a20 * (sign / 12) - m10 * cx
    out[4] = a11 * (sign / 24) - m10 * cy
    out[5] = a02 * (sign / 12) - m01 * cy


@kernel(division="numpy")
def shape_features(
    raw: Floats, hull: Floats, width: Integer, height: Integer, px: float, out: Floats
) -> None:
    """Compute the features of `CONTOUR_NAMES`.

    Parameters
    ----------
    raw, hull
        What `polygon` says of the border and of its hull, float64 of shape
        (7,); areas are not 0.
    width, height
        Size of the bounding box, pixels.
    px
        Pixel size, µm.
    out
        Features to be written, float64 of shape (len(CONTOUR_NAMES),).
    """
    area, m20, m11, m02, perimeter = raw[0], raw[3], raw[4], raw[5], raw[6]
    # The power function of the C library rounds about one square in a thousand
    # differently than a product does, and stored numbers were made with it. A
    # literal 2 becomes a product; a 2 that the compiler does not know does not.
    two = 1.0 + area / area
    out[0] = area
    out[1] = hull[0] / area
    out[2] = hull[0] * math.pow(px, two)
    out[3] = area * math.pow(px, two)
    out[4] = width / height
    out[5] = 1 - 2 * math.sqrt(math.pi * hull[0]) / hull[6]
    out[6] = 1 - 2 * math.sqrt(math.pi * area) / perimeter
    root = math.sqrt(math.pow(m02 - m20, two) + 4 * math.pow(m11, two))
    major = 0.5 * (m02 + m20 + root)
    minor = 0.5 * (m02 + m20 - root)
    out[7] = math.sqrt((major - minor) / major)
    out[8] = math.sqrt(hull[3] / hull[5]) if hull[5] > 0 else math.nan
    ratio = major / minor
    out[9] = math.sqrt(ratio) if ratio >= 0 else math.nan
    out[10] = math.sqrt(m20 / m02) if m02 > 0 else math.nan
    out[11] = perimeter / hull[6]
    out[12] = perimeter * px
    out[13] = hull[1] * px
    out[14] = hull[2] * px
    out[15] = width * px
    out[16] = height * px
    out[17] = abs(0.5 * math.atan2(-2 * m11, m20 - m02))
