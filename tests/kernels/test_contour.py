from __future__ import annotations

import math

import numpy as np
import pytest

from cytovox.kernels.contour import convex_hull, trace
from cytovox.kernels.moments import polygon
from cytovox.kernels.revolve import revolved_volume

cv2 = pytest.importorskip("cv2")


def border_of(mask):
    """Return the border, traced in the whole image with a margin."""
    patch = np.pad(mask, 1).astype(np.uint8)
    x, y = np.empty((2, 4 * int(mask.sum()) + 8), np.int32)
    start = int(np.argmax(patch.ravel()))
    n = trace(patch.ravel(), patch.shape[1], start, 0, 0, x, y)
    return x[:n].copy(), y[:n].copy()


def opencv_border_of(mask):
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return found[0][:, 0]


def test_border_is_that_of_opencv(blobs):
    for blob in blobs:
        np.testing.assert_array_equal(np.transpose(border_of(blob)), opencv_border_of(blob))


def test_border_of_one_pixel():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    assert [v.tolist() for v in border_of(mask)] == [[3], [2]]


def test_border_counts_from_the_corner_of_the_frame():
    patch = np.zeros((4, 4), np.uint8)
    patch[1:3, 1:3] = 1
    x, y = np.empty((2, 20), np.int32)
    n = trace(patch.ravel(), 4, 5, 100, 30, x, y)
    assert list(zip(x[:n], y[:n], strict=True)) == [(100, 30), (100, 31), (101, 31), (101, 30)]


def test_hull_is_that_of_opencv(blobs):
    for blob in blobs:
        x, y = border_of(blob)
        hull_x, hull_y = np.empty((2, 2 * blob.shape[0]), np.int32)
        n = convex_hull(x, y, len(x), hull_x, hull_y)
        expected = cv2.convexHull(np.transpose([x, y])[:, None])[:, 0]
        assert set(zip(hull_x[:n], hull_y[:n], strict=True)) == {tuple(p) for p in expected}


def test_polygon_is_that_of_opencv(blobs):
    for blob in blobs:
        x, y = border_of(blob)
        points = np.transpose([x, y])[:, None].astype(np.int32)
        out = np.full(7, np.nan)
        polygon(x, y, len(x), out)
        m = cv2.moments(points)
        assert out[0] == m["m00"]
        assert out[6] == cv2.arcLength(points, True)
        if m["m00"]:
            expected = m["m10"] / m["m00"], m["m01"] / m["m00"], m["mu20"], m["mu11"], m["mu02"]
            assert tuple(out[1:6]) == expected


def test_volume_of_a_ball():
    yy, xx = np.mgrid[:201, :201]
    x, y = border_of(np.hypot(yy - 100, xx - 100) <= 90.3)
    volume = revolved_volume(x, y, len(x), 100.0, 100.0, 0.5)
    assert volume == pytest.approx(4 / 3 * math.pi * 45**3, rel=0.01)


def test_volume_needs_four_points():
    points = np.array([1, 2, 3], np.int32)
    assert math.isnan(revolved_volume(points, points, 3, 2.0, 2.0, 1.0))
