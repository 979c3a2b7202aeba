"""Background methods: what is allowed, what comes back, how they stop."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from cytovox import background
from cytovox.background import (
    Background,
    BackgroundCopy,
    BackgroundKind,
    BackgroundRollMed,
    BackgroundSparseMed,
    base,
)
from cytovox.background.timing import Bursts, assign_frames, find_bursts, recording_times
from cytovox.errors import InputError, OptionError
from cytovox.read import HDF5Data
from cytovox.recipe.options import options_of

METHODS = [BackgroundSparseMed, BackgroundRollMed]


def full(result):
    """Return one image per frame."""
    if result.kind is BackgroundKind.STREAM:
        return np.concatenate(list(result.blocks))
    return result.images[result.mapping]


def workers_left():
    return [t for t in threading.enumerate() if t.name.startswith("background")]


def documented(cls):
    return [(one.name, one.type, one.default) for one in options_of(cls.check_user_kwargs)]


def test_documented_signatures():
    assert documented(BackgroundSparseMed) == [
        ("kernel_size", int, 200),
        ("split_time", float, 1.0),
        ("thresh_cleansing", float, 0),
        ("frac_cleansing", float, 0.8),
        ("offset_correction", bool, True),
    ]
    assert documented(BackgroundRollMed) == [("kernel_size", int, 100), ("batch_size", int, 10000)]
    assert not documented(BackgroundCopy)
    assert {"copy", "rollmed", "sparsemed"} <= set(background.get_available_background_methods())


@pytest.mark.parametrize(
    ("cls", "kwargs", "ppid"),
    [
        (BackgroundSparseMed, {}, "sparsemed:k=200^s=1^t=0^f=0.8^o=1"),
        (BackgroundSparseMed, {"offset_correction": False}, "sparsemed:k=200^s=1^t=0^f=0.8^o=0"),
        (BackgroundRollMed, {"batch_size": 500}, "rollmed:k=100^b=500"),
        (BackgroundCopy, {}, "copy:"),
    ],
)
def test_identity(cls, kwargs, ppid, make_recording):
    assert cls(make_recording("few"), **kwargs).get_ppid() == ppid
    assert cls.get_ppid_from_ppkw(kwargs) == ppid
    read = Background.get_ppkw_from_ppid(ppid)
    assert cls.get_ppid_from_ppkw(read) == ppid
    assert kwargs.items() <= read.items()


def test_identity_of_an_unknown_method():
    with pytest.raises(ValueError, match="there is no background 'nomed'"):
        Background.get_ppkw_from_ppid("nomed:k=1")


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [
        (BackgroundSparseMed, {"kernel_size": 0}),
        (BackgroundSparseMed, {"split_time": 0}),
        (BackgroundSparseMed, {"split_time": float("nan")}),
        (BackgroundSparseMed, {"thresh_cleansing": -1}),
        (BackgroundSparseMed, {"frac_cleansing": 0}),
        (BackgroundSparseMed, {"frac_cleansing": 1.1}),
        (BackgroundSparseMed, {"batch_size": 3}),
        (BackgroundRollMed, {"kernel_size": 7}),
        (BackgroundRollMed, {"kernel_size": 0}),
        (BackgroundRollMed, {"kernel_size": 100, "batch_size": 100}),
        (BackgroundRollMed, {"kernel_size": "many"}),
        (BackgroundCopy, {"kernel_size": 100}),
        (BackgroundRollMed, {"num_workers": 0}),
    ],
)
def test_wrong_options(cls, kwargs, make_recording):
    with pytest.raises(OptionError):
        cls(make_recording("few"), **kwargs)


@pytest.mark.parametrize("cls", METHODS)
def test_number_of_workers_has_no_effect(cls, fake):
    images = np.random.default_rng(1).integers(0, 256, (60, 90, 210), dtype=np.uint8)
    results = []
    for workers in (1, 2, 5):
        recording = fake(images, {"time": np.arange(60) / 10})
        results.append(full(cls(recording, num_workers=workers, kernel_size=10).compute()))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
    assert not workers_left()


@pytest.mark.parametrize("step_bytes", [1, 7 * 45 * 33, 10**9])
def test_rolling_blocks_are_bounded_and_complete(step_bytes, make_recording, monkeypatch):
    monkeypatch.setattr(background.rolling_median, "_BLOCK_BYTES", step_bytes)
    recording = make_recording("odd")
    result = BackgroundRollMed(recording, kernel_size=6, batch_size=50).compute()
    blocks = list(result.blocks)
    assert max(len(b) for b in blocks) <= 50
    got = np.concatenate(blocks)
    assert got.shape == recording.image.shape
    assert got.dtype == np.uint8
    for i in (0, 1, 100, 394):
        np.testing.assert_array_equal(got[i], np.sort(recording.image[i : i + 6], axis=0)[3])
    np.testing.assert_array_equal(got[395:], np.broadcast_to(got[394], (6, 45, 33)))


@pytest.mark.parametrize("number", [1, 10, 100])
def test_rolling_median_of_too_few_frames(number, fake):
    with pytest.raises(InputError, match=r"too few.*smaller kernel_size"):
        BackgroundRollMed(fake(np.zeros((number, 8, 8), np.uint8))).compute()


@pytest.mark.parametrize("cls", [*METHODS, BackgroundCopy])
def test_no_frames(cls, fake):
    with pytest.raises(InputError, match="no frames"):
        cls(fake(np.zeros((0, 8, 8), np.uint8))).compute()


@pytest.mark.parametrize("cls", METHODS)
def test_no_images_and_lost_images(cls, fake):
    with pytest.raises(InputError, match="no images"):
        full(cls(fake(None, length=5), kernel_size=2).compute())
    with pytest.raises(InputError, match="frame 9: .* 12 frames, but not all are there"):
        full(cls(fake(np.zeros((9, 8, 8), np.uint8), length=12), kernel_size=6).compute())


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (10, 5), (30, 3), (39, 2), (40, 9), (257, 3)])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 11])
def test_small_frames_and_short_recordings(shape, number, fake):
    images = np.random.default_rng(3).integers(0, 256, (number, *shape), dtype=np.uint8)
    recording = fake(images, {"time": np.arange(number) / 10})
    result = BackgroundSparseMed(recording, split_time=0.2, kernel_size=3).compute()
    assert result.mapping.shape == result.bg_off.shape == (number,)
    assert result.mapping.max() < len(result.images)
    rows = images[:, :20].mean(axis=(1, 2)) - full(result)[:, :20].mean(axis=(1, 2))
    np.testing.assert_array_equal(result.bg_off, rows)


@pytest.mark.parametrize(
    "features", [{}, {"time": np.full(9, 4.0)}, {"time": np.arange(9.0)[::-1]}]
)
def test_a_recording_without_duration_has_one_image(features, fake):
    images = np.random.default_rng(3).integers(0, 256, (9, 8, 8), dtype=np.uint8)
    result = BackgroundSparseMed(fake(images, features), kernel_size=9).compute()
    assert len(result.images) == 1
    np.testing.assert_array_equal(result.images[0], np.sort(images, axis=0)[4])


def test_four_images_are_cleansed_by_the_rule(fake):
    images = np.full((40, 80, 30), 100, np.uint8)
    images[12:18, 40, 3] = 0
    recording = fake(images, {"time": np.arange(40) / 10})
    result = BackgroundSparseMed(recording, kernel_size=10).compute()
    assert len(result.images) == 3
    assert result.mapping.tolist() == [0] * 5 + [1] * 20 + [2] * 15


def test_wide_integers_are_refused_where_they_do_not_fit(fake):
    images = np.full((3, 5, 5), 200, np.uint16)
    assert BackgroundSparseMed(fake(images)).compute().images.max() == 200
    images[1, 2, 3] = 300
    with pytest.raises(InputError, match="values from 200 to 300"):
        BackgroundSparseMed(fake(images)).compute()


@pytest.mark.parametrize("times", [[0.0, np.nan, np.nan], [0.0, np.nan, 2.0], [0.0, 1.0, np.inf]])
def test_unusable_times(times, fake):
    with pytest.raises(InputError, match="feature 'time'"):
        BackgroundSparseMed(
            fake(np.zeros((3, 5, 5), np.uint8), {"time": np.array(times)})
        ).compute()


def test_times_of_another_length(fake):
    recording = fake(np.zeros((3, 5, 5), np.uint8), {"time": np.arange(2.0)})
    with pytest.raises(InputError, match="3 frames, but 2 times"):
        BackgroundSparseMed(recording).compute()


def test_times_by_preference(fake):
    def times(features, meta=None):
        found, warnings = recording_times(fake(images, features, meta or {}), 3)
        assert warnings == ()
        return found

    images = np.zeros((3, 5, 5), np.uint8)
    assert times({"time": np.arange(3.0) + 5, "frame": np.arange(3)}).tolist() == [0, 1, 2]
    frame = {"frame": np.array([4, 6, 9], np.uint64)}
    assert times(frame, {"imaging:frame rate": 2}).tolist() == [0, 1, 2.5]
    assert times({}, {"imaging:frame rate": 3})[-1] == 1.5
    assert times({})[-1] == 3 / 3600 * 1.5


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [7.0, 8.0, 7.0], [9.0, 5.0, 6.0]])
def test_times_that_do_not_rise_are_passed_over_with_a_warning(fake, values):
    images = np.zeros((3, 5, 5), np.uint8)
    features = {"time": np.array(values), "frame": np.array([4, 6, 9])}
    times, warnings = recording_times(fake(images, features, {"imaging:frame rate": 2}), 3)
    assert times.tolist() == [0, 1, 2.5]
    assert len(warnings) == 1
    assert "'time' does not rise" in warnings[0]
    times, warnings = recording_times(fake(images, {"time": np.array(values)}), 3)
    assert times[-1] == 3 / 3600 * 1.5
    assert len(warnings) == 1


def test_times_that_fall_in_between_are_used_with_a_warning(fake):
    images = np.zeros((5, 5, 5), np.uint8)
    recording = fake(images, {"time": np.array([0.0, 5.0, 1.0, 2.0, 9.0])})
    result = BackgroundSparseMed(recording).compute()
    assert len(result.warnings) == 1
    assert "'time' falls 1 times, first at frame 2" in result.warnings[0]


def test_equal_backgrounds_of_a_recording_with_one_time(fake):
    images = np.arange(3 * 25, dtype=np.uint8).reshape(3, 5, 5)
    result = BackgroundSparseMed(fake(images, {"time": np.ones(3)})).compute()
    np.testing.assert_array_equal(full(result), [images[1]] * 3)


@pytest.mark.parametrize("seed", range(30))
def test_fast_search_is_the_plain_one(seed):
    rng = np.random.default_rng(seed)
    number = int(rng.integers(1, 400))
    times = np.cumsum(rng.choice([0.0, 0.1, 0.25, 1e-17, 3.0], number))
    if seed % 3 == 0:
        rng.shuffle(times)
        times[-1] = times.max()
    times -= times[0]
    split = float(rng.choice([0.05, 0.1, 1.0, 7.3]))
    length = int(rng.integers(1, number + 1))
    bursts = find_bursts(times, split, length)
    burst, numbers, weights = bursts.positions(10**9)
    steps = np.arange(max(1, np.ceil(times[-1] / split))) * split
    starts = [min(int(np.argmin(np.abs(s - times))), number - length) for s in steps]
    assert weights is None
    assert np.array_equal(numbers * split, steps)
    if seed % 3:
        assert bursts.starts[burst].tolist() == starts
    kept = steps[rng.random(len(steps)) < 0.7]
    if len(kept):
        plain = np.full(number, len(kept) - 1)
        ends = [int(np.argmin(np.abs((times - s) - split / 2))) for s in kept]
        for j, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            plain[a:b] = j
        assert assign_frames(times, kept, split).tolist() == plain.tolist()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("thresh", [0, 3])
def test_pauses_change_no_background(fake, monkeypatch, seed, thresh):
    """What is made of the frames is what a background for each second would be."""
    rng = np.random.default_rng(seed)
    number = int(rng.integers(20, 90))
    pauses = rng.choice([0.01, 0.01, 0.01, 0.01, 1.5, 40.0, 700.0], number)
    images = rng.integers(100, 140, (number, 50, 20)).astype(np.uint8)
    images[number // 2 :, 20:30] += 60
    recording = fake(images, {"time": np.cumsum(pauses)})
    options = {"kernel_size": 10, "thresh_cleansing": thresh, "frac_cleansing": 0.7}
    brief = BackgroundSparseMed(recording, **options).compute()
    assert len(brief.images) <= max(number, 1000)
    monkeypatch.setattr(Bursts, "positions", _each_step)
    whole = BackgroundSparseMed(recording, **options).compute()
    np.testing.assert_array_equal(full(brief), full(whole))


_POSITIONS = Bursts.positions


def _each_step(bursts, most):
    del most
    return _POSITIONS(bursts, 10**9)


@pytest.mark.parametrize("days", [1, 12, 3650])
def test_work_follows_frames_and_not_days(fake, days):
    """Two short recordings of different days, joined."""
    images = np.random.default_rng(0).integers(90, 150, (70, 48, 96)).astype(np.uint8)
    times = np.r_[np.arange(40), np.arange(30)] * 0.01
    times[40:] += 86400.0 * days
    result = BackgroundSparseMed(fake(images, {"time": times}), kernel_size=20).compute()
    assert len(result.images) <= 70
    first, second = np.unique(result.mapping[:40]), np.unique(result.mapping[40:])
    assert not set(first.tolist()) & set(second.tolist())


def test_many_images_go_to_a_temporary_file(make_recording, monkeypatch):
    recording = make_recording("timed")
    options = {"kernel_size": 20, "split_time": 0.1}
    inside = BackgroundSparseMed(recording, **options).compute()
    monkeypatch.setattr(base, "MEMORY_BUDGET", 1000)
    outside = BackgroundSparseMed(recording, **options).compute()
    assert isinstance(outside.images, np.memmap)
    np.testing.assert_array_equal(inside.images, outside.images)
    np.testing.assert_array_equal(inside.bg_off, outside.bg_off)


def test_offset_may_be_left_to_the_caller(make_recording):
    recording = make_recording("timed")
    method = BackgroundSparseMed(recording, kernel_size=20, split_time=0.1)
    result, deferred = method.compute(), method.compute(defer_offset=True)
    assert deferred.bg_off is None
    assert deferred.has_offset
    parts = [deferred.offsets_of(recording.image[a : a + 70], a) for a in range(0, 900, 70)]
    np.testing.assert_array_equal(np.concatenate(parts), result.bg_off)
    without = BackgroundSparseMed(recording, offset_correction=False).compute()
    assert not without.has_offset
    assert without.bg_off is None
    with pytest.raises(OptionError):
        without.offsets_of(recording.image[:2], 0)


class Watched:
    """Counts the frames that were read."""

    def __init__(self, images):
        self.images, self.read = images, 0

    def __getitem__(self, index):
        self.read += len(self.images[index])
        return self.images[index]


def test_only_the_frames_of_the_bursts_are_read(fake):
    watched = Watched(np.zeros((1000, 8, 8), np.uint8))
    recording = fake(watched, {"time": np.arange(1000) / 100}, length=1000)
    BackgroundSparseMed(recording, kernel_size=20).compute(defer_offset=True)
    assert watched.read == 10 * 20
    watched.read = 0
    BackgroundSparseMed(recording, kernel_size=150).compute(defer_offset=True)
    assert watched.read <= 1000


@pytest.mark.parametrize("cls", METHODS)
def test_progress_rises_to_one(cls, make_recording):
    seen = []
    full(cls(make_recording("timed"), kernel_size=20, on_progress=seen.append).compute())
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1
    assert len(seen) > 2


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_exception_of_the_listener_stops_everything(cls, calls, make_recording):
    seen = []

    def listen(share):
        seen.append(share)
        if len(seen) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        full(cls(make_recording("timed"), kernel_size=20, on_progress=listen).compute())
    assert len(seen) == calls
    assert not workers_left()


def test_a_closed_stream_leaves_no_threads(make_recording, monkeypatch):
    monkeypatch.setattr(background.rolling_median, "_BLOCK_BYTES", 1)
    result = BackgroundRollMed(make_recording("timed"), kernel_size=20).compute()
    next(result.blocks)
    assert workers_left()
    result.blocks.close()
    assert not workers_left()


def test_copy(fake):
    images = np.zeros((3, 5, 5), np.uint8)
    result = BackgroundCopy(fake(images, {"image_bg": images})).compute()
    assert result.kind is BackgroundKind.COPY
    assert result.length == 3
    with pytest.raises(InputError, match=r"no background to copy.*sparsemed"):
        BackgroundCopy(fake(images)).compute()


def test_log_says_how_many_images_were_kept(make_recording, caplog):
    logger = logging.getLogger("cytovox.test")
    with caplog.at_level(logging.INFO, logger="cytovox.test"):
        BackgroundSparseMed(
            make_recording("timed"), kernel_size=20, split_time=0.1, logger=logger
        ).compute()
    assert "kept 24 of 30 background images" in caplog.text


@pytest.mark.parametrize("cls", METHODS)
def test_with_the_reader(cls, make_recording, tmp_path):
    recording = make_recording("tiny")
    recording.write(tmp_path / "raw.rtdc")
    with HDF5Data(tmp_path / "raw.rtdc") as data:
        read = full(cls(data, kernel_size=20).compute())
    np.testing.assert_array_equal(read, full(cls(recording, kernel_size=20).compute()))


def test_real_recordings(shared_data):
    with HDF5Data(shared_data / "recordings" / "cytoshot_2023.rtdc") as data:
        result = BackgroundSparseMed(data).compute()
        assert result.images.shape[1:] == (80, 400)
        assert np.all(np.abs(result.bg_off) < 5)
        assert BackgroundCopy(data).compute().kind is BackgroundKind.COPY
