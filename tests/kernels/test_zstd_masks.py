"""Masks packed by what is like the row above are frames that any reader of Zstandard reads."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytovox.kernels.zstd_masks import pack_masks
from support.frames import length_of_frame


def is_read(masks):
    """Pack masks, check that they are read if they are packed, and return the length."""
    packed = pack_masks(masks)
    return length_of_frame(packed, masks) if len(packed) else 0


@settings(deadline=None)  # the first one waits for the compiler
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(0, 4), st.integers(1, 60), st.integers(1, 90)),
        elements=st.sampled_from([0, 255, 255, 1]),
        fill=st.sampled_from([0, 255]),
    )
)
def test_single_pixels(masks):
    is_read(masks)


SIDES = st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(60, 300), st.sampled_from([1, 2, 64, 250, 1010])),
    st.lists(st.tuples(st.integers(0, 4), SIDES, SIDES, st.sampled_from([0, 255]))),
)
def test_rectangles_anywhere(shape, rectangles):
    masks = np.zeros(shape, np.uint8)
    for image, rows, columns, value in rectangles:
        top, bottom = (round(side * shape[1]) for side in rows)
        left, right = (round(side * shape[2]) for side in columns)
        masks[image % shape[0], top:bottom, left:right] = value
    is_read(masks)


def blobs(shape, seed=0, size=0.2):
    """Return masks of objects with rough outlines, of about such a part of the height."""
    rng = np.random.default_rng(seed)
    count, height, width = shape
    y, x = np.mgrid[:height, :width]
    masks = np.zeros(shape, bool)
    for mask in masks:
        at_y, at_x = rng.uniform(0, height), rng.uniform(0, width)
        angle = np.arctan2(y - at_y, x - at_x)
        rough = sum(rng.normal(0, 0.1 / k) * np.cos(k * angle + k * seed) for k in range(1, 9))
        mask[:] = np.hypot(y - at_y, x - at_x) < size * height * (1 + rough)
    return masks * np.uint8(255)


KINDS = {
    "an object in each": blobs((32, 80, 400)),
    "several objects": blobs((32, 80, 400), 1) | blobs((32, 80, 400), 2) | blobs((32, 80, 400), 3),
    "holes": blobs((32, 80, 400), size=0.4) & ~blobs((32, 80, 400), size=0.2),
    "mostly filled": ~blobs((32, 80, 400)),
    "wide": blobs((10, 100, 1010)),
    "an odd width": blobs((20, 80, 319)),
    "high": blobs((60, 400, 50), size=0.05),
    "larger than a block": blobs((3, 700, 900)),
    "none but over the end of the first block": np.pad(
        np.full((1, 5, 100), 255), ((0, 0), (262, 200), (50, 350))
    ),
    "filled up with empty ones": blobs((32, 80, 400)) * (np.arange(32) < 5)[:, None, None],
    "some with noise": blobs((32, 80, 400))
    ^ np.uint8(255) * (np.random.default_rng(0).random((32, 80, 400)) < 0.01),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_masks(kind):
    masks = np.ascontiguousarray(KINDS[kind], np.uint8)
    assert 0 < is_read(masks) < masks.size / 20


@pytest.mark.parametrize("shape", [(32, 80, 400), (52, 80, 250), (10, 100, 1010)])
def test_masks_are_smaller_than_by_level_5(shape):
    masks = blobs(shape, seed=4)
    assert is_read(masks) < 0.9 * len(zstandard.ZstdCompressor(level=5).compress(masks.tobytes()))


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 80, 400), (3, 300, 500), (1, 2, 100_000)])
def test_masks_of_one_value(shape, value):
    assert 0 < is_read(np.full(shape, value, np.uint8)) < 70 + 20 * np.prod(shape) / 100_000


@pytest.mark.parametrize("many", [1, 100, 1000, 2000])
def test_scattered_pixels(many):
    masks = np.zeros((1, 300, 500), np.uint8)
    masks.reshape(-1)[np.random.default_rng(many).choice(masks.size, many, replace=False)] = 255
    assert is_read(masks)


def test_what_is_no_mask_is_left_alone():
    noise = np.random.default_rng(0).integers(0, 256, (4, 80, 400), np.uint8)
    assert not len(pack_masks(noise))
    assert not len(pack_masks(noise[:0]))
    assert not len(pack_masks(blobs((4, 80, 400)) // 255))
    assert not len(pack_masks(np.concatenate([blobs((4, 80, 400)), noise])))
