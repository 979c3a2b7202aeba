"""Processes of a segmenter may die; the run continues or ends with a clear error."""

from __future__ import annotations

import multiprocessing as mp
import os
import random
import signal
import threading

import h5py
import pytest

from cytovox.errors import StageError, UsageError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob, stages
from cytovox.run.progress import StageProgress
from cytovox.run.unit_worker import unit_timeout
from cytovox.segm.find_segmenters import load_segmenter_file
from cytovox.testing import simulate_recording

SEGMENTER = '''
import os
import numpy as np
from cytovox.segm import UNISegmenter

class SegmentMoody(UNISegmenter):
    """Everything dark is a cell; cannot stand a bright corner."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}

    @staticmethod
    def segment_algorithm(image, *, how: str = "raise", level: int = -6):
        if (image[:, 0, 0] > 60).any():
            if how == "raise":
                raise ValueError("too moody")
            os._exit(7)
        return image < level
'''


@pytest.fixture
def moody(raw):
    """The code of a segmenter from a file, which holds the GIL."""
    path = raw.with_name("moody.py")
    path.write_text(SEGMENTER, encoding="utf-8")
    return load_segmenter_file(f"{path}:SegmentMoody").get_ppid_code()


def mark(path, frame):
    with h5py.File(path, "a") as h5:
        h5["events/image"][frame, 0, 0] = 255


def test_a_segmenter_from_a_file_runs_in_processes(raw, run_job, moody, events_of):
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    job = DCNumPipelineJob(raw, one, segmenter_code=moody, num_procs=2)
    with DCNumJobRunner(job) as runner:
        assert runner._work._use_processes()
        runner.run()
    assert runner.event_count > 50
    run_job(raw, two, segmenter_code=moody, num_procs=1, processes=False)
    assert {k: v.tobytes() for k, v in events_of(one).items()} == {
        k: v.tobytes() for k, v in events_of(two).items()
    }


MPO_SEGMENTER = '''
from cytovox.segm import MPOSegmenter, STOSegmenter

class SegmentOne(MPOSegmenter):
    """Everything dark is a cell."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}

    @staticmethod
    def segment_algorithm(image, *, level: int = -6):
        if image[0, 0] > 60:
            raise ValueError("too bright")
        return image < level

class SegmentStack(STOSegmenter):
    """Everything dark is a cell."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}

    @staticmethod
    def segment_algorithm(image, *, level: int = -6):
        return image < level
'''


@pytest.mark.parametrize("kind", ["SegmentOne", "SegmentStack"])
def test_kinds_of_segmenters_agree(raw, run_job, events_of, kind):
    path = raw.with_name("mine.py")
    path.write_text(MPO_SEGMENTER, encoding="utf-8")
    one, two = raw.with_name("one.rtdc"), raw.with_name("two.rtdc")
    run_job(raw, one, data_kwargs={"image_chunk_size": 50})
    run_job(raw, two, segmenter_code=f"{path}:{kind}", data_kwargs={"image_chunk_size": 50})
    assert {k: v.tobytes() for k, v in events_of(one).items()} == {
        k: v.tobytes() for k, v in events_of(two).items()
    }


def test_an_error_of_a_segmenter_with_processes_names_file_and_frame(raw, run_job):
    path = raw.with_name("mine.py")
    path.write_text(MPO_SEGMENTER, encoding="utf-8")
    mark(raw, 200)
    with pytest.raises(StageError, match=r"segment failed.*too bright") as info:
        run_job(raw, raw.with_name("out.rtdc"), segmenter_code=f"{path}:SegmentOne")
    assert info.value.frame == 200
    assert sorted(p.name for p in raw.parent.glob("*.rtdc*")) == ["raw.rtdc"]


def test_an_error_in_a_process_names_file_and_frame(raw, run_job, moody):
    mark(raw, 123)
    with pytest.raises(StageError, match="segment failed.*too moody") as info:
        run_job(raw, raw.with_name("out.rtdc"), segmenter_code=moody)
    assert info.value.frame == 123
    causes = [info.value.__cause__]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert any(type(cause) is ValueError for cause in causes)
    assert "moody.py" in str(causes[-1])
    assert sorted(p.name for p in raw.parent.glob("*.rtdc*")) == ["raw.rtdc"]


