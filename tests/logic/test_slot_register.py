"""The register of slots, driven step by step through all its tasks."""

from __future__ import annotations

import queue
import random
import threading

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytovox.errors import StageError
from cytovox.logic import ChunkSlot, DCNumPipelineJob, SlotRegister, conveyor
from cytovox.logic.chunk_slot import FrameReader
from cytovox.read import HDF5Data
from cytovox.run.rows import FrameRows

TASKS = (
    "task_load_all",
    "task_segment_images",
    "task_label_masks",
    "task_process_labels",
    "task_extract_features",
)


@pytest.fixture(scope="module")
def measured(raw_template):
    """A recording with background, and the number of events of each of its frames."""
    from cytovox.logic import DCNumJobRunner

    out = raw_template.with_name("tap.rtdc")
    job = DCNumPipelineJob(
        raw_template,
        out,
        num_procs=1,
        background_code="rollmed",
        background_kwargs={"kernel_size": 20},
    )
    runner = DCNumJobRunner(job)
    runner._check_before()
    runner.task_background()
    yield runner.path_temp_in, job
    runner.close()


def register_of(measured, chunk: int, **kwargs) -> SlotRegister:
    path, job = measured
    data = HDF5Data(path, pixel_size=job["data_kwargs"]["pixel_size"], image_chunk_size=chunk)
    return SlotRegister(job, data, queue.Queue(), **kwargs)


def finish(register: SlotRegister) -> list[tuple[int, object]]:
    """Do whatever can be done until nothing is left; return what came out."""
    while sum(getattr(register, task)() for task in TASKS):
        pass
    items = []
    while not register.event_queue.empty():
        items.append(register.event_queue.get())
    return items


@pytest.fixture(scope="module")
def expected(measured):
    """Number of events of each frame, from one slot and one thread."""
    register = register_of(measured, 230)
    items = finish(register)
    assert [frame for frame, _ in items] == list(range(230))
    return np.array([0 if e is None else len(e["deform"]) for _, e in items])


@pytest.mark.parametrize(
    ("chunk", "num_slots", "sizes"),
    [
        (230, 3, [230]),  # all in the slot for the last chunk
        (100, 2, [100, 100, 30]),
        (115, 1, [115, 115]),  # the last chunk is whole
        (500, 3, [230]),
    ],
)
def test_the_last_chunk_has_a_slot_of_its_own(measured, expected, chunk, num_slots, sizes):
    register = register_of(measured, chunk, num_slots=num_slots)
    assert [slot.length for slot in register.slots] == sizes
    assert [slot.is_remainder for slot in register.slots] == [False] * (len(sizes) - 1) + [True]
    items = finish(register)
    assert sorted(frame for frame, _ in items) == list(range(230))
    assert register.chunks_loaded == register.num_chunks
    np.testing.assert_array_equal(register.nevents, expected)


def test_documented_parts(measured):
    register = register_of(measured, 50)
    assert len(register) == 4
    assert isinstance(register[0], ChunkSlot)
    assert (register.num_chunks, register.num_frames, register.state) == (5, 230, "w")
    assert list(register.feat_nevents) == [-1] * 230
    assert register.find_slot("s") is None
    assert register.task_load_all() is True
    assert register.task_load_all() is False
    assert register.find_slot("s").chunk == 0
    assert register.find_slot("s", chunk=2).chunk == 2
    assert register.find_slot("s", chunk=9) is None
    assert register.get_time("task_load_all") > 0
    with pytest.raises(KeyError):
        register.get_counter_lock("nothing")
    with pytest.raises(KeyError):
        register.get_time("nothing")
    warden = register.reserve_slot_for_task("s", "m", batch_size=10)
    assert (warden.chunk_slot.chunk, warden.batch_range) == (0, (0, 10))
    assert register.reserve_slot_for_task("e", "i") is None
    named = register.reserve_slot_for_task("e", "i", chunk_slot=register[0])
    assert named.batch_size == 0
    register.close()
    assert register.state == "q"


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    chunk=st.sampled_from([30, 77, 100, 230]),
    slots=st.integers(1, 4),
)
def test_any_order_of_tasks_yields_each_frame_once(small_register, seed, chunk, slots):
    register, expected = small_register(chunk, slots)
    rng = random.Random(seed)
    idle: set[str] = set()
    while len(idle) < len(TASKS):
        task = rng.choice(TASKS)
        idle = set() if getattr(register, task)() else {*idle, task}
    frames = []
    while not register.event_queue.empty():
        item = register.event_queue.get()
        assert isinstance(item, FrameRows)
        frames += range(item.start, item.stop)
    assert sorted(frames) == list(range(register.num_frames))
    np.testing.assert_array_equal(register.nevents, expected)


