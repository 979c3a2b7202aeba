"""What waits is bounded in bytes, whatever is slow; nothing is begun in vain."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading

import pytest

from cytovox.cli.main import main
from cytovox.logic import slot_register
from cytovox.logic.slot_register import SlotRegister
from cytovox.run.rows import ByteQueue, FrameRows
from cytovox.testing import simulate_recording
from cytovox.write.packing import PackedDataset


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.rtdc"
    simulate_recording(path, frames=3000, seed=3, shape=(60, 120), save_truth=False)
    return path


def test_a_slow_worker_holds_up_the_others(raw, run_job, events_of, monkeypatch):
    """Else all that comes after its frames would wait in memory."""
    chunks = {"data_kwargs": {"image_chunk_size": 10}}
    run_job(raw, raw.with_name("reference.rtdc"), **chunks)
    stalled = threading.Event()
    loaded = []
    pass_on, to_load = SlotRegister._pass_on, SlotRegister._slot_to_load

    def slow(self, rows: FrameRows) -> None:
        if rows.start == 0:
            assert stalled.wait(600), "the others never stopped"
            loaded.append(self.chunks_loaded)
        pass_on(self, rows)

    def watched(self):
        slot = to_load(self)
        slots = [other for other in self if other.state == "i" and not other.is_remainder]
        free = any(other.has_free_frames() for other in slots)
        if slot is None and free and 0 < self.chunks_loaded < self.num_chunks - 1:
            stalled.set()
        return slot

    monkeypatch.setattr(SlotRegister, "_pass_on", slow)
    monkeypatch.setattr(SlotRegister, "_slot_to_load", watched)
    run_job(raw, raw.with_name("out.rtdc"), **chunks)
    assert loaded == [slot_register._WINDOW * 3]  # a slot for each worker, and the last
    one, two = events_of(raw.with_name("reference.rtdc")), events_of(raw.with_name("out.rtdc"))
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}


def test_the_first_refused_write_stops_all(long, tmp_path, monkeypatch, capsys):
    measured, at_error = [], []
    pass_on, store = SlotRegister._pass_on, PackedDataset._store_oldest

    def counted(self, rows):
        measured.append(len(rows.counts))
        pass_on(self, rows)

    def full(self):
        at_error.append(len(measured))
        if len(at_error) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        store(self)

    monkeypatch.setattr(SlotRegister, "_pass_on", counted)
    monkeypatch.setattr(PackedDataset, "_store_oldest", full)
    out = tmp_path / "out.rtdc"
    assert main(["run", str(long), "-o", str(out), "--workers", "2", "--quiet"]) == 74
    assert "No space left on device" in capsys.readouterr().err
    assert not out.exists()
    # What was under way ends: a batch for each worker, and perhaps one more.
    assert len(at_error) == 3
    assert len(measured) - at_error[-1] <= 4
    assert sum(measured) < 3000


def test_a_queue_that_is_full_of_bytes_blocks():
    waiting = ByteQueue(10)
    waiting.put_nowait(None)
    waiting.put_nowait(b"")
    waiting.put_nowait(memoryview(bytes(10)))
    taken = []
    taker = threading.Thread(target=lambda: taken.extend(waiting.get(timeout=600) for _ in "123"))
    assert waiting.full()
    taker.start()
    waiting.put(memoryview(bytes(100)), timeout=600)
    taker.join(600)
    assert taken[:2] == [None, b""]
    assert waiting.full()


SLOW_DISK = """
import sys, time
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.run.memory import peak_bytes, restart_peak
from cytovox.run.progress import StageFinished, StageStarted
from cytovox.write.disk import Sink

write = Sink._write
sent = []

def slow(self, view):
    sent.append(len(view))
    time.sleep(len(view) / 60e6)
    return write(self, view)

def listen(event):
    if getattr(event, "stage", "") == "segmentation":
        if isinstance(event, StageStarted):
            restart_peak()
        elif isinstance(event, StageFinished):
            peaks.append(peak_bytes())

if __name__ == "__main__":
    peaks = []
    for number, out in enumerate(sys.argv[2:]):
        if number:
            Sink._write = slow
        job = DCNumPipelineJob(sys.argv[1], out, compression="none", num_procs=2)
        with DCNumJobRunner(job, on_event=listen) as runner:
            runner.run()
    print(peaks[1] - peaks[0], sum(sent))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs to start measuring anew")
def test_memory_does_not_grow_when_the_disk_is_slow(tmp_path):
    raw = tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=2500, cells=4.0, seed=3, shape=(80, 320), save_truth=False)
    (tmp_path / "slow.py").write_text(SLOW_DISK, encoding="utf-8")
    outs = [str(tmp_path / name) for name in ("fast.rtdc", "slow.rtdc")]
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "slow.py"), str(raw), *outs],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    grown, written = map(int, ended.stdout.split())
    assert written > 300e6, "too little to judge"
    assert grown < 128 << 20
