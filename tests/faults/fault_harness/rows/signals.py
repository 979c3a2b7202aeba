"""Row 7: being told to stop."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from ..matrix import Case, Fault
from ..programs import Program, cytovox, run
from ..recordings import assert_right, recording, right_digest

__all__ = ["FAULTS"]

_FRAMES = 1200
#: Signals and the exit codes that they lead to; the last is sent twice.
_SIGNALS = (
    (signal.SIGINT, 130),
    (signal.SIGTERM, 143),
    (signal.SIGHUP, 129),
)
#: Seconds in which a program that was told to stop has to be gone.
_STOP_WITHIN = 3.0


@cache
def _duration() -> float:
    """Return how long a run takes that nobody stops [s]."""
    right_digest(_FRAMES)  # the first run may load what the others find in memory
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.rtdc"
        ended = run(cytovox("run", recording(_FRAMES), "-o", out, "-q", "--workers", 2))
    assert ended.code == 0, ended.out
    return ended.seconds


def _stopped(case: Case) -> str:
    """Tell a run to stop at a random time; then run it again."""
    out = case.folder / "out.rtdc"
    command = cytovox("run", recording(_FRAMES), "-o", out, "-q", "--workers", 2)
    number, code = _SIGNALS[case.number % len(_SIGNALS)]
    twice = case.number % 4 == 3
    moment = case.random.uniform(0.05, 0.9 * _duration())
    program = Program(command)
    told = threading.Event()

    def tell() -> None:
        program.kill(number)
        if twice:
            program.kill(number)
        told.set()

    timer = threading.Timer(moment, tell)
    timer.start()
    begin_of_end = _wait_for_end(program, timer, told)
    ended = program.end()
    if ended.code == 0:
        assert_right(out, _FRAMES)
        return "right before the signal came"
    if ended.code != -number:  # or so early that nobody listened yet
        assert ended.code == code, f"exit code {ended.code} after {number!r}: {ended.out}"
    assert begin_of_end <= _STOP_WITHIN, f"it took {begin_of_end:.1f} s to stop"
    if out.exists():
        assert_right(out, _FRAMES)
        return "stopped when all was done, right"
    again = Program(command).end()
    assert again.code == 0, again.out
    assert_right(out, _FRAMES)
    return "stopped, then right"


def _wait_for_end(program: Program, timer: threading.Timer, told: threading.Event) -> float:
    """Return the seconds from the signal to the end of the program."""
    program.process.wait(program.limit)
    end = time.perf_counter()
    if not told.is_set():
        timer.cancel()
        return 0.0
    return end - (program.begin + timer.interval)


FAULTS = [
    Fault(
        row=7,
        name="SIGINT, SIGTERM, SIGHUP, and two at once",
        quick=4,  # each signal, and two at once
        full=200,
        bound="stops within 3 s, exit 130, 143, 129; the same command goes on",
        peer="SIGINT to the main process alone: hangs; SIGTERM: workers still compute 5 s later",
        run=_stopped,
    )
]
