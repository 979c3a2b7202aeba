"""Processes that share a slot."""

from __future__ import annotations

import importlib.util
import sys
import textwrap

import numpy as np

from cytovox.logic.chunk_slot_data import ChunkSlotData, mp_spawn

WORKER = """
import numpy as np
from cytovox.logic.chunk_slot_data import StateWarden

def work(slot, counts, batch):
    view = np.frombuffer(counts, dtype=np.int64)
    while slot.state == "s":
        warden = StateWarden(slot, "s", "m", batch_size=batch)
        if not warden.batch_size:
            with slot.monitor:
                slot.monitor.wait_for(
                    lambda: slot.state != "s" or slot.has_free_frames(), timeout=5
                )
            continue
        with warden as (_, (start, stop)):
            view[start:stop] += 1
"""


def load_worker(folder):
    """Put the worker where a spawned process finds it."""
    path = folder / "slot_worker_for_test.py"
    path.write_text(textwrap.dedent(WORKER), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_two_processes_on_one_slot(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    worker = load_worker(tmp_path)
    slot = ChunkSlotData((2000, 2, 3), monitor=mp_spawn.Condition())
    slot.state = "s"
    counts = mp_spawn.RawArray("q", 2000)
    processes = [
        mp_spawn.Process(target=worker.work, args=(slot, counts, 3 + i), daemon=True)
        for i in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [p.exitcode for p in processes] == [0, 0]
    assert slot.state == "m"
    assert (np.frombuffer(counts, dtype=np.int64) == 1).all()
