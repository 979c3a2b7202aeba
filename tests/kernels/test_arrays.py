from __future__ import annotations

import numpy as np
import pytest

from cytovox.errors import UsageError
from cytovox.feat import QueueEventExtractor
from cytovox.kernels.arrays import fitting, plain
from cytovox.kernels.event_boxes import find_events
from cytovox.kernels.measure import measure_events
from cytovox.kernels.threshold import equal_to_previous, subtract

LABELS = np.zeros((1, 20, 20), np.uint16)
LABELS[0, 5:12, 5:12] = 1
BRIGHT = np.full((1, 20, 20), 2500, np.uint16)


@pytest.mark.parametrize("given", [np.uint16, np.int64, ">u2", np.float32, bool])
@pytest.mark.parametrize("target", [np.uint8, np.int16])
def test_values_that_fit_are_converted(given, target):
    found = fitting(np.array([0, 1, 1], given), target)
    assert found.dtype == target
    assert found.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (np.array([256], np.uint16), np.uint8),
        (np.array([-1], np.int8), np.uint8),
        (np.array([0.5]), np.uint8),
        (np.array([np.nan]), np.int16),
        (np.array([70000]), np.uint16),
    ],
)
def test_values_that_do_not_fit_are_refused(values, target):
    for convert in (fitting, plain):
        with pytest.raises(UsageError, match="only whole numbers from"):
            convert(values, target)


@pytest.mark.parametrize(
    "call",
    [
        lambda: subtract(BRIGHT, np.zeros_like(BRIGHT), np.empty(BRIGHT.shape, np.int16)),
        lambda: equal_to_previous(BRIGHT),
        lambda: measure_events(
            find_events(LABELS, 0), LABELS, BRIGHT, BRIGHT, None, None, pixel_size=0.3
        ),
        lambda: measure_events(
            find_events(LABELS, 0),
            LABELS,
            np.zeros(BRIGHT.shape, np.uint8),
            BRIGHT,
            None,
            None,
            pixel_size=0.3,
        ),
        lambda: find_events(LABELS.astype(np.int64) * 65537, 0),
    ],
)
def test_no_kernel_wraps_values(call):
    with pytest.raises(UsageError, match="only whole numbers from 0 to"):
        call()


def test_images_of_wider_types_are_measured_like_those_of_8_bit():
    image = np.random.default_rng(0).integers(0, 256, LABELS.shape).astype(np.uint8)
    background = np.full_like(image, 100)
    events = find_events(LABELS, 0)
    expected, _ = measure_events(events, LABELS, image, background, None, None, pixel_size=0.3)
    wide = (array.astype(np.int32) for array in (image, background))
    found, _ = measure_events(events, LABELS, *wide, None, None, pixel_size=0.3)
    np.testing.assert_array_equal(found, expected)


def test_all_masks_of_more_labels_than_16_bit_hold_are_refused():
    extractor = QueueEventExtractor.__new__(QueueEventExtractor)
    with pytest.raises(UsageError, match="65537"):
        extractor.get_masks_from_label(LABELS[0].astype(np.int64) * 65537)
