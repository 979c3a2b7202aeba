"""Medians by counting are those by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from cytovox.kernels.median import rolling_upper_median, top_row_means, upper_median


def sorted_median(stack):
    return np.sort(stack, axis=0)[len(stack) // 2]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 100, 257])
@pytest.mark.parametrize("pixels", [1, 63, 512, 1300])
def test_upper_median(length, pixels):
    rng = np.random.default_rng(length * 1000 + pixels)
    stack = rng.integers(0, 256, (length, pixels), dtype=np.uint8)
    stack[:, ::3] = rng.choice([0, 255, 7], stack[:, ::3].shape)
    out = np.zeros(pixels, np.uint8)
    upper_median(stack, 0, pixels, out)
    np.testing.assert_array_equal(out, sorted_median(stack))


def test_upper_median_counts_beyond_16_bits():
    stack = np.zeros((70000, 2), np.uint8)
    stack[:30000, 0] = 9
    stack[:40000, 1] = 9
    out = np.zeros(2, np.uint8)
    upper_median(stack, 0, 2, out)
    assert out.tolist() == [0, 9]


def test_only_the_range_is_written():
    stack = np.full((3, 100), 5, np.uint8)
    out = np.zeros(100, np.uint8)
    upper_median(stack, 20, 90, out)
    assert out.nonzero()[0].tolist() == list(range(20, 90))
    blocks = np.zeros((2, 100), np.uint8)
    rolling_upper_median(stack, 2, 20, 90, blocks)
    assert blocks.any(axis=0).nonzero()[0].tolist() == list(range(20, 90))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("length", [1, 2, 50])
def test_rolling_upper_median(kernel_size, length):
    rng = np.random.default_rng(kernel_size + length)
    pixels = 130
    frames = rng.integers(0, 256, (length + kernel_size - 1, pixels), dtype=np.uint8)
    frames[:, :40] = rng.choice([0, 255], (len(frames), 40))
    frames[:, 40:60] = 255
    frames[:, 60:80] = 0
    out = np.zeros((length, pixels), np.uint8)
    rolling_upper_median(frames, kernel_size, 0, pixels, out)
    for i in range(length):
        np.testing.assert_array_equal(out[i], sorted_median(frames[i : i + kernel_size]))


@pytest.mark.parametrize("height", [1, 10, 20, 80])
def test_top_row_means(height):
    images = np.random.default_rng(height).integers(0, 256, (5, height, 31), dtype=np.uint8)
    np.testing.assert_array_equal(top_row_means(images, 20), images[:, :20].mean(axis=(1, 2)))
