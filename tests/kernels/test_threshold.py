from __future__ import annotations

import numpy as np
import pytest

from cytovox.kernels.threshold import below, equal_to_previous, subtract


@pytest.mark.parametrize("thresh", [-6, -6.5, -0.1, 0, 3, -40000, 40000, float("nan")])
@pytest.mark.parametrize(
    "offset", [None, 0.0, 1e-9, -1e-9, 0.5, -3.25, 1e5, -1e5, float("nan"), float("-inf")]
)
def test_below_is_a_comparison_in_double_precision(thresh, offset):
    rng = np.random.default_rng(0)
    corr = rng.integers(-12, 5, (3, 7, 11)).astype(np.int16)
    corr[0, 0, :2] = -32768, 32767
    offsets = None if offset is None else np.array([offset, 0.25, -offset])
    out = np.ones(corr.shape, bool)
    assert below(corr, thresh, offsets, out) is out
    expected = corr.astype(float) - (0 if offsets is None else offsets[:, None, None]) < thresh
    np.testing.assert_array_equal(out, expected)


def test_below_writes_into_parts_and_reads_read_only_frames():
    corr = np.full((2, 4, 4), -7, np.int16)
    corr.flags.writeable = False
    out = np.zeros((2, 4, 8), bool)
    below(corr, -6, None, out[:, :, ::2])
    assert out[:, :, ::2].all()
    assert not out[:, :, 1::2].any()


def test_equal_to_previous():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (6, 41, 53)).astype(np.uint8)
    images[2] = images[1]
    images[4] = images[3]
    images[4, -1, -1] ^= 1
    images[5] = images[4]
    expected = [False, False, True, False, False, True]
    assert equal_to_previous(images).tolist() == expected
    assert equal_to_previous(images, images[1]).tolist() == expected
    assert equal_to_previous(images, images[0].copy()).tolist() == [True, *expected[1:]]
    assert equal_to_previous(images[:0]).shape == (0,)


def test_subtract():
    rng = np.random.default_rng(2)
    image, background = rng.integers(0, 256, (2, 5, 31, 17)).astype(np.uint8)
    image[0, 0, :2], background[0, 0, :2] = (0, 255), (255, 0)
    expected = image.astype(int) - background
    out = np.zeros(image.shape, np.int16)
    assert subtract(image, background, out) is out
    np.testing.assert_array_equal(out, expected)
    wide = np.zeros((5, 31, 34), np.int16)
    subtract(image, background, wide[:, :, ::2])
    np.testing.assert_array_equal(wide[:, :, ::2], expected)
    assert not wide[:, :, 1::2].any()
