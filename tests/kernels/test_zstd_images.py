"""Images packed by codes of their own are frames that any reader of Zstandard reads."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytovox.kernels.zstd_images import pack_images
from support.frames import length_of_frame


def is_read(images, unit=1600, alike=False):
    """Pack images, check that they are read, and return the length of the frame."""
    return length_of_frame(pack_images(images, unit, alike), images)


@settings(deadline=None)  # the first one waits for the compiler
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(0, 9), st.integers(1, 30), st.integers(1, 90)),
        elements=st.integers(0, 255) | st.integers(99, 101) | st.sampled_from([0, 128, 129]),
    ),
    st.sampled_from([1, 50, 1600, 100_000]),
    st.booleans(),
)
def test_any_images(images, unit, alike):
    is_read(images, unit, alike)


KINDS = {
    "all values, equally often": lambda rng, shape: rng.integers(0, 256, shape),
    "noise around a brightness": lambda rng, shape: rng.normal(150, 4, shape),
    "weak noise, some spots": lambda rng, shape: rng.normal(99, 0.3, shape) + rng.pareto(2, shape),
    "nine values": lambda rng, shape: rng.integers(0, 9, shape),
    "two values": lambda rng, shape: rng.integers(0, 2, shape) * 255,
    "half of the values, equally often": lambda rng, shape: rng.integers(0, 128, shape) * 2,
    "each value half as often as the one before": lambda rng, shape: rng.geometric(0.5, shape),
    "the same from the other end": lambda rng, shape: 255 - rng.geometric(0.5, shape),
    "brighter with each row": lambda rng, shape: rng.normal(
        np.arange(shape[1])[:, None], 2, shape
    ),
    "one value": lambda rng, shape: np.full(shape, 7),
}


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 1, 700), (3, 131, 1), (2, 300, 500), (1, 2, 20_000)]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alike", [False, True])
def test_kinds_of_images(kind, shape, alike):
    images = KINDS[kind](np.random.default_rng(1), shape).clip(0, 255).astype(np.uint8)
    assert (
        is_read(images, alike=alike)
        <= images.size + 3 * (images.size // 1600 + images.shape[0]) + 12
    )


@pytest.mark.parametrize("seed", range(20))
def test_values_that_are_of_any_frequency(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        kinds = int(rng.integers(2, 257))
        steep = 10 ** rng.uniform(-3, 0.5)
        often = np.exp(-steep * np.arange(kinds)) + rng.choice([0, 1e-4]) * rng.pareto(0.3, kinds)
        rng.shuffle(often)
        shape = tuple(rng.integers(1, (4, 60, 400)))
        values = rng.choice(kinds, shape, p=often / often.sum()) + rng.integers(0, 257 - kinds)
        is_read(values.astype(np.uint8), int(10 ** rng.uniform(0, 4.5)), bool(rng.integers(2)))


@pytest.mark.parametrize("shape", [(12, 12), (80, 400), (300, 500), (500, 600)])
def test_an_image_that_equals_the_one_before_costs_next_to_nothing(shape):
    images = np.random.default_rng(2).normal(120, 5, (2, *shape)).astype(np.uint8)
    many = np.repeat(images, [1, 40], axis=0)
    assert is_read(many) - is_read(images) < 39 * 20 * (1 + images[0].size // 100_000)
    many[20, -1, -1] ^= 1
    assert is_read(many) > 1.4 * is_read(images)


def bits_by_huffman(counts):
    """Return the bits of the best codes, by joining the two rarest again and again."""
    heap = [int(count) for count in counts if count]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    return bits


@pytest.mark.parametrize("spread", [0.7, 3, 12, 40])
def test_codes_are_the_shortest(spread):
    image = (
        np.random.default_rng(3).normal(128, spread, (1, 40, 400)).clip(0, 255).astype(np.uint8)
    )
    best = bits_by_huffman(np.bincount(image.ravel())) / 8
    table = 128  # bytes that lengths of codes can take, besides those of heads
    assert best <= is_read(image, 1 << 14) <= 1.01 * best + table


def test_parts_of_other_brightness_get_codes_of_their_own():
    rng = np.random.default_rng(4)
    dark, bright = (rng.normal(light, 1, (1, 20, 400)).astype(np.uint8) for light in (50, 200))
    both = np.concatenate([dark, bright], axis=1)
    assert is_read(both) < is_read(dark) + is_read(bright)
    assert is_read(both) < 0.8 * is_read(both, 1 << 14)


def test_rare_values_that_no_sample_has_are_read():
    rng = np.random.default_rng(5)
    images = rng.normal(120, 3, (60, 40, 400)).astype(np.uint8)
    places = tuple(rng.integers(0, size, 30) for size in images.shape)
    images[places] = rng.integers(0, 256, 30)
    assert is_read(images, 1600, True) < 1.02 * is_read(images, 1600)


def test_images_of_one_scene_take_no_more_room_with_the_same_codes():
    light = 100 + 60 * np.sin(np.arange(80.0) / 6)[:, np.newaxis]
    noise = np.random.default_rng(6).normal(size=(32, 80, 400)) * (1 + light / 40)
    images = (light + noise).clip(0, 255).astype(np.uint8)
    assert is_read(images, 1600, True) < 1.01 * is_read(images, 1600)
