"""Worker processes may die; the run goes on or ends clearly."""

from __future__ import annotations

import os
import random
import signal
import time

import h5py
import pytest

from cytovox.errors import StageError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.run.progress import StageProgress
from cytovox.segm.from_file import load_segmenter_file

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
        assert runner._use_processes()
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
    assert "too moody" in str(info.value.__cause__)
    assert sorted(p.name for p in raw.parent.glob("*.rtdc*")) == ["raw.rtdc"]


def test_frames_that_kill_twice_end_the_run(raw, run_job, moody):
    mark(raw, 123)
    begin = time.monotonic()
    with pytest.raises(StageError, match=r"died \(exit code 7\), working on frames") as info:
        run_job(
            raw,
            raw.with_name("out.rtdc"),
            segmenter_code=moody,
            segmenter_kwargs={"how": "die"},
            data_kwargs={"image_chunk_size": 10},
        )
    assert "120 to 129" in str(info.value)
    assert time.monotonic() - begin < 60
    assert sorted(p.name for p in raw.parent.glob("*.rtdc*")) == ["raw.rtdc"]


@pytest.mark.parametrize("seed", range(10))
def test_killing_a_worker_changes_nothing(raw, run_job, events_of, seed):
    reference = raw.with_name("reference.rtdc")
    run_job(raw, reference)
    rng = random.Random(seed)
    after = rng.randrange(0, 230)
    killed = []

    def kill(event):
        if isinstance(event, StageProgress) and event.stage == "segmentation" and not killed:
            crew = runner._conveyor.crew
            if crew is not None and event.done >= after and crew.workers:
                victim = rng.choice(list(crew.workers.values()))
                os.kill(victim.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
                killed.append(victim.pid)

    out = raw.with_name("out.rtdc")
    job = DCNumPipelineJob(raw, out, num_procs=2, data_kwargs={"image_chunk_size": 20})
    runner = DCNumJobRunner(job, processes=True, on_event=kill)
    with runner:
        runner.run()
    assert killed
    one, other = events_of(reference), events_of(out)
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}