def test_a_frame_that_kills_is_found_and_named(raw, run_job, moody, caplog):
    mark(raw, 123)
    with pytest.raises(StageError, match=r"died \(exit code 7\), working on frame 3 of") as info:
        run_job(
            raw,
            raw.with_name("out.rtdc"),
            segmenter_code=moody,
            segmenter_kwargs={"how": "die"},
            data_kwargs={"image_chunk_size": 10},
            processes=True,
        )
    assert info.value.frame == 123
    texts = [text for text in caplog.messages if "died" in text]
    # In a stack it is unknown which frame it is, so each is done again by itself.
    assert "working on frames 0 to 4 of chunk 12; another one does it again" in texts[0]
    assert "working on frame 3 of chunk 12; another one does it again" in texts[1]
    assert len(texts) == 2
    assert not raw.with_name("out.rtdc").exists()


ONCE = '''
import ctypes
import os
import resource
import numpy as np
from cytovox.segm import UNISegmenter

class SegmentOnce(UNISegmenter):
    """Everything dark is a cell; something happens once, or with many frames."""

    requires_background_correction = True
    mask_default_kwargs = {"closing_disk": 2}

    @staticmethod
    def segment_algorithm(image, *, how: str = "", level: int = -6, done: str = ""):
        if how == "hang" and not os.path.exists(done):
            open(done, "x").close()
            ctypes.PyDLL(None).sleep(300)
        if how == "greedy" and len(image) > 20:
            raise MemoryError("Unable to allocate 1.2 TiB")
        if how == "limit" and len(image) > 20:
            resource.setrlimit(resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
            try:
                np.empty(1 << 30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        if how == "kernel" and len(image) > 20:
            os.kill(os.getpid(), 9)  # as the kernel does when memory is short
        if how == "never":
            raise MemoryError
        return image < level
'''


@pytest.fixture
def once(raw):
    """The code of a segmenter to which something happens."""
    path = raw.with_name("once.py")
    path.write_text(ONCE, encoding="utf-8")
    return load_segmenter_file(f"{path}:SegmentOnce").get_ppid_code()


def run_once(raw, run_job, once, how, name="out.rtdc", **more):
    kwargs = {"how": how, "done": str(raw.with_name("done"))}
    out = raw.with_name(name)
    run_job(raw, out, segmenter_code=once, segmenter_kwargs=kwargs, **more)
    return out


@pytest.mark.skipif(os.name == "nt", reason="foreign code of another system")
def test_a_worker_that_hangs_is_replaced(raw, run_job, once, events_of, caplog, monkeypatch):
    monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", "10")  # to start takes its time, too
    out = run_once(raw, run_job, once, "hang", processes=True)
    assert "was killed since it took longer than 10 s, working on frames" in caplog.text
    monkeypatch.delenv("CYTOVOX_UNIT_TIMEOUT")
    raw.with_name("done").touch()
    reference = run_once(raw, run_job, once, "", "two.rtdc", processes=False)
    assert {k: v.tobytes() for k, v in events_of(out).items()} == {
        k: v.tobytes() for k, v in events_of(reference).items()
    }


@pytest.fixture
def short(tmp_path):
    """A recording that is loaded within a second, also where kernels are not compiled."""
    path = tmp_path / "short.rtdc"
    simulate_recording(path, frames=10, seed=4, shape=(40, 80), save_truth=False)
    return path


def test_a_thread_that_hangs_ends_the_run(short, run_job, monkeypatch):
    hanging = threading.Event()
    monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", "2")
    monkeypatch.setattr(stages, "label_frames", lambda mask, labels: hanging.wait(60))
    try:
        with pytest.raises(StageError, match="frames 0 to 9 have given no result for 2 s"):
            run_job(short, short.with_name("out.rtdc"))
    finally:
        hanging.set()


HANGS = """
import threading
from cytovox.segm import STOSegmenter

class SegmentHangs(STOSegmenter):
    "Takes its time."

    @staticmethod
    def segment_algorithm(image):
        threading.Event().wait(8)
        return image < 90
"""


