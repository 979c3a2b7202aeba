"""Outer border of an object and its convex hull, as polygons through pixel centres."""

from __future__ import annotations

import numpy as np

from .arrays import Grey, Integer, Ints
from .jit import kernel

__all__ = ["convex_hull", "trace"]


@kernel()
def trace(
    patch: Grey, stride: Integer, start: Integer, left: Integer, top: Integer, x: Ints, y: Ints
) -> int:
    """Follow the outer border of an object, visually counter-clockwise (y down).

    The border runs through the centres of border pixels; thin spurs are walked
    to their end and back. Holes are ignored.

    Parameters
    ----------
    patch
        Flattened image, uint8 of one dimension, shape (height * stride,),
        nonzero on the object, with a margin of background of at least one
        pixel on each side.
    stride
        Width of the image, margin included.
    start
        Index into `patch` of the object's first pixel in raster order.
    left, top
        Where the image without its margin lies in the frame, pixels.
    x, y
        Coordinates of the border in the frame, to be written, pixels, int32 of
        one dimension; a shape of four times the number of pixels of the object
        is always enough.

    Returns
    -------
    int
        Number of points; 1 for a single pixel.

    Notes
    -----
    This is border following after S. Suzuki and K. Abe, "Topological
    structural analysis of digitized binary images by border following" (1985),
    for the outermost border only.
    """
    # east, north-east, north, north-west, west, south-west, south, south-east
    ring = (1, 1 - stride, -stride, -1 - stride, -1, stride - 1, stride, stride + 1)
    back = -1
    for turn in (3, 2, 1, 0, 7, 6, 5):
        if patch[start + ring[turn]] != 0:
            back = turn
            break
    x[0] = start % stride + left - 1
    y[0] = start // stride + top - 1
    if back < 0:
        return 1
    last = start + ring[back]
    here = start
    n = 0
    while True:
        x[n] = here % stride + left - 1
        y[n] = here // stride + top - 1
        n += 1
        ahead = (back + 1) & 7
        while patch[here + ring[ahead]] == 0:
            ahead = (ahead + 1) & 7
        there = here + ring[ahead]
        if there == start and here == last:
            return n
        here = there
        back = (ahead + 4) & 7


@kernel()
def convex_hull(x: Ints, y: Ints, n: Integer, hull_x: Ints, hull_y: Ints) -> int:
    """Find the strictly convex hull of a border.

    Parameters
    ----------
    x, y
        Points, of which each row between the lowest and the highest y has one,
        pixels, int32 of shape (n,) or longer.
    n
        Number of points.
    hull_x, hull_y
        Corners to be written, in order, int32 of one dimension; a shape of
        twice the number of rows is enough.

    Returns
    -------
    int
        Number of corners. A row of one point at the top or the bottom is
        listed twice, which adds neither area nor length.
    """
    top = y[0]
    bottom = y[0]
    for k in range(n):
        top = min(top, y[k])
        bottom = max(bottom, y[k])
    extent = np.empty((2, bottom - top + 1), np.int32)
    extent[0] = 2147483647
    extent[1] = -2147483648
    for k in range(n):
        row = y[k] - top
        extent[0, row] = min(extent[0, row], x[k])
        extent[1, row] = max(extent[1, row], x[k])
    m = 0
    # down along the right ends of the rows, then up along the left ends
    for side in (1, 0):
        base = m
        for step in range(bottom - top + 1):
            new_y = top + step if side == 1 else bottom - step
            new_x = extent[side, new_y - top]
            while m >= base + 2:
                ax = np.int64(hull_x[m - 1] - hull_x[m - 2])
                ay = np.int64(hull_y[m - 1] - hull_y[m - 2])
                if ax * (new_y - hull_y[m - 2]) - ay * (new_x - hull_x[m - 2]) > 0:
                    break
                m -= 1
            hull_x[m] = new_x
            hull_y[m] = new_y
            m += 1
    return m
