"""Images into the shape of a model, and masks back, against slow loops."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytovox.errors import UsageError
from cytovox.segm.segm_torch.inference import (
    fit_shape,
    postprocess_masks,
    preprocess_images,
)

SIDES = st.tuples(st.integers(1, 11), st.integers(1, 11))
STACKS = st.tuples(st.integers(0, 3), SIDES).map(lambda s: (s[0], *s[1]))
NORMS = st.sampled_from([(0.487, 0.084), (0.362, 0.0219), (None, 0.1), (0.5, None), (None, None)])


def slow_axis(image, axis, target, value):
    """One axis, pixel row by pixel row."""
    rows = list(np.moveaxis(image, axis, 0))
    d = abs(len(rows) - target)
    if len(rows) > target:
        rows = rows[d // 2 : len(rows) - (d - d // 2)]
    else:
        filler = np.full_like(rows[0], value)
        rows = [filler] * (d // 2) + rows + [filler] * (d - d // 2)
    return np.moveaxis(np.array(rows), 0, axis)


def slow_pre(images, mean, std, shape):
    out = []
    for image in images:
        value = np.float32(np.median(image))
        fitted = image.astype(np.float32)
        for axis in (0, 1):
            fitted = slow_axis(fitted, axis, shape[axis], value)
        if mean is not None and std is not None:
            fitted = (fitted / 255 - mean) / std
        out.append(fitted[np.newaxis])
    return np.array(out, dtype=np.float32).reshape(len(images), 1, *shape)


def slow_post(masks, shape):
    out = []
    for mask in masks:
        labels, count = scipy.ndimage.label(mask, np.ones((3, 3)))
        if any(m < s for m, s in zip(mask.shape, shape, strict=True)):
            edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
            for number in set(edge.tolist()) - {0}:
                labels[labels == number] = 0
        for axis in (1, 0):
            labels = slow_axis(labels, axis, shape[axis], 0)
        out.append(labels)
    return np.array(out, dtype=np.uint16).reshape(len(masks), *shape)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), shape=SIDES, norm=NORMS)
def test_images_in(data, shape, norm):
    images = data.draw(hnp.arrays(np.uint8, data.draw(STACKS)))
    got = preprocess_images(images, *norm, shape)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, slow_pre(images, *norm, shape))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), shape=SIDES)
def test_masks_back(data, shape):
    masks = data.draw(hnp.arrays(np.bool_, data.draw(STACKS)))
    got = postprocess_masks(masks[:, np.newaxis], shape)
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, slow_post(masks, shape))


def test_one_image_and_no_shape():
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    got = preprocess_images(image, None, None)
    assert got.shape == (1, 1, 4, 6)
    np.testing.assert_array_equal(got[0, 0], image)


def test_padding_of_whole_grey_values():
    stack = np.array([[[1, 2], [3, 4]]], np.uint8)
    assert fit_shape(stack, (2, 3))[0].tolist() == [[1, 2, 2], [3, 4, 2]]
    assert fit_shape(stack, (2, 2)) is stack


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5)])
def test_other_axes_are_refused(shape):
    with pytest.raises(UsageError, match="axes"):
        preprocess_images(np.zeros(shape, np.uint8), None, None, (4, 4))
    with pytest.raises(UsageError, match="masks have the shape"):
        postprocess_masks(np.zeros(shape, bool), (4, 4))


@pytest.mark.peer
def test_equal_to_the_peer():
    pytest.importorskip("dcnum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dcnum.segm.segm_torch.torch_postproc import postprocess_masks as peer_post
        from dcnum.segm.segm_torch.torch_preproc import preprocess_images as peer_pre

        rng = np.random.default_rng(3)
        for _ in range(200):
            size, shape = rng.integers(3, 30, (2, 2))
            images = rng.integers(0, 256, (2, *size), dtype=np.uint8)
            norm = [(0.487, 0.084), (0.362, 0.0219), (None, None)][rng.integers(3)]
            shape = tuple(int(n) for n in shape)
            np.testing.assert_array_equal(
                preprocess_images(images, *norm, shape), peer_pre(images, *norm, shape)
            )
            masks = rng.random((2, *size)) < 0.3
            np.testing.assert_array_equal(
                postprocess_masks(masks, shape), peer_post(masks.copy(), shape)
            )
