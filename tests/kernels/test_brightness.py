from __future__ import annotations

import numpy as np
import pytest

from cytovox.kernels.brightness import brightness_features, frame_median


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 17, 640, 641])
@pytest.mark.parametrize("high", [2, 3, 256])
def test_frame_median(size, high):
    rng = np.random.default_rng(size)
    for _ in range(20):
        frame = rng.integers(0, high, size).astype(np.uint8)
        assert frame_median(frame) == np.median(frame)


@pytest.mark.parametrize("size", [1, 2, 10, 11, 12, 300])
@pytest.mark.parametrize("scale", [1, 30, 30000])
def test_brightness_features(size, scale):
    rng = np.random.default_rng(size)
    for _ in range(20):
        grey = rng.integers(0, 256, size).astype(np.uint8)
        corrected = rng.integers(-scale, scale + 1, size).astype(np.int16)
        out = np.empty(6)
        brightness_features(grey, corrected, 0.3, True, out)
        assert out[0] == grey.mean()
        assert out[2] == corrected.mean() - 0.3
        expected = np.percentile(corrected.astype(float), [10, 90]) - 0.3
        np.testing.assert_allclose(out[4:], expected, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(out[[1, 3]], [grey.std(), corrected.std()], rtol=1e-13)


def test_without_background():
    out = np.zeros(6)
    brightness_features(np.array([3, 5], np.uint8), np.zeros(2, np.int16), 0.0, False, out)
    assert out[:2].tolist() == [4, 1]
    assert np.isnan(out[2:]).all()
