from __future__ import annotations

import contextlib
import copy
import multiprocessing as mp
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.errors import InterruptedRunError, OptionError, StageError, UsageError
from cytovox.logic.chunk_slot_data import ChunkSlotData
from cytovox.run.team import Team
from cytovox.run.team_worker import WorkerTraceback
from cytovox.segm import MPOSegmenter, load_segmenter_file
from cytovox.segm import pool as pool_module
from cytovox.segm import segmenter_mpo as module
from cytovox.segm.pool import SegmenterWorkerError, Share, split_share
from support.processes import alive, wait_until

USER_FILE = Path(__file__).with_name("user_segmenters.py")
posix_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


def load(name: str) -> Any:
    return load_segmenter_file(f"{USER_FILE}:{name}")


def make_slot(
    chunk: int = 0, length: int = 10, shape: tuple[int, int] = (6, 8), seed: int = 0
) -> ChunkSlotData:
    slot = ChunkSlotData((length, *shape), ["image_bg", "bg_off"])
    fill(slot, chunk, seed)
    return slot


def fill(slot: ChunkSlotData, chunk: int, seed: int) -> None:
    rng = np.random.default_rng((chunk, seed))
    slot.image[:] = rng.integers(20, 160, slot.shape)
    slot.image_bg[:] = 90
    slot.image_corr[:] = slot.image.astype(np.int16) - slot.image_bg
    slot.bg_off[:] = rng.normal(size=slot.length)
    slot.mask[:] = rng.random(slot.shape) < 0.5
    slot.chunk = chunk


@pytest.fixture(scope="module")
def dark() -> Iterator[MPOSegmenter]:
    with load("SegmentDark")(num_workers=2) as segmenter:
        yield segmenter


def pids(segmenter: MPOSegmenter) -> list[int]:
    return [worker.pid for worker in segmenter._workers]


@settings(deadline=None)
@given(start=st.integers(0, 50), length=st.integers(1, 50), data=st.data())
def test_after_a_death_no_frame_is_left_out(start: int, length: int, data: st.DataObject) -> None:
    share = Share(0, start, start + length, "of chunk 3")
    at = data.draw(st.integers(start, start + length - 1))
    culprit, *rest = split_share(share, at)
    assert (culprit.start, culprit.stop) == (at, at + 1)
    assert str(culprit) == f"frame {at} of chunk 3"
    assert [i for part in rest for i in range(part.start, part.stop)] == list(
        range(at + 1, start + length)
    )
    (again,) = split_share(share, -1)
    assert (again.start, again.stop, again.singly) == (share.start, share.stop, True)
    assert split_share(again, -1) == [again]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    order=st.lists(st.integers(0, 3), min_size=1, max_size=8),
)
def test_any_sequence_of_slots_in_a_thread(lengths: list[int], order: list[int]) -> None:
    slots = [make_slot(i, length) for i, length in enumerate(lengths)]
    with load("SegmentDark")(debug=True) as segmenter:
        for index in order:
            slot = slots[index % len(slots)]
            fill(slot, slot.chunk, seed=len(order))
            assert segmenter.segment_chunk(slot.chunk, slots) is slot.mask
            np.testing.assert_array_equal(slot.mask, slot.image < 90)


def test_chunk_after_chunk_with_the_same_workers(dark: MPOSegmenter) -> None:
    slots = [make_slot(0), make_slot(1), make_slot(2, length=3)]
    dark.segment_chunk(0, slots)
    before = pids(dark)
    assert len(before) == 2
    for chunk in range(200):
        slot = slots[chunk % 3]
        fill(slot, chunk, 1)
        mask = dark.segment_chunk(chunk, list(slots))
        assert mask is slot.mask
        np.testing.assert_array_equal(mask, slot.image < 90)
    assert pids(dark) == before
    assert dark.mp_num_workers_done.value == 2
    assert not dark.mp_active.is_set()


