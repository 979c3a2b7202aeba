"""The queue writer in a process of its own, also when that is killed."""

from __future__ import annotations

import logging
import logging.handlers
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.errors import StageError, StorageError
from cytovox.run.children import mp_spawn
from cytovox.write import QueueWriterProcess, QueueWriterThread

FRAMES = 60
COUNTS = [frame % 3 for frame in range(FRAMES)]
#: Seconds within which whatever happens to the process must be known.
SOON = 300.0


def rows(frame: int) -> dict[str, Any] | None:
    count = COUNTS[frame]
    if not count:
        return None
    return {
        "deform": np.full(count, frame, float) + np.arange(count),
        "mask": np.full((count, 8, 10), frame % 2 == 0),
    }


def make(path: Path, **kwargs: Any) -> QueueWriterProcess:
    counts = mp_spawn.RawArray("q", [-1] * FRAMES)
    size = mp_spawn.RawValue("q", 0)
    log_queue = kwargs.pop("log_queue", None)
    return QueueWriterProcess(
        log_queue, mp_spawn.Queue(), size, counts, path, write_threshold=7, **kwargs
    )


def test_writes_what_the_thread_writes(tmp_path: Path) -> None:
    order = list(range(FRAMES))
    random.Random(1).shuffle(order)
    writer = make(tmp_path / "process.rtdc")
    thread = QueueWriterThread(
        mp_spawn.Queue(), None, [-1] * FRAMES, tmp_path / "thread.rtdc", write_threshold=7
    )
    for one in (writer, thread):
        one.start()
        for frame in order:
            one.event_queue.put((frame, rows(frame)))
    for one in (writer, thread):
        one.join(600)
        assert not one.is_alive()
        assert one.error is None
        assert one.complete
        assert not one.aborted
        assert (one.written_events, one.written_frames) == (sum(COUNTS), FRAMES)
    with h5py.File(tmp_path / "process.rtdc") as a, h5py.File(tmp_path / "thread.rtdc") as b:
        assert set(a["events"]) == set(b["events"]) >= {"deform", "mask", "index_unmapped"}
        for name in a["events"]:
            assert np.array_equal(a["events"][name][:], b["events"][name][:])
        assert a["events/index_unmapped"][:].tolist() == np.repeat(range(FRAMES), COUNTS).tolist()


def test_runs_in_this_process_when_called_by_hand(tmp_path: Path) -> None:
    writer = make(tmp_path / "out.rtdc")
    for frame in range(FRAMES):
        writer.event_queue.put((frame, rows(frame)))
    writer.run()
    assert writer.complete
    assert writer.written_events == sum(COUNTS)


def test_error_of_the_child_is_known_here(tmp_path: Path) -> None:
    errors: list[Exception] = []
    done = threading.Event()
    writer = make(tmp_path / "out.rtdc", on_error=errors.append, on_done=done.set)
    writer.start()
    writer.event_queue.put((0, rows(0)))
    writer.event_queue.put((0, rows(0)))
    assert done.wait(600)
    writer.join(SOON)
    assert errors == [writer.error]
    assert isinstance(writer.error, StageError)
    assert "came twice" in str(writer.error)
    assert "Traceback" in str(writer.error.__cause__)
    assert not writer.complete


def test_refusing_storage_is_known_here(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    writer = make(tmp_path / "file" / "out.rtdc")
    writer.start()
    writer.join(600)
    assert not writer.is_alive()
    assert isinstance(writer.error, (StorageError, StageError))
    assert not writer.complete


def test_abort_ends_soon(tmp_path: Path) -> None:
    writer = make(tmp_path / "out.rtdc")
    writer.start()
    writer.event_queue.put((0, rows(0)))
    begin = time.monotonic()
    writer.abort()
    writer.join(600)
    assert time.monotonic() - begin < SOON
    assert not writer.is_alive()
    assert writer.aborted
    assert not writer.complete
    assert writer.error is None


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_abort_ends_a_process_that_does_not_react(tmp_path: Path) -> None:
    writer = make(tmp_path / "out.rtdc")
    writer.start()
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGSTOP)
    begin = time.monotonic()
    writer.abort()
    writer.join(600)
    assert time.monotonic() - begin < SOON
    assert not writer.is_alive()


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_a_random_moment_it_is_missed_at_once(tmp_path: Path, seed: int) -> None:
    errors: list[Exception] = []
    writer = make(tmp_path / "out.rtdc", on_error=errors.append)
    writer.start()
    for frame in range(FRAMES - 1):  # so that it cannot have ended before
        writer.event_queue.put((frame, rows(frame)))
    threading.Event().wait(random.Random(seed).uniform(0, 1.2))
    begin = time.monotonic()
    writer.kill()
    writer.join(SOON)
    assert time.monotonic() - begin < SOON
    assert not writer.is_alive()
    assert not writer.complete
    assert errors == [writer.error]
    assert isinstance(writer.error, StageError)
    assert f"process {writer.pid} died" in str(writer.error)


def test_killed_after_the_last_frame_nothing_is_lost(tmp_path: Path) -> None:
    writer = make(tmp_path / "out.rtdc")
    writer.start()
    for frame in range(FRAMES):
        writer.event_queue.put((frame, rows(frame)))
    writer.join(600)
    assert writer.complete
    with h5py.File(tmp_path / "out.rtdc") as h5:
        assert len(h5["events/deform"]) == sum(COUNTS)


def test_logs_reach_the_parent(tmp_path: Path) -> None:
    log_queue = mp_spawn.Queue()
    (tmp_path / "file").write_text("no folder")
    before = logging.getLogger("cytovox").level
    logging.getLogger("cytovox").setLevel(logging.DEBUG)
    try:
        writer = make(tmp_path / "file" / "out.rtdc", log_queue=log_queue)
    finally:
        logging.getLogger("cytovox").setLevel(before)
    writer.start()
    record = log_queue.get(timeout=600)
    writer.join(SOON)
    assert record.name.startswith("cytovox.write")


PARENT = """
import sys
from cytovox.run.children import mp_spawn
from cytovox.write import QueueWriterProcess

if __name__ == "__main__":
    counts = mp_spawn.RawArray("q", [-1] * 5)
    writer = QueueWriterProcess(None, mp_spawn.Queue(), None, counts, sys.argv[1])
    writer.start()
    print(writer.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="asks whether a process exists by signal 0")
def test_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out.rtdc")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait(600)
        # Its standard output is shared with the child, and ends with it.
        reader = threading.Thread(target=parent.stdout.read, daemon=True)
        reader.start()
        reader.join(SOON)
        assert not reader.is_alive(), f"process {child} outlives its parent"
