from __future__ import annotations

import warnings

import numpy as np
import pytest

from cytovox.errors import OptionError
from cytovox.kernels.event_boxes import find_events, mask_images
from cytovox.kernels.measure import COLUMNS, measure_events

EXACT_BRIGHTNESS = (
    "bg_med",
    "bright_avg",
    "bright_bc_avg",
    "bright_perc_10",
    "bright_perc_90",
)


@pytest.fixture(scope="module")
def measured(blobs, images):
    labels = blobs.astype(np.uint16) * 5
    events = find_events(labels, 0)
    assert len(events) == len(blobs)
    table, valid = measure_events(
        events,
        labels,
        images.image,
        images.image_bg,
        images.image_corr,
        images.bg_off,
        pixel_size=0.2645,
    )
    return dict(zip(COLUMNS, table, strict=True)), valid


def test_find_events():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 40, (12, 20, 30)).astype(np.uint16)
    labels[rng.random(labels.shape) < 0.3] = 0
    labels[3] = 0
    labels[5, 4, 7] = 65535
    skip = np.zeros(12, bool)
    skip[7] = True
    for limit in (0, 10, 12.5):
        expected = []
        for f, frame in enumerate(labels):
            for value in range(1, int(frame.max()) + 1) if not skip[f] else ():
                ys, xs = np.nonzero(frame == value)
                if len(ys) > limit:
                    box = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
                    expected.append([f, f, value, len(ys), *box])
        assert find_events(labels, limit, skip).table.tolist() == expected


def test_mask_images(masks):
    labels = masks.astype(np.uint16) * 3
    events = find_events(labels, 0)
    images = mask_images(events, labels)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, masks[events.frame] * np.uint8(255))


def test_no_events():
    labels = np.zeros((3, 8, 9), np.uint16)
    events = find_events(labels, 10)
    grey = np.zeros(labels.shape, np.uint8)
    table, valid = measure_events(events, labels, grey, grey, None, None, pixel_size=1.0)
    assert table.shape == (48, 0)
    assert valid.shape == (0,)
    assert mask_images(events, labels).shape == (0, 8, 9)


def test_objects_without_area_are_invalid():
    labels = np.zeros((1, 30, 30), np.uint16)
    labels[0, 3, 3] = 1
    labels[0, 6, 3:19] = 2
    labels[0, 8:20, 3] = 3
    labels[0, 9:20, 6:17][np.eye(11, dtype=bool)] = 4
    labels[0, 10:13, 20:25] = 5
    grey = np.zeros(labels.shape, np.uint8)
    events = find_events(labels, 0)
    table, valid = measure_events(events, labels, grey, grey, None, None, pixel_size=1.0)
    assert valid.tolist() == [False, False, False, False, True]
    assert np.isnan(table[:18, :4]).all()


def test_columns_without_background(blobs, images):
    labels = blobs[:4].astype(np.uint16)
    events = find_events(labels, 0)
    table, _ = measure_events(
        events, labels, images.image[:4], None, None, None, pixel_size=1.0, haralick=False
    )
    named = dict(zip(COLUMNS, table, strict=True))
    assert np.isfinite(named["bright_avg"]).any()
    assert np.isnan(named["bg_med"]).all()
    assert np.isnan(named["bright_bc_avg"]).all()
    with pytest.raises(OptionError, match="textures need a background"):
        measure_events(events, labels, images.image[:4], None, None, None, pixel_size=1.0)
    with pytest.raises(OptionError, match="pixel size"):
        measure_events(events, labels, images.image[:4], None, None, None, pixel_size=0)


def test_groups_are_left_out_on_request(blobs, images):
    labels = blobs[:1].astype(np.uint16)
    events = find_events(labels, 0)
    one = images.image[:1], images.image_bg[:1], None, None
    table, _ = measure_events(
        events, labels, *one, pixel_size=1.0, brightness=False, haralick=False, volume=False
    )
    assert np.isfinite(table[:18]).all()
    assert np.isnan(table[18:]).all()