def test_same_chunk_twice(dark: MPOSegmenter) -> None:
    slots = [make_slot(4)]
    for seed in range(3):
        fill(slots[0], 4, seed)
        np.testing.assert_array_equal(dark.segment_chunk(4, slots), slots[0].image < 90)


def test_other_slots_start_workers_once(dark: MPOSegmenter) -> None:
    first, second = [make_slot(0)], [make_slot(0, seed=5)]
    dark.segment_chunk(0, first)
    before = pids(dark)
    dark.segment_chunk(0, second)
    between = pids(dark)
    assert not set(before) & set(between)
    np.testing.assert_array_equal(dark.segment_chunk(0, second), second[0].image < 90)
    assert pids(dark) == between


def test_both_workers_work() -> None:
    slots = [make_slot(0, length=9, shape=(6, 8))]
    with load("SegmentWho")(num_workers=2) as segmenter:
        found = set()
        while len(found) < 2:  # one may be ready before the other
            mask = segmenter.segment_chunk(0, slots).reshape(9, -1)
            found |= {sum(1 << i for i in np.flatnonzero(row).tolist()) for row in mask}
        assert found == set(pids(segmenter))
        assert os.getpid() not in found


@pytest.mark.parametrize("workers", [1, 3])
def test_result_equals_that_of_this_process(workers: int) -> None:
    slot = make_slot(3, length=7)
    raw = slot.image_corr.copy()
    with load("SegmentCorrected")(num_workers=workers, thresh=-2) as segmenter:
        expected = [
            segmenter.segment_single(slot.image_corr[i].copy(), slot.bg_off[i]) for i in range(7)
        ]
        np.testing.assert_array_equal(expected, slot.image_corr - slot.bg_off[:, None, None] < -2)
        np.testing.assert_array_equal(segmenter.segment_chunk(3, [slot]), expected)
        batch = segmenter.segment_batch(slot.image_corr, slot.bg_off)
        np.testing.assert_array_equal(batch, expected)
        np.testing.assert_array_equal(slot.image_corr, raw)
        assert len(segmenter._workers) == workers


def test_batches_reuse_workers(dark: MPOSegmenter) -> None:
    dark.join_workers()
    images = np.random.default_rng(2).integers(0, 180, (20, 6, 8), dtype=np.uint8)
    first = dark.segment_batch(images)
    before = pids(dark)
    for count in (20, 3, 17, 1):
        np.testing.assert_array_equal(dark.segment_batch(images[:count]), images[:count] < 90)
    assert pids(dark) == before
    np.testing.assert_array_equal(first, images < 90)  # no view on what comes later
    wide = images.reshape(10, 12, 8)[:, ::-1]
    np.testing.assert_array_equal(dark.segment_batch(wide), wide < 90)
    assert pids(dark) == before


def test_batches_and_chunks_take_turns(dark: MPOSegmenter) -> None:
    slots = [make_slot(0)]
    images = np.zeros((4, 6, 8), dtype=np.int16)
    assert dark.segment_batch(images).all()
    dark.segment_chunk(0, slots)
    before = pids(dark)
    for _ in range(3):
        assert dark.segment_batch(images).all()
        np.testing.assert_array_equal(dark.segment_chunk(0, slots), slots[0].image < 90)
    assert pids(dark) == before


def test_growing_batch_and_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_BATCH_BYTES", 1000)
    images = np.random.default_rng(2).integers(0, 180, (70, 6, 8), dtype=np.uint8)
    with load("SegmentDark")(debug=True) as segmenter:
        for count in (1, 5, 70, 0):
            masks = segmenter.segment_batch(images[:count])
            np.testing.assert_array_equal(masks, images[:count] < 90)
            assert masks.dtype == bool


def test_slots_that_are_not_shared_are_copied() -> None:
    class Plain:
        chunk = 2
        length = 5
        image = np.random.default_rng(0).integers(0, 180, (5, 4, 4), dtype=np.uint8)
        image_corr = None
        bg_off = None
        mask = np.zeros((5, 4, 4), dtype=bool)

    with load("SegmentDark")(debug=True) as segmenter:
        assert segmenter.segment_chunk(2, [Plain()]) is Plain.mask
        np.testing.assert_array_equal(Plain.mask, Plain.image < 90)


