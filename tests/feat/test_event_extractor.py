from __future__ import annotations

import queue
import warnings
from types import SimpleNamespace

import h5py
import hdf5plugin  # noqa: F401 - registers the compression of the recordings
import numpy as np
import pytest

from cytovox.errors import OptionError, UsageError
from cytovox.feat import Gate, QueueEventExtractor
from cytovox.feat.event_extractor import (
    BRIGHTNESS_NAMES,
    CONTOUR_NAMES,
    TEXTURE_NAMES,
    feature_names,
)
from cytovox.kernels.labels import label_frames, process_frames
from cytovox.kernels.threshold import below, equal_to_previous
from cytovox.run.rows import FrameRows

PIXEL_SIZE = 0.2645


class Register:
    """The little of a slot register that an extractor needs."""

    def __init__(self, slots, images):
        self.slots = slots
        self.chunk_size = len(slots[0].image)
        self.data = SimpleNamespace(image=images)
        self.dropped = 0

    def __iter__(self):
        return iter(self.slots)

    def increment_counter_value(self, name, increment):
        assert name == "masks_dropped"
        self.dropped += int(increment)


@pytest.fixture(scope="module")
def frames():
    """Ten frames with objects, one without area, one repeated frame, one empty frame."""
    rng = np.random.default_rng(0)
    image = rng.integers(95, 106, (10, 60, 90)).astype(np.uint8)
    labels = np.zeros(image.shape, np.uint16)
    yy, xx = np.mgrid[:60, :90]
    for i in range(10):
        labels[i][np.hypot(yy - 20, (xx - 25 - i) / 1.4) < 7 + i / 2] = 1
        labels[i][np.hypot(yy - 45, xx - 70) < 4] = 2
        labels[i, 5, 50:80] = 3  # without area
        labels[i, 55:58, 3:6] = 4  # too small
    image[labels > 0] -= 20
    labels[3] = 0
    image[6] = image[5]
    background = np.full(image.shape, 100, np.uint8)
    return SimpleNamespace(
        labels=labels,
        image=image,
        image_bg=background,
        image_corr=image.astype(np.int16) - background,
        bg_off=rng.normal(size=10),
        duplicate=equal_to_previous(image),
    )


def gate_of(limit=0.1, **kwargs):
    meta = {"online_filter:deform max": limit, "online_filter:deform soft limit": False}
    return Gate(SimpleNamespace(meta=meta, pixel_size=PIXEL_SIZE), **kwargs)


def measured(frames, part=slice(None), gate=None, objects=None, **options):
    extractor = QueueEventExtractor(None, PIXEL_SIZE, gate or gate_of(), None, options)
    return extractor.measure(
        frames.labels[part],
        frames.image[part],
        frames.image_bg[part],
        frames.image_corr[part],
        frames.bg_off[part],
        duplicate=frames.duplicate[part],
        start=part.start or 0,
        objects=objects,
    )


def test_names():
    assert (len(CONTOUR_NAMES), len(BRIGHTNESS_NAMES), len(TEXTURE_NAMES)) == (18, 7, 22)
    assert len(set(feature_names())) == 48
    assert QueueEventExtractor.feature_names({"haralick": False, "volume": "0"}) == feature_names(
        haralick=False, volume=False
    )
    assert QueueEventExtractor.feature_names() == feature_names()


def test_rows(frames):
    rows = measured(frames)
    assert isinstance(rows, FrameRows)
    assert rows.counts.tolist() == [2, 2, 2, 0, 2, 2, 0, 2, 2, 2]
    assert rows.n_events == 16
    assert rows.dropped == 8
    assert set(rows.rows) == {*feature_names(), "mask", "nevents"}
    for name, column in rows.rows.items():
        assert len(column) == 16
        if name not in ("mask", "nevents"):
            assert column.dtype == np.float64
            assert np.isfinite(column).all(), name
    assert rows.rows["nevents"].dtype == np.int64
    assert (rows.rows["nevents"] == 2).all()
    expected = [frames.labels[f] == k for f in np.flatnonzero(rows.counts) for k in (1, 2)]
    assert rows.rows["mask"].dtype == np.uint8
    np.testing.assert_array_equal(rows.rows["mask"], np.array(expected) * np.uint8(255))


