"""Segmenters that take stacks, and the thread that passes chunks to those that want them."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.errors import OptionError, StageError
from cytovox.logic.chunk_slot_data import ChunkSlotData, StateWarden
from cytovox.logic.shared_counters import SharedCounters
from cytovox.segm import Segmenter, SegmenterManagerThread, STOSegmenter, load_segmenter_file

USER_FILE = Path(__file__).with_name("user_segmenters.py")
RNG = np.random.default_rng(1)


def load(name: str) -> Any:
    return load_segmenter_file(f"{USER_FILE}:{name}")


def test_stack_in_one_thread() -> None:
    images = RNG.integers(-20, 20, (5, 4, 6)).astype(np.int16)
    offset = RNG.normal(size=5)
    cls = load("SegmentStack")
    assert cls.hardware_processor == "gpu"
    with cls(num_workers=1) as segmenter:
        assert segmenter.num_workers == 1
        np.testing.assert_array_equal(segmenter.segment_batch(images), images < -6)
        expected = images - offset[:, None, None] < -6
        np.testing.assert_array_equal(segmenter.segment_batch(images, offset), expected)
        single = segmenter.segment_single(images[2], offset[2])
        assert single.shape == (4, 6)
        np.testing.assert_array_equal(single, expected[2])
    with pytest.raises(OptionError, match="2 workers"):
        cls(num_workers=2)
    with pytest.raises(ValueError, match="one thread"):
        cls(num_workers=0)


def test_stack_of_another_shape() -> None:
    class SegmentFlat(STOSegmenter):
        @staticmethod
        def segment_algorithm(image: Any) -> Any:
            return image[0]

    with pytest.raises(ValueError, match=r"shape \(4, 4\) of images of shape \(2, 4, 4\)"):
        SegmentFlat().segment_batch(np.zeros((2, 4, 4)))


@settings(deadline=None)
@given(count=st.integers(0, 13), with_offset=st.booleans())
def test_required_batch_size(count: int, with_offset: bool) -> None:
    images = np.random.default_rng(count).integers(-20, 20, (count, 3, 5)).astype(np.int16)
    offset = np.linspace(-8, 8, count) if with_offset else None
    before = (images.copy(), None if offset is None else offset.copy())
    masks = load("SegmentFours")().segment_batch(images, offset)
    corrected = images if offset is None else images - offset[:, None, None]
    np.testing.assert_array_equal(masks, corrected < -6)
    assert masks.shape == images.shape
    np.testing.assert_array_equal(images, before[0])
    if offset is not None:
        np.testing.assert_array_equal(offset, before[1])


class Register(SharedCounters):
    """As much of a slot register as the thread needs."""

    chunk_size = 10

    def __init__(self, lengths: list[int]) -> None:
        super().__init__(shared=False)
        self.slots = [
            ChunkSlotData((n, 4, 6), ["image_bg"], monitor=self.monitor) for n in lengths
        ]
        self.job = {"path_in": "in.rtdc"}

    def raw_frame(self, index: int) -> int:
        return index * 2

    def reserve_slot_for_task(self, current_state: str, next_state: str) -> Any:
        with self.monitor:
            for slot in sorted(self.slots, key=lambda s: s.chunk):
                if slot.state == current_state and slot.has_free_frames():
                    return StateWarden(slot, current_state, next_state)
        return None

    def load(self, slot: ChunkSlotData, chunk: int) -> None:
        slot.image[:] = np.random.default_rng(chunk).integers(20, 160, slot.shape)
        slot.image_corr[:] = slot.image.astype(np.int16) - 90
        slot.chunk = chunk
        slot.state = "s"
        self.notify()

    def wait_until(self, slot: ChunkSlotData, state: str) -> None:
        with self.monitor:
            assert self.monitor.wait_for(lambda: slot.state == state, 30)


@pytest.mark.parametrize(
    ("name", "kwargs"), [("SegmentStack", {"thresh": 0}), ("SegmentDark", {"num_workers": 2})]
)
def test_manager_moves_slots_on(name: str, kwargs: dict[str, Any]) -> None:
    register = Register([10, 10, 3])
    with load(name)(**kwargs) as segmenter:
        logger = logging.getLogger("of.this.run")
        thread = SegmenterManagerThread(segmenter, register, logger=logger)
        assert isinstance(thread, threading.Thread)
        assert name == "SegmentStack" or segmenter.logger is logger
        thread.start()
        for chunk in range(12):
            slot = register.slots[chunk % 3]
            register.load(slot, chunk)
            if chunk % 3 == 2:
                for other in register.slots:
                    register.wait_until(other, "m")
                    np.testing.assert_array_equal(other.mask, other.image < 90)
        register.close()
        thread.join(600)
        assert not thread.is_alive()
        assert thread.started
        assert thread.completed
        assert thread.error is None
        assert thread.t_count > 0


def test_manager_leaves_frames_of_others() -> None:
    register = Register([10])
    slot = register.slots[0]
    slot.mask[:] = False
    with load("SegmentDark")(debug=True) as segmenter:
        thread = SegmenterManagerThread(segmenter, register)
        register.load(slot, 0)
        with StateWarden(slot, "s", "m", 4):
            thread.start()
            deadline = time.monotonic() + 300
            while slot.get_progress() < 0.6 and time.monotonic() < deadline:
                register.wait_for_change(register.changes, 0.01)
        register.wait_until(slot, "m")
        register.close()
        thread.join(600)
    np.testing.assert_array_equal(slot.mask[4:], slot.image[4:] < 90)
    assert not slot.mask[:4].any()


def test_manager_pauses() -> None:
    register = Register([10])
    register.state = "p"
    slot = register.slots[0]
    with load("SegmentDark")(debug=True) as segmenter:
        thread = SegmenterManagerThread(segmenter, register)
        thread.start()
        register.load(slot, 0)
        thread.join(0.2)
        assert slot.state == "s"
        register.state = "w"
        register.notify()
        register.wait_until(slot, "m")
        register.close()
        thread.join(600)


@pytest.mark.parametrize("debug", [True, False])
def test_manager_reports_the_place_of_an_error(debug: bool) -> None:
    register = Register([10, 10])
    errors: list[BaseException] = []
    with load("SegmentAngry")(num_workers=2, debug=debug) as segmenter:
        thread = SegmenterManagerThread(segmenter, register, on_error=errors.append)
        register.load(register.slots[0], 3)
        register.slots[0].image[4, 0, 0] = 7
        thread.start()
        thread.join(600)
    assert not thread.is_alive()
    assert not thread.completed
    (error,) = errors
    assert error is thread.error
    assert isinstance(error, StageError)
    assert error.frame == 68  # of the input: twice that of the mapped 3 * 10 + 4
    assert str(error).startswith("in.rtdc, frame 68: segment failed: ArithmeticError")
    assert "segment failed: segment failed" not in str(error)
    assert register.slots[0].state == "s"


def test_manager_without_a_callback_logs_its_error(caplog: pytest.LogCaptureFixture) -> None:
    register = Register([10])
    segmenter = load("SegmentStack")()
    register.load(register.slots[0], 0)
    register.slots[0].image_corr = None
    thread = SegmenterManagerThread(segmenter, register)
    thread.start()
    thread.join(600)
    assert register.state == "q"
    assert "segmentation has failed" in caplog.text
    assert "needs a background image" in str(thread.error)


def test_manager_ends_while_the_segmenter_works() -> None:
    register = Register([10])
    segmenter = load("SegmentSlow")(num_workers=2, seconds=60)
    thread = SegmenterManagerThread(segmenter, register)
    register.load(register.slots[0], 0)
    thread.start()
    while not segmenter.mp_active.is_set():
        register.wait_for_change(register.changes, 0.01)
    register.close()
    segmenter.close()
    thread.join(600)
    assert not thread.is_alive()
    assert thread.completed
    assert thread.error is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_labels_of_any_type_are_cleaned(dtype: Any) -> None:
    labels = np.zeros((12, 12), dtype)
    labels[2:6, 2:6] = np.iinfo(dtype).max
    labels[8:, 8:] = 7
    kept = Segmenter.process_labels(labels, clear_border=True, fill_holes=False, closing_disk=0)
    assert kept.dtype == dtype
    assert np.array_equal(kept, np.where(labels == 7, 0, labels))
    anew = Segmenter.process_labels(labels, clear_border=True, fill_holes=True, closing_disk=0)
    assert anew.dtype == np.int32
    assert np.array_equal(anew, kept > 0)