def test_number_of_workers() -> None:
    cls = load("SegmentDark")
    assert cls().num_workers >= 1
    assert cls(num_workers=3, debug=True).num_workers == 1
    with pytest.raises(OptionError, match="0 workers"):
        cls(num_workers=0)
    with cls(num_workers=9) as segmenter:
        segmenter.segment_chunk(0, [make_slot(0, length=2)])
        assert segmenter.num_workers == 2
        assert len(segmenter._workers) == 2


def test_environment_while_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    slot = make_slot(0, length=2)
    with load("SegmentEnvironment")(num_workers=1) as segmenter:
        segmenter.reinitialize_workers([slot])
        before = pids(segmenter)
        for pid in before:  # too early for them to have asked not to be interrupted
            os.kill(pid, signal.SIGINT)
        mask = segmenter.segment_chunk(0, [slot])
        assert mask[:, 0, :3].all()
        assert pids(segmenter) == before
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_chunk_that_is_nowhere(dark: MPOSegmenter) -> None:
    with pytest.raises(ValueError, match="no slot holds chunk 8"):
        dark.segment_chunk(8, [make_slot(0)])


def test_wrong_use_is_reported_before_work() -> None:
    with load("SegmentDark")(num_workers=1) as segmenter:
        with pytest.raises(ValueError, match="background offset does not apply"):
            segmenter.segment_batch(np.zeros((2, 3, 3)), np.zeros(2))
        with pytest.raises(ValueError, match="not a stack"):
            segmenter.segment_batch(np.zeros((3, 3)))
        assert segmenter._workers == []
    bare = ChunkSlotData((2, 4, 4))
    bare.chunk = 0
    with load("SegmentCorrected")() as segmenter, pytest.raises(UsageError, match="background"):
        segmenter.segment_chunk(0, [bare])


@pytest.mark.parametrize("debug", [True, False])
def test_error_of_the_algorithm(debug: bool) -> None:
    slot = make_slot(5)
    slot.image[6, 0, 0] = 7
    with load("SegmentAngry")(num_workers=1, debug=debug) as segmenter:
        with pytest.raises(StageError, match="no frames of 7") as caught:
            segmenter.segment_chunk(5, [slot])
        error = caught.value
        assert isinstance(error, SegmenterWorkerError)
        assert "ArithmeticError" in str(error)
        assert "frame 6 of chunk 5" in str(error)
        assert error.frame_in_chunk == 6
        assert isinstance(error.__cause__, ArithmeticError)
        trace = error.__cause__.__cause__
        assert isinstance(trace, WorkerTraceback)
        assert "raise ArithmeticError" in trace.trace
        assert "user_segmenters.py" in trace.trace
        slot.image[6, 0, 0] = 8
        np.testing.assert_array_equal(segmenter.segment_chunk(5, [slot]), slot.image < 90)
        assert pickle.loads(pickle.dumps(error)).frame_in_chunk == 6


def test_error_stops_the_other_workers() -> None:
    slot = make_slot(0, length=2000)
    slot.image[1000, 0, 0] = 7
    slot.mask[:] = False
    slot.image[:1000] = 0
    with load("SegmentAngry")(num_workers=2, seconds=0.01) as segmenter:
        with pytest.raises(StageError, match=r"frame 1000\b"):
            segmenter.segment_chunk(0, [slot])
        # The other one no longer works.
        slot.mask[:] = False
        slot.image[:] = 0
        assert segmenter.segment_batch(slot.image[:2]).all()
        assert not slot.mask.any()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SegmentExiting", "SystemExit: 3"),
        ("SegmentPeculiar", "it is local"),
        ("SegmentMisshapen", r"mask of shape \(5, 8\)"),
    ],
)
def test_odd_errors(name: str, text: str) -> None:
    with load(name)(num_workers=1) as segmenter:
        with pytest.raises(StageError, match=text):
            segmenter.segment_chunk(0, [make_slot(0, length=2)])
        with pytest.raises(StageError, match=r"frame 0 of the batch"):
            segmenter.segment_batch(np.zeros((1, 6, 8), np.uint8))