def test_batches_do_not_matter(frames):
    whole = measured(frames)
    parts = [measured(frames, slice(a, b)) for a, b in ((0, 1), (1, 4), (4, 6), (6, 7), (7, 10))]
    assert [part.start for part in parts] == [0, 1, 4, 6, 7]
    assert sum(part.dropped for part in parts) == whole.dropped
    for name, column in whole.rows.items():
        joined = np.concatenate([part.rows[name] for part in parts])
        np.testing.assert_array_equal(joined, column)
        assert joined.dtype == column.dtype


def test_gates_come_before_dropping(frames):
    everything = measured(frames)
    limit = np.median(everything.rows["deform"])
    rows = measured(frames, gate=gate_of(limit, online_gates=True))
    assert 0 < rows.n_events < everything.n_events
    for name, column in everything.rows.items():
        if name != "nevents":
            expected = column[everything.rows["deform"] <= limit]
            np.testing.assert_array_equal(rows.rows[name], expected)
    np.testing.assert_array_equal(rows.rows["nevents"], rows.counts[rows.frames])
    # what has no area has no size, which is gated
    assert rows.dropped == 0


def test_groups(frames):
    rows = measured(frames, brightness=False, haralick=False, volume=False)
    assert set(rows.rows) == {*CONTOUR_NAMES, "mask", "nevents"}
    limit = {"online_filter:volume max": 2, "online_filter:volume soft limit": False}
    gate = Gate(SimpleNamespace(meta=limit, pixel_size=PIXEL_SIZE), online_gates=True)
    with pytest.raises(OptionError, match="gated by volume"):
        measured(frames, gate=gate, volume=False)


def test_nothing_to_measure(frames):
    rows = measured(frames, slice(3, 4))
    assert rows.counts.tolist() == [0]
    assert {len(column) for column in rows.rows.values()} == {0}
    assert rows.rows["mask"].shape == (0, 60, 90)


@pytest.fixture
def register(frames):
    slots = []
    for chunk in range(2):
        part = slice(5 * chunk, 5 * chunk + 5)
        arrays = {name: column[part] for name, column in vars(frames).items()}
        slots.append(SimpleNamespace(chunk=chunk, **arrays))
    return Register(slots, frames.image)


def extractor_of(cls, register, gate, **kwargs):
    return cls(register, PIXEL_SIZE, gate, queue.Queue(), **kwargs)


def test_one_frame_like_many(frames, register):
    extractor = extractor_of(QueueEventExtractor, register, gate_of())
    whole = measured(frames)
    found = [extractor.process_label(index) for index in range(10)]
    assert [0 if f is None else len(f["mask"]) for f in found] == whole.counts.tolist()
    assert register.dropped == whole.dropped
    for name in (*feature_names(), "mask"):
        joined = np.concatenate([f[name] for f in found if f is not None])
        expected = whole.rows[name] if name != "mask" else whole.rows[name] > 0
        np.testing.assert_array_equal(joined, expected, err_msg=name)
    with pytest.raises(UsageError, match="frame 10: no slot holds chunk 2"):
        extractor.process_label(10)


def test_masks_that_overlap(frames, register):
    extractor = extractor_of(QueueEventExtractor, register, gate_of())
    masks = np.zeros((3, 60, 90), bool)
    masks[0, 10:30, 10:30] = True
    masks[2, 20:40, 20:50] = True
    events = extractor.get_events_from_masks(masks, register.slots[0], 1, haralick=False)
    np.testing.assert_array_equal(events["mask"], masks[[0, 2]])
    assert events["area_msd"].tolist() == [19 * 19, 19 * 29]
    assert register.dropped == 1