def test_a_segmenter_with_a_thread_of_its_own_that_hangs_ends_the_run(short, run_job, monkeypatch):
    monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", "2")
    path = short.with_name("hangs.py")
    path.write_text(HANGS, encoding="utf-8")
    with pytest.raises(StageError, match=r"segment failed: frames 0 to"):
        run_job(short, short.with_name("out.rtdc"), segmenter_code=f"{path}:SegmentHangs")


def test_the_limit_is_a_number(monkeypatch):
    for text, seconds in (("", 1800.0), ("0", None), ("2.5", 2.5)):
        monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", text)
        assert unit_timeout() == seconds
    for text in ("x", "-1", "nan", "inf"):
        monkeypatch.setenv("CYTOVOX_UNIT_TIMEOUT", text)
        with pytest.raises(UsageError, match="not a number of seconds"):
            unit_timeout()


@pytest.mark.skipif(os.name == "nt", reason="limits of another system")
@pytest.mark.parametrize(
    ("how", "processes"),
    [("greedy", False), ("greedy", True), ("limit", True), ("kernel", True)],
)
def test_short_memory_means_fewer_frames_at_a_time(
    raw, run_job, once, events_of, caplog, how, processes
):
    chunks = {"data_kwargs": {"image_chunk_size": 60}}
    out = run_once(raw, run_job, once, how, processes=processes, **chunks)
    reference = run_once(raw, run_job, once, "", "two.rtdc", processes=False, **chunks)
    assert {k: v.tobytes() for k, v in events_of(out).items()} == {
        k: v.tobytes() for k, v in events_of(reference).items()
    }
    if how == "kernel":
        assert "(exit code -9, as when memory is short)" in caplog.text
        assert "another one does it again" in caplog.text
    else:
        assert "memory is short (Unable to allocate" in caplog.text
        assert "from now on with at most 15 frames at a time" in caplog.text
        # A chunk is divided among processes.
        assert ("with at most 30 frames at a time" in caplog.text) is not processes


@pytest.mark.parametrize("processes", [False, True])
def test_no_memory_at_all_is_said_with_what_to_do(raw, run_job, once, processes):
    with pytest.raises(StageError, match="not enough memory for one frame") as info:
        run_once(raw, run_job, once, "never", processes=processes, num_procs=1)
    assert info.value.frame == 0
    assert "fewer workers" in info.value.hint


def test_cleaning_starts_over_from_the_masks(raw, run_job, events_of, monkeypatch):
    """To clean twice is not the same as once: a closing makes holes that are filled then."""
    run_job(raw, raw.with_name("one.rtdc"))
    tried = []
    monkeypatch.setattr(stages, "process_frames", _failing_after(stages.process_frames, tried))
    run_job(raw, raw.with_name("two.rtdc"), num_procs=1)
    assert len(tried) == 3
    one, two = events_of(raw.with_name("one.rtdc")), events_of(raw.with_name("two.rtdc"))
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}


def _failing_after(clean, tried):
    """Clean, but fail three times when the labels are spoilt already."""

    def work(labels, *options):
        if len(tried) < 3 and len(labels) > 5:
            labels[:, ::3] = 0
            tried.append(len(labels))
            raise MemoryError
        clean(labels, *options)

    return work


def test_killing_a_worker_changes_nothing(raw, run_job, events_of):
    reference = raw.with_name("reference.rtdc")
    run_job(raw, reference)
    right = {name: values.tobytes() for name, values in events_of(reference).items()}
    for seed in range(2):
        out = raw.with_name(f"out-{seed}.rtdc")
        run_and_kill(raw, out, random.Random(seed))
        assert {name: values.tobytes() for name, values in events_of(out).items()} == right


def run_and_kill(raw, out, rng):
    """Measure by processes, one of which is killed after any number of frames."""
    after = rng.randrange(0, 230)
    killed = []

    def kill(event):
        if isinstance(event, StageProgress) and event.stage == "segmentation" and not killed:
            workers = [one for one in mp.active_children() if one.name == "SegmentThresh"]
            if event.done >= after and workers:
                victim = rng.choice(workers)
                os.kill(victim.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
                killed.append(victim.pid)

    job = DCNumPipelineJob(raw, out, num_procs=2, data_kwargs={"image_chunk_size": 20})
    runner = DCNumJobRunner(job, processes=True, on_event=kill)
    with runner:
        runner.run()
    assert killed
