"""Row 1: workers that are killed. Row 15: the same result in every way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

from ..matrix import Case, Fault
from ..programs import Program, run
from ..recordings import assert_right, recording

__all__ = ["DRIVER", "FAULTS", "workers_of"]

#: Program that measures a recording by means of the library.
DRIVER = Path(__file__).resolve().parents[1] / "driver.py"
_FRAMES = 600
#: Seconds from the start of a worker to the end of its work, about.
_WORKER_LIVES = 1.2
#: Seconds until the death of a worker is known.
_NOTICED_WITHIN = 2.0


def workers_of(program: Program) -> list[int]:
    """Return the worker processes of a program, which Python's helper is not."""
    found = []
    for pid in program.children():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in words:
                found.append(pid)
    return found


def _killed_worker(case: Case) -> str:
    """Kill one to three workers of a run at random times."""
    out = case.folder / "out.rtdc"
    command = [sys.executable, DRIVER, recording(_FRAMES), out, "--processes"]
    program = Program([str(word) for word in command], limit=600)
    over = threading.Event()
    killed: dict[int, float] = {}

    def kill_some() -> None:
        for _ in range(case.random.randint(1, 3)):
            while not (workers := set(workers_of(program)) - set(killed)):
                if over.wait(0.01):
                    return
            if over.wait(case.random.uniform(0, _WORKER_LIVES)):
                return
            victim = case.random.choice(sorted(workers))
            with contextlib.suppress(ProcessLookupError):
                moment = time.time()
                os.kill(victim, signal.SIGKILL)
                killed[victim] = moment

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        program.process.wait(program.limit)
    finally:
        over.set()
        killer.join()
    ended = program.end()
    assert ended.code == 0, ended.out
    assert_right(out, _FRAMES)
    for when, pid in re.findall(r"^([\d.]+) worker process (\d+) died", ended.out, re.MULTILINE):
        late = float(when) - killed[int(pid)]
        assert late <= _NOTICED_WITHIN, f"the death of {pid} was noticed after {late:.1f} s"
    return f"{len(killed)} killed, right" if killed else "right before anything was killed"


def _other_ways(case: Case) -> str:
    """Measure with other workers, chunks and kinds of workers."""
    out = case.folder / "out.rtdc"
    words = ["--workers", case.random.randint(1, 8), "--chunk", case.random.choice([7, 50, 333])]
    if case.random.random() < 0.3:
        words.append("--processes")
    ended = run([str(w) for w in [sys.executable, DRIVER, recording(_FRAMES), out, *words]])
    assert ended.code == 0, ended.out
    assert_right(out, _FRAMES)
    return "right"


FAULTS = [
    Fault(
        row=1,
        name="SIGKILL of random workers at random times",
        quick=2,
        full=520,
        bound="noticed within 2 s, exit 0",
        peer="hangs",
        run=_killed_worker,
        limit=600,
        note="520 runs, each with one to three kills, two on the mean",
    ),
    Fault(
        row=15,
        name="1 to 8 workers, threads or processes, three sizes of chunks",
        quick=3,
        full=200,
        bound="the same events, and as stored",
        peer="not tried",
        run=_other_ways,
    ),
]
