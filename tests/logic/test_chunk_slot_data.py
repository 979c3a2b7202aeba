"""The slot machine, driven step by step: no frame is done twice or left out."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.logic.chunk_slot_data import ChunkSlotData, SlotState, StateWarden, mp_spawn


def make_slot(length: int, state: str = "s", **kwargs) -> ChunkSlotData:
    slot = ChunkSlotData((length, 2, 3), **kwargs)
    slot.state = state
    return slot


def test_arrays_have_the_documented_types():
    slot = ChunkSlotData((4, 5, 6), ["image_bg", "bg_off"])
    assert slot.length == 4
    assert slot.chunk == -1
    assert slot.state == "i"
    for name, dtype in {
        "image": np.uint8,
        "image_bg": np.uint8,
        "image_corr": np.int16,
        "mask": np.bool_,
        "labels": np.uint16,
    }.items():
        array = getattr(slot, name)
        assert (array.shape, array.dtype) == ((4, 5, 6), dtype)
    assert slot.bg_off.shape == (4,)


def test_without_background_there_are_no_arrays_for_it():
    slot = ChunkSlotData((4, 5, 6))
    assert slot.image_bg is None
    assert slot.image_corr is None
    assert slot.bg_off is None


def test_an_empty_slot_is_possible():
    slot = make_slot(0)
    assert slot.image.shape == (0, 2, 3)
    assert slot.acquire_task_lock("s") == (0, 0)
    assert slot.get_progress() == 1


def test_reservations_take_free_frames_in_order():
    slot = make_slot(10)
    assert slot.acquire_task_lock("s", batch_size=4) == (0, 4)
    assert slot.acquire_task_lock("s", batch_size=4) == (4, 8)
    assert slot.acquire_task_lock("s", batch_size=4) == (8, 10)
    assert slot.acquire_task_lock("s", batch_size=4) == (0, 0)
    slot.release_task_lock(4, 8, task_done=False)
    assert slot.acquire_task_lock("s") == (4, 8)
    slot.release_task_lock(0, 4)
    assert slot.get_progress() == pytest.approx(0.4)


def test_wrong_state_reserves_nothing():
    assert make_slot(3).acquire_task_lock("m") == (0, 0)


def test_a_new_state_frees_all_frames_and_the_same_state_does_not():
    slot = make_slot(3)
    slot.acquire_task_lock("s")
    slot.state = "s"
    assert slot.acquire_task_lock("s") == (0, 0)
    slot.state = "m"
    assert slot.acquire_task_lock("m") == (0, 3)


def test_warden_moves_the_slot_on_when_all_is_done():
    slot = make_slot(5)
    first = StateWarden(slot, "s", "m", batch_size=3)
    second = StateWarden(slot, "s", "m", batch_size=3)
    assert (first.batch_range, first.batch_size) == ((0, 3), 3)
    assert (second.batch_range, second.batch_size) == ((3, 5), 2)
    with first as (same, frames):
        assert same is slot
        assert frames == (0, 3)
    assert slot.state == "s"
    with second:
        pass
    assert slot.state == "m"
    assert slot.get_progress() == 0


def test_a_failing_warden_gives_its_frames_back():
    slot = make_slot(5)
    warden = StateWarden(slot, "s", "m")
    with pytest.raises(ZeroDivisionError), warden:
        _ = 1 / 0
    assert slot.state == "s"
    assert StateWarden(slot, "s", "m").batch_range == (0, 5)


def test_a_warden_checks_the_state_again():
    slot = make_slot(5)
    warden = StateWarden(slot, "s", "m")
    slot.state = "e"
    with pytest.raises(ValueError, match="does not match"), warden:
        pytest.fail("must not be reached")
    assert StateWarden(slot, "e", "i").batch_size == 5
    assert "s->m" in repr(warden)


def test_an_empty_warden_changes_nothing():
    slot = make_slot(5)
    busy = StateWarden(slot, "s", "m")
    with StateWarden(slot, "s", "m") as (_, frames):
        assert frames == (0, 0)
    assert slot.state == "s"
    with busy:
        pass
    assert slot.state == "m"


# A schedule: who takes how much, ends it well or not, and in which order.
schedules = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 7), st.booleans()), min_size=1, max_size=60
)


@settings(max_examples=600, deadline=None)
@given(length=st.integers(1, 20), schedule=schedules)
def test_any_schedule_does_each_frame_once_per_state(length, schedule):
    slot = make_slot(length, state="s")
    order = ["s", "m", "l", "e", "i"]
    done = {state: np.zeros(length, int) for state in order}
    open_wardens: dict[int, StateWarden] = {}

    def finish(worker: int, well: bool) -> None:
        warden = open_wardens.pop(worker)
        state = warden.current_state
        try:
            with warden as (_, (start, stop)):
                if not well:
                    raise RuntimeError
                done[state][start:stop] += 1
        except RuntimeError:
            pass

    for worker, size, well in schedule:
        if worker in open_wardens:
            finish(worker, well)
            continue
        state = slot.state
        if state == "i":
            break
        following = order[order.index(state) + 1]
        warden = StateWarden(slot, state, following, batch_size=size)
        if warden.batch_size:
            reserved = [set(range(*w.batch_range)) for w in open_wardens.values()]
            assert not set(range(*warden.batch_range)).intersection(*reserved or [set()])
            assert all(not set(range(*warden.batch_range)) & r for r in reserved)
            open_wardens[worker] = warden
    for worker in list(open_wardens):
        finish(worker, True)
    while slot.state != "i":
        state = slot.state
        with StateWarden(slot, state, order[order.index(state) + 1], 3) as (_, (start, stop)):
            assert stop > start
            done[state][start:stop] += 1
    for state in order[:-1]:
        assert (done[state] == 1).all()


def _work(slot: ChunkSlotData, counts: object, batch: int, fail_every: int) -> None:
    view = np.frombuffer(counts, dtype=np.int64)
    turn = 0
    while slot.state == SlotState.SEGMENT:
        warden = StateWarden(slot, "s", "m", batch_size=batch)
        if not warden.batch_size:
            with slot.monitor:
                slot.monitor.wait_for(
                    lambda: slot.state != "s" or slot.has_free_frames(), timeout=5
                )
            continue
        turn += 1
        try:
            with warden as (_, (start, stop)):
                if fail_every and turn % fail_every == 0:
                    raise RuntimeError
                view[start:stop] += 1
        except RuntimeError:
            pass


@pytest.mark.parametrize("fail_every", [0, 3])
def test_two_threads_on_one_slot(fail_every):
    slot = make_slot(500)
    counts = mp_spawn.RawArray("q", 500)
    threads = [
        threading.Thread(target=_work, args=(slot, counts, 7 + i, fail_every), daemon=True)
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()
    assert slot.state == "m"
    assert set(counts) == {1}


def test_who_works_on_frames_and_since_when():
    slot = make_slot(10)
    begin = time.monotonic()
    slot.acquire_task_lock("s", 4)
    slot.acquire_task_lock("s")
    assert {start: stop for start, (stop, _) in slot.under_way.items()} == {0: 4, 4: 10}
    assert all(begin <= since <= time.monotonic() for _, since in slot.under_way.values())
    slot.release_task_lock(0, 4)
    slot.release_task_lock(4, 10, task_done=False)
    assert not slot.under_way