def test_class_that_no_process_can_import() -> None:
    class SegmentLocal(MPOSegmenter):
        @staticmethod
        def segment_algorithm(image: Any) -> Any:
            return image < 90

    with SegmentLocal(num_workers=1) as segmenter:
        with pytest.raises(UsageError, match="local cannot be sent to a worker"):
            segmenter.segment_batch(np.zeros((2, 4, 4)))
        assert segmenter._workers == []
        assert segmenter.segment_single(np.zeros((4, 4))).all()


def test_class_that_is_gone_in_the_child(tmp_path: Path) -> None:
    path = tmp_path / "vanishing.py"
    path.write_bytes(USER_FILE.read_bytes())
    cls = load_segmenter_file(f"{path}:SegmentDark")
    path.write_text("changed = True\n", encoding="utf-8")
    with cls(num_workers=1) as segmenter:
        with pytest.raises(StageError, match="cannot load the segmenter.*has changed") as caught:
            segmenter.segment_batch(np.zeros((2, 4, 4), np.uint8))
        assert "Traceback" in str(caught.value.__cause__.__cause__)
        path.write_bytes(USER_FILE.read_bytes())
        assert segmenter.segment_batch(np.zeros((2, 4, 4), np.uint8)).all()


@posix_kill
def test_killed_at_random_moments(caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(4)
    slots = [make_slot(i, length=24) for i in range(2)]
    with load("SegmentSlow")(num_workers=2, seconds=0.01) as segmenter:
        segmenter.segment_chunk(0, slots)
        for chunk in range(10):
            slot = slots[chunk % 2]
            fill(slot, chunk, 3)
            victim = rng.choice(segmenter._workers)
            timer = threading.Timer(rng.uniform(0, 0.13), os.kill, (victim.pid, signal.SIGKILL))
            timer.start()
            np.testing.assert_array_equal(segmenter.segment_chunk(chunk, slots), slot.image < 90)
            timer.join()
            with contextlib.suppress(ValueError):  # replaced
                victim.join(600)
        segmenter.segment_chunk(9, slots)
        assert len(set(pids(segmenter))) == 2
        assert all(worker.is_alive() for worker in segmenter._workers)
    lost = [text for text in caplog.messages if "worker process " in text]
    assert len(lost) == 10
    assert all("died (exit code -9" in text for text in lost)


@posix_kill
def test_killed_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = [make_slot(0, length=4)]
    with load("SegmentSlow")(num_workers=2, seconds=0.01) as segmenter:
        segmenter.segment_chunk(0, slots)
        monkeypatch.setattr(Team, "_replace", lambda *_: 1 / 0)  # where it is noticed
        victim = pids(segmenter)[0]
        os.kill(victim, signal.SIGSTOP)  # so that it is in the middle of its work
        moment: list[float] = []
        give = Team._give

        def give_and_kill(team: Team) -> None:
            give(team)
            if not moment:
                moment.append(time.monotonic())
                os.kill(victim, signal.SIGKILL)

        monkeypatch.setattr(Team, "_give", give_and_kill)
        with pytest.raises(ZeroDivisionError):
            segmenter.segment_chunk(0, slots)
        assert time.monotonic() - moment[0] < 60


@posix_kill
def test_frame_that_kills_once_is_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slot = make_slot(2)
    slot.image[7, 0, 0] = 7
    with load("SegmentDeadly")(num_workers=2, once=str(tmp_path / "done")) as segmenter:
        np.testing.assert_array_equal(segmenter.segment_chunk(2, [slot]), slot.image < 90)
    assert "working on frame 7 of chunk 2; another one does it again" in caplog.text


@posix_kill
def test_frame_that_kills_twice_fails_the_run() -> None:
    slot = make_slot(2)
    slot.image[7, 0, 0] = 7
    with load("SegmentDeadly")(num_workers=1) as segmenter:
        with pytest.raises(StageError, match="working on frame 7 of chunk 2") as caught:
            segmenter.segment_chunk(2, [slot])
        assert caught.value.frame_in_chunk == 7
        assert "exit code -9" in str(caught.value)
        slot.image[7, 0, 0] = 8
        np.testing.assert_array_equal(segmenter.segment_chunk(2, [slot]), slot.image < 90)


@posix_kill
def test_frames_that_kill_once_each_are_done_again(tmp_path: Path) -> None:
    """A second death over the same frames is not one over the same frame."""
    slot = make_slot(2)
    for value, frame in enumerate((5, 7, 9), start=1):
        slot.image[frame, 0, :2] = 7, value
    with load("SegmentFrail")(num_workers=1, folder=str(tmp_path)) as segmenter:
        np.testing.assert_array_equal(segmenter.segment_chunk(2, [slot]), slot.image < 90)
    assert len(list(tmp_path.iterdir())) == 3


@posix_kill
def test_a_frame_that_hangs_is_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", "8")  # to start takes its time, too
    slot = make_slot(2)
    slot.image[7, 0, :2] = 7, 1
    with load("SegmentFrail")(num_workers=1, folder=str(tmp_path), hang=True) as segmenter:
        np.testing.assert_array_equal(segmenter.segment_chunk(2, [slot]), slot.image < 90)
    assert "was killed since it took longer than 8 s, working on frame 7 of chunk 2" in caplog.text


@posix_kill
def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\n"
        "import numpy as np\n"
        "from cytovox.segm import load_segmenter_file\n"
        "if __name__ == '__main__':\n"
        "    cls = load_segmenter_file(sys.argv[1])\n"
        "    segmenter = cls(num_workers=2, seconds=0)\n"
        "    segmenter.segment_batch(np.zeros((2, 4, 4), np.uint8))\n"
        "    print(*[w.pid for w in segmenter._workers], flush=True)\n"
        "    segmenter.kwargs['seconds'] = 60\n"
        "    segmenter.join_workers()\n"
        "    segmenter.reinitialize_workers([])\n"
        "    segmenter._worker_starter.team.start(2)\n"
        "    print(*[w.pid for w in segmenter._workers], flush=True)\n"
        "    segmenter.segment_batch(np.zeros((2, 4, 4), np.uint8))\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, str(script), f"{USER_FILE}:SegmentSlow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        gone = [int(word) for word in parent.stdout.readline().split()]
        at_work = [int(word) for word in parent.stdout.readline().split()]
        assert len(at_work) == 2
        assert not any(alive(pid) for pid in gone)
        assert all(alive(pid) for pid in at_work)
        time.sleep(1)
        parent.kill()
    wait_until(lambda: not any(alive(pid) for pid in at_work))


def test_close_from_another_thread() -> None:
    slots = [make_slot(0, length=4)]
    segmenter = load("SegmentSlow")(num_workers=1, seconds=0)
    segmenter.segment_chunk(0, slots)
    segmenter.close()
    segmenter.kwargs["seconds"] = 60
    timer = threading.Timer(1.0, segmenter.close)
    timer.start()
    before = time.monotonic()
    with pytest.raises(InterruptedRunError, match="closed while it was working"):
        segmenter.segment_chunk(0, slots)
    assert time.monotonic() - before < 30  # a frame takes 60
    timer.join(600)
    assert not timer.is_alive()
    segmenter.close()
    assert not any("SegmentSlow" in child.name for child in mp.active_children())


def test_script_without_guard(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import numpy as np\n"
        "from cytovox.segm import MPOSegmenter\n"
        "class SegmentHere(MPOSegmenter):\n"
        "    @staticmethod\n"
        "    def segment_algorithm(image):\n"
        "        return image < 90\n"
        "with SegmentHere(num_workers=1) as segmenter:\n"
        "    segmenter.segment_batch(np.zeros((2, 4, 4), np.uint8))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "died (exit code 1) before it could work" in last
    assert "if __name__ == '__main__':" in last


def test_pickle_and_copy_leave_workers_behind(dark: MPOSegmenter) -> None:
    dark.segment_batch(np.zeros((2, 4, 4), np.uint8))
    for other in (pickle.loads(pickle.dumps(dark)), copy.deepcopy(dark)):
        assert type(other) is type(dark)
        assert other.get_ppid() == dark.get_ppid()
        assert other._workers == []
        assert other.slot_list is None
        assert other.segment_single(np.zeros((4, 4))).all()
    assert dark._workers


@pytest.mark.parametrize("name", ["MPOSegmenterWorkerProcess", "MPOSegmenterWorkerThread"])
def test_worker_that_was_not_started(name: str) -> None:
    slot = make_slot(0)
    expected = slot.image < 90
    old = slot.mask.copy()
    with load("SegmentDark")(debug=True) as segmenter:
        segmenter.reinitialize_workers([slot])
        worker = getattr(module, name)(segmenter, 2, 5)
        assert (worker.sl_start, worker.sl_stop) == (2, 5)
        assert worker.segmenter is segmenter
        assert worker.slot_list is segmenter.slot_list
        for attribute in ("mp_slot_index", "mp_active", "mp_num_workers_done", "mp_shutdown"):
            assert getattr(worker, attribute) is getattr(segmenter, attribute)
        worker.run()
        np.testing.assert_array_equal(slot.mask, old)
        segmenter.mp_slot_index.value = 0
        worker.run()
        np.testing.assert_array_equal(slot.mask[2:5], expected[2:5])
        np.testing.assert_array_equal(slot.mask[5:], old[5:])


@pytest.mark.parametrize("name", ["MPOSegmenterWorkerProcess", "MPOSegmenterWorkerThread"])
def test_worker_that_is_started_by_hand(name: str) -> None:
    """As its documentation shows: the workers of a program divide a slot among them."""
    slots = [make_slot(0), make_slot(1, seed=3)]
    raw = slots[1].image.copy()
    untouched = slots[0].mask.copy()
    with load("SegmentDark")(debug=True) as segmenter:
        segmenter.reinitialize_workers(slots)
        segmenter.mp_slot_index.value = 1
        workers = [getattr(module, name)(segmenter, *part) for part in ((0, 4), (4, 99))]
        for worker in workers:
            assert worker.daemon
            worker.start()
        for worker in workers:
            worker.join(600)
            assert not worker.is_alive()
            assert getattr(worker, "exitcode", 0) == 0
    assert segmenter.mp_num_workers_done.value == 2
    np.testing.assert_array_equal(slots[1].mask, raw < 90)
    np.testing.assert_array_equal(slots[1].image, raw)
    np.testing.assert_array_equal(slots[0].mask, untouched)


def test_worker_by_hand_stops_when_it_is_asked_to() -> None:
    slot = make_slot(0)
    old = slot.mask.copy()
    with load("SegmentDark")(debug=True) as segmenter:
        segmenter.reinitialize_workers([slot])
        segmenter.mp_slot_index.value = 0
        segmenter.mp_shutdown.value = 1
        worker = module.MPOSegmenterWorkerProcess(segmenter, 0, 10)
        worker.start()
        worker.join(600)
        assert worker.exitcode == 0
        assert segmenter.mp_num_workers_done.value == 0
    np.testing.assert_array_equal(slot.mask, old)


def test_bases() -> None:
    process, thread = module.MPOSegmenterWorkerProcess, module.MPOSegmenterWorkerThread
    assert issubclass(process, (module.MPOSegmenterWorker,))
    assert issubclass(process, module.mp_spawn.Process)
    assert issubclass(thread, module.MPOSegmenterWorker)
    assert issubclass(thread, threading.Thread)
    assert MPOSegmenter.hardware_processor == "cpu"