@pytest.fixture
def small_register(measured, expected):
    """Return a function that makes a register of 24 frames, quick enough for many runs."""
    path, job = measured
    data = {}

    def make(chunk: int, slots: int):
        size = max(1, chunk // 10)
        if size not in data:
            data[size] = HDF5Data(
                path,
                pixel_size=job["data_kwargs"]["pixel_size"],
                image_chunk_size=size,
                index_mapping=24,
            )
        register = SlotRegister(job, data[size], queue.Queue(), slots, shared=False)
        register.batch_rows = True
        return register, expected[:24]

    return make


def test_threads_share_the_work(measured, expected):
    register = register_of(measured, 40, num_slots=2, shared=False)
    register.batch_rows = True

    def work() -> None:
        while (register.nevents < 0).any():
            seen = register.changes
            if not any(getattr(register, task)() for task in reversed(TASKS)):
                register.wait_for_change(seen, 0.5)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()
    np.testing.assert_array_equal(register.nevents, expected)


def test_q11_the_counter_of_chunks_can_be_set_after_the_last_chunk(measured):
    register = register_of(measured, 100)
    finish(register)
    done = threading.Thread(target=setattr, args=(register, "chunks_loaded", 0), daemon=True)
    done.start()
    done.join(600)
    assert not done.is_alive()
    assert register.chunks_loaded == 0


@pytest.mark.parametrize("workers", [1, 2, 64])
@pytest.mark.parametrize("shape", [(80, 320), (100, 1010), (1024, 1280)])
def test_q23_slots_stay_within_their_budget_whatever_the_image_size(shape, workers):
    class Images:
        image_shape = shape
        chunks = None

    class Data:
        def require_images(self, feature):
            return Images()

        locate = require_images

    job = DCNumPipelineJob("a.rtdc", data_kwargs={"pixel_size": 0.3}, num_procs=workers)
    pixels = shape[0] * shape[1]
    frames = conveyor.chunk_size_for(Data(), job)
    assert 1 <= frames <= max(1, (24 << 20) // (7 * pixels))
    most = max(512 << 20, 7 * pixels * (workers + 1))  # a frame in each
    assert conveyor.memory_of_slots(job, pixels, 10**6) <= most
    few = conveyor.memory_of_slots(job, pixels, 2 * frames)
    assert few == 2 * frames * pixels * 7, "a short recording takes no more slots than chunks"


def test_a_short_recording_has_no_more_slots_than_chunks(measured) -> None:
    path, job = measured
    with HDF5Data(path, pixel_size=0.3) as data:
        frames = len(data)
    assert len(register_of(measured, frames // 3, num_slots=50)) == 3 + (frames % 3 > 0)
    assert len(register_of(measured, frames, num_slots=50)) == 1


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_repeated_frames_are_found_in_whatever_order_chunks_are_read(raw, order) -> None:
    """A repetition of the last frame of a chunk is the first of the next."""
    with h5py.File(raw, "a") as h5:
        images = h5["events/image"]
        for frame in (10, 15, 20):
            images[frame] = images[frame - 1]
    with HDF5Data(raw, image_chunk_size=10) as data:
        reader = FrameReader(data)
        found = np.zeros(30, bool)
        for chunk in order:
            out = np.empty((10, *data.image.image_shape), np.uint8)
            found[10 * chunk : 10 * chunk + 10] = reader.read(10 * chunk, out)
    assert {10, 15, 20} <= {*np.flatnonzero(found)}
    assert not found[[9, 11, 14, 16, 19, 21]].any()


def test_a_writer_that_is_done_at_once_finds_the_counts(small_register) -> None:
    """Else a run fails where the writer is done before the last worker continues."""
    register, expected = small_register(100, 1)

    class Writer(queue.Queue):
        def put(self, rows, *args, **kwargs):
            assert register.nevents[rows.start : rows.stop].tolist() == rows.counts.tolist()
            super().put(rows, *args, **kwargs)

    register.event_queue = Writer()
    finish(register)
    np.testing.assert_array_equal(register.nevents, expected)


def test_an_error_that_names_its_stage_names_it_once(measured, monkeypatch) -> None:
    register = register_of(measured, 100)

    def refuse(images, offset, out):
        raise StageError("segment", "there is no light", hint="switch it on")

    monkeypatch.setattr(register.segmenter, "segment_into", refuse)
    assert register.task_load_all()
    with pytest.raises(StageError) as caught:
        register.task_segment_images()
    assert caught.value.what == "segment failed: there is no light"
    assert caught.value.detail == "there is no light"
    assert caught.value.hint == "switch it on"
    assert caught.value.frame == 0
