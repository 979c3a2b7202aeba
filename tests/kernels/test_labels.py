from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi

from cytovox.errors import InputError, OptionError
from cytovox.kernels.labels import label_frames, process_frames

EIGHT = np.ones((3, 3))


def disk(radius):
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return yy**2 + xx**2 <= radius**2


def slow_process(labels, clear_border, fill_holes, closing_disk):
    labels = labels.copy()
    if clear_border:
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        labels[np.isin(labels, edge[edge != 0])] = 0
    if not fill_holes and not closing_disk:
        return labels
    binary = labels != 0
    if fill_holes:
        binary[0] = False
        binary[1:2, :2] = False
        outside, _ = ndi.label(~binary)
        binary = outside != outside[0, 0]
    if closing_disk:
        binary = ndi.binary_erosion(binary, disk(closing_disk), border_value=1)
        binary = ndi.binary_dilation(binary, disk(closing_disk), border_value=0)
    return ndi.label(binary, EIGHT)[0]


def relabelled(masks):
    labels = np.empty(masks.shape, np.uint16)
    counts = label_frames(masks, labels)
    return labels, counts


def test_label_frames(masks):
    labels, counts = relabelled(masks)
    for frame, count, mask in zip(labels, counts, masks, strict=True):
        expected, n = ndi.label(mask, EIGHT)
        np.testing.assert_array_equal(frame, expected)
        assert count == n


def test_label_frames_takes_bytes_and_read_only(masks):
    grey = masks.astype(np.uint8) * 255
    grey.flags.writeable = False
    np.testing.assert_array_equal(relabelled(grey)[0], relabelled(masks)[0])


OPTIONS = list(itertools.product([True, False], [True, False], [0, 1, 2, 3, 5]))


@pytest.mark.parametrize(("border", "holes", "radius"), OPTIONS)
def test_process_frames(masks, border, holes, radius):
    labels, _ = relabelled(masks)
    expected = [slow_process(frame, border, holes, radius) for frame in labels]
    process_frames(labels, border, holes, radius)
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)).map(
        lambda a: a % 3
    ),
    st.sampled_from(OPTIONS),
)
def test_process_small_frames_of_any_labels(frame, options):
    labels = frame.astype(np.uint16)[np.newaxis]
    expected = slow_process(labels[0], *options)
    process_frames(labels, *options)
    np.testing.assert_array_equal(labels[0], expected)


def test_wide_frames():
    mask = np.random.default_rng(0).random((2, 30, 1000)) < 0.7
    labels, _ = relabelled(mask)
    expected = [slow_process(frame, True, True, 2) for frame in labels]
    process_frames(labels, True, True, 2)
    np.testing.assert_array_equal(labels, expected)


def test_too_many_objects_are_refused():
    mask = np.zeros((2, 512, 512), bool)
    mask[1, ::2, ::2] = True
    with pytest.raises(InputError, match="frame 1 of this batch has 65536 separate objects"):
        relabelled(mask)
    mask[1, 0, 0] = False
    assert relabelled(mask)[1].tolist() == [0, 65535]


def test_negative_radius_is_refused():
    with pytest.raises(OptionError, match="closing_disk"):
        process_frames(np.zeros((1, 4, 4), np.uint16), True, True, -1)


@pytest.mark.parametrize("radius", [100, 10**6, 2**40, 10**300])
def test_a_disk_larger_than_the_frame_covers_it(radius):
    labels = np.ones((3, 6, 9), np.uint16)
    labels[1, 2, 4] = 0
    labels[2, :3] = 0
    expected = [slow_process(frame, False, False, 15) for frame in labels]
    process_frames(labels, False, False, radius)
    np.testing.assert_array_equal(labels, expected)


def test_no_opening_without_radius():
    labels = np.ones((1, 4, 4), np.uint16)
    process_frames(labels, False, False, None)
    assert (labels == 1).all()


@pytest.mark.peer
@pytest.mark.parametrize(("border", "holes", "radius"), OPTIONS)
def test_process_frames_like_peer(masks, border, holes, radius):
    segm = pytest.importorskip("dcnum.segm")
    labels, _ = relabelled(masks[:70])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            segm.Segmenter.process_labels(
                frame.copy(), clear_border=border, fill_holes=holes, closing_disk=radius
            )
            for frame in labels
        ]
    process_frames(labels, border, holes, radius)
    np.testing.assert_array_equal(labels, expected)


def slow_fates(mask, clear_border, fill_holes, closing_disk):
    """Return found, border, merged and opening of a mask, and its cleaned labels."""
    raw, found = ndi.label(mask, EIGHT)
    final = slow_process(raw, clear_border, fill_holes, closing_disk)
    edge = np.concatenate([raw[0], raw[-1], raw[:, 0], raw[:, -1]])
    left = set(range(1, found + 1)) - (set(edge.tolist()) if clear_border else set())
    if fill_holes:
        inside = raw.copy()
        inside[0] = 0
        inside[1:2, :2] = 0
        left &= set(inside.ravel().tolist())
    pieces = [set(raw[final == n].tolist()) & left for n in range(1, final.max() + 1)]
    reached = set().union(*pieces)
    owners = {min(piece) for piece in pieces if piece}
    if not fill_holes and not closing_disk:  # labels keep their numbers
        pieces = pieces[: len(left)]
        assert reached == owners == left
    split = len(pieces) - len(owners)
    lost = (found - len(left), len(reached) - len(owners), len(left) - len(reached))
    return (found + split, *lost), final


@settings(max_examples=300, deadline=None)
@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)),
    st.sampled_from(OPTIONS),
)
def test_each_object_is_kept_or_lost_to_one_cause(mask, options):
    labels, counts = relabelled(mask[np.newaxis])
    objects = np.zeros((1, 4), np.int64)
    objects[:, 0] = counts
    process_frames(labels, *options, objects)
    fates, final = slow_fates(mask, *options)
    assert objects[0].tolist() == list(fates)
    kept = len(set(final.ravel().tolist()) - {0})
    assert objects[0, 0] - objects[0, 1:].sum() == kept


def test_objects_of_many_frames(masks):
    for options in OPTIONS:
        labels, counts = relabelled(masks)
        objects = np.zeros((len(masks), 8), np.int64)
        objects[:, 0] = counts
        process_frames(labels, *options, objects)
        expected = [slow_fates(mask, *options)[0] for mask in masks]
        np.testing.assert_array_equal(objects[:, :4], expected)