def test_measure_uses_the_options(frames, register):
    kwargs = {"haralick": False}
    extractor = extractor_of(QueueEventExtractor, register, gate_of(), extract_kwargs=kwargs)
    rows = extractor.measure(
        frames.labels, frames.image, frames.image_bg, duplicate=frames.duplicate, start=30
    )
    assert rows.start == 30
    assert set(rows.rows) == {*feature_names(haralick=False), "mask", "nevents"}
    assert extractor.get_ppid() == "legacy:b=1^h=0^v=1"


def test_options_are_checked(register):
    with pytest.raises(OptionError, match="no option 'haralik'.*did you mean 'haralick'"):
        extractor_of(QueueEventExtractor, register, gate_of(), extract_kwargs={"haralik": True})
    with pytest.raises(OptionError, match="'volume'"):
        QueueEventExtractor.feature_names({"volume": "much"})


def test_identifier():
    assert QueueEventExtractor.get_ppid_code() == "legacy"
    assert QueueEventExtractor.get_ppid_from_ppkw({}) == "legacy:b=1^h=1^v=1"
    kwargs = {"brightness": False, "haralick": True, "volume": True}
    assert QueueEventExtractor.get_ppkw_from_ppid("legacy:b=0") == kwargs
    with pytest.raises(ValueError, match="other:b=1"):
        QueueEventExtractor.get_ppkw_from_ppid("other:b=1")


def assert_equals_peer(ours, theirs):
    assert set(ours) == set(theirs)
    np.testing.assert_array_equal(ours["mask"], theirs["mask"])
    for name in set(ours) - {"mask"}:
        if name == "volume" or name.endswith("_sd") or name == "tilt":
            np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-14, err_msg=name)
        elif name.startswith("tex"):
            limit = 1e-7 if "f13" in name else 1e-9
            np.testing.assert_allclose(
                ours[name], theirs[name], rtol=limit, atol=limit, err_msg=name
            )
        else:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.peer
def test_extractor_equals_peer(register):
    peer = pytest.importorskip("dcnum.feat")
    ours = extractor_of(QueueEventExtractor, register, gate_of())
    data = SimpleNamespace(meta={}, meta_nest={}, pixel_size=PIXEL_SIZE)
    theirs = extractor_of(peer.QueueEventExtractor, register, peer.Gate(data))
    for slot in register.slots:
        slot.length = 5
    for index in (0, 2, 9):
        np.testing.assert_array_equal(
            ours.get_masks_from_label(register.slots[0].labels[index % 5]),
            theirs.get_masks_from_label(register.slots[0].labels[index % 5]),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = theirs.process_label(index)
        assert_equals_peer(ours.process_label(index), expected)


@pytest.mark.peer
@pytest.mark.parametrize("name", ["cytoshot_2023.rtdc", "cytoshot_2024.rtdc"])
def test_real_cells_equal_peer(shared_data, name):
    peer = pytest.importorskip("dcnum.feat")
    with h5py.File(shared_data / "recordings" / name) as h5:
        image = h5["events/image"][:]
        background = h5["events/image_bg"][:]
    corr = image.astype(np.int16) - background
    offset = np.linspace(-1, 1, len(image))
    labels = np.empty(image.shape, np.uint16)
    label_frames(below(corr, -6, offset, np.empty(image.shape, bool)), labels)
    process_frames(labels, True, True, 2)
    slot = SimpleNamespace(
        chunk=0,
        length=len(image),
        image=image,
        image_bg=background,
        image_corr=corr,
        bg_off=offset,
        labels=labels,
    )
    register = Register([slot], image)
    ours = extractor_of(QueueEventExtractor, register, gate_of())
    data = SimpleNamespace(meta={}, meta_nest={}, pixel_size=PIXEL_SIZE)
    theirs = extractor_of(peer.QueueEventExtractor, register, peer.Gate(data))
    found = 0
    for index in range(len(image)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = theirs.process_label(index)
        events = ours.process_label(index)
        assert (events is None) == (expected is None)
        if events is not None:
            found += len(events["mask"])
            assert_equals_peer(events, expected)
    assert found > 5