def test_order_and_company_do_not_matter(blobs, images, measured):
    """An event alone yields the same bits as among others."""
    columns, _ = measured
    for k in range(0, len(blobs), 17):
        labels = blobs[k : k + 1].astype(np.uint16)
        events = find_events(labels, 0)
        table, _ = measure_events(
            events,
            labels,
            images.image[k : k + 1],
            images.image_bg[k : k + 1],
            None,
            images.bg_off[k : k + 1],
            pixel_size=0.2645,
        )
        np.testing.assert_array_equal(table[:, 0], [columns[name][k] for name in COLUMNS])


def assert_same(name, ours, theirs):
    """Compare bits, but for the arc tangent, which is another library's."""
    if name == "tilt":
        np.testing.assert_array_almost_equal_nulp(ours, theirs, 2)
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.peer
def test_contour_features_equal_peer(blobs, measured):
    feat_contour = pytest.importorskip("dcnum.feat.feat_contour")
    columns, valid = measured
    theirs = feat_contour.moments_based_features(blobs, 0.2645)
    np.testing.assert_array_equal(valid, theirs.pop("valid"))
    assert set(theirs) == set(COLUMNS[:18])
    for name, expected in theirs.items():
        assert_same(name, columns[name][valid], expected[valid])


@pytest.mark.peer
def test_several_objects_of_one_label_equal_peer(masks):
    """Of several objects, the last one that is in no hole is measured."""
    feat_contour = pytest.importorskip("dcnum.feat.feat_contour")
    masks = masks[masks.any(axis=(1, 2))]
    labels = masks.astype(np.uint16)
    grey = np.zeros(labels.shape, np.uint8)
    table, valid = measure_events(
        find_events(labels, 0), labels, grey, grey, None, None, pixel_size=0.5, haralick=False
    )
    theirs = feat_contour.moments_based_features(masks, 0.5)
    np.testing.assert_array_equal(valid, theirs["valid"])
    for name, column in list(zip(COLUMNS, table, strict=True))[:18]:
        assert_same(name, column[valid], theirs[name][valid])


@pytest.mark.peer
def test_volume_equals_peer(blobs, measured):
    feat_contour = pytest.importorskip("dcnum.feat.feat_contour")
    columns, valid = measured
    theirs = feat_contour.moments_based_features(blobs[valid], 0.2645, ret_contour=True)
    volume = feat_contour.volume_from_contours(
        theirs["contour"], theirs["pos_x"], theirs["pos_y"], 0.2645
    )["volume"]
    np.testing.assert_allclose(columns["volume"][valid], volume, rtol=2e-14)


@pytest.mark.peer
def test_brightness_equals_peer(blobs, images, measured):
    peer = pytest.importorskip("dcnum.feat.feat_brightness")
    columns, valid = measured
    for k in np.flatnonzero(valid)[::5]:
        one = slice(k, k + 1)
        theirs = peer.brightness_features(
            images.image[one],
            blobs[one],
            image_bg=images.image_bg[one],
            image_corr=images.image_corr[one],
            bg_off=images.bg_off[k],
        )
        for name, expected in theirs.items():
            if name in EXACT_BRIGHTNESS:
                assert columns[name][k] == expected[0], name
            else:
                assert columns[name][k] == pytest.approx(expected[0], rel=1e-14), name


@pytest.mark.peer
def test_texture_equals_peer(blobs, images, measured):
    peer = pytest.importorskip("dcnum.feat.feat_texture")
    columns, valid = measured
    for k in np.flatnonzero(valid)[::8]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = peer.haralick_texture_features(
                blobs[k : k + 1], image_corr=images.image_corr[k : k + 1]
            )
        for name, values in theirs.items():
            ours, expected = columns[name][k], values[0]
            if np.isnan(expected):
                assert np.isnan(ours), name
                continue
            limit = 1e-9 * max(abs(expected), 1)
            if "f13" in name and expected < 1e-4:
                limit = 1e-7  # square root of rounding noise
            assert abs(ours - expected) <= limit, name
