"""Row 2: the program is killed, or its writer. Row 11: many programs at the same time."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..helpers import meet, say, together
from ..matrix import Case, Fault
from ..programs import Program, cytovox, run
from ..recordings import assert_right, recording
from .processes import DRIVER

__all__ = ["FAULTS", "wait_for_word"]

_FRAMES = 600
_CHUNK = 20
_WORKERS = 2
#: Frames that may be measured again: a chunk for each worker and each slot, and
#: what waits for the writer, which is little here.
_AGAIN = (_WORKERS + (_WORKERS + 2) + 4) * _CHUNK
#: More than the chunks of all workers, so that one is over when others are at work.
_LONG = 3000
#: Frames of a chunk as the documented slots have it.
_FULL_CHUNK = 1000
#: Seconds until the death of a writer is known, the end of a program included.
_NOTICED_WITHIN = 5.0
_WRITER = DRIVER.with_name("feed_writer.py")


def _killed(case: Case) -> str:
    """Kill a run whose chunks are small and that notes nearly each of them."""
    words = ["--chunk", _CHUNK, *(["--processes"] if case.number % 4 == 1 else [])]
    frequent = case.number % 3 > 0
    words += ["--frequent"] if frequent else []
    ended, again = _kill_and_go_on(case, _FRAMES, words)
    if frequent:
        assert again <= _AGAIN, f"{again} frames are measured again"
    return ended


def _killed_as_it_is(case: Case) -> str:
    """Kill a longer run with all settings as they are."""
    ended, again = _kill_and_go_on(case, _LONG, [])
    assert again <= _WORKERS * _FULL_CHUNK, f"{again} frames are measured again"
    step = next(step for step in (250, 500, 1000, _WORKERS * _FULL_CHUNK) if again <= step)
    return f"{ended}, at most {step} frames again" if again else ended


def _kill_and_go_on(case: Case, frames: int, words: Sequence[object]) -> tuple[str, int]:
    """Kill main process or group at a random time; then run the same again.

    Returns what happened, and how many measured frames were measured again.
    """
    out, count, pipe = (case.folder / name for name in ("out.rtdc", "count", "pipe"))
    line = [sys.executable, DRIVER, recording(frames), out, "--workers", _WORKERS]
    command = [str(word) for word in [*line, "--count", count, *words]]
    os.mkfifo(pipe)
    program = Program([*command, "--tell", f"{pipe}:{case.random.randint(0, frames)}"])
    with wait_for_word(pipe, program.limit):
        threading.Event().wait(case.random.choice([0.0, case.random.uniform(0, 0.5)]))
    with contextlib.suppress(ProcessLookupError):
        if case.random.random() < 0.5:
            os.killpg(program.pid, signal.SIGKILL)
        else:
            program.kill()
    ended = program.end()
    if ended.code == 0:
        assert_right(out, frames)
        return "right before it was killed", 0
    assert ended.code == -signal.SIGKILL, ended.out
    done = int.from_bytes(count.read_bytes(), "little") if count.exists() else 0
    was_there = out.exists()
    pipe.unlink()
    # What is there already is left as it is, but for the traces of its making.
    ended = run(cytovox("run", recording(frames), "-o", out) if was_there else command)
    assert ended.code == 0, ended.out
    assert_right(out, frames)
    count.unlink(missing_ok=True)
    left = sorted(path.name for path in case.folder.iterdir())
    assert left == ["out.rtdc"], f"{left} are left"
    if was_there:
        return "right before it was killed", 0
    found = re.search(r"resuming a stopped run: (\d+) of", ended.out)
    begun = int(found.group(1)) if found else 0
    how = "killed, went on, right" if begun else "killed, began anew, right"
    return how, max(0, done - begun)


@contextmanager
def wait_for_word(pipe: Path, limit: float) -> Iterator[None]:
    """Wait until somebody has written into a pipe; others may write in the block."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([reader], [], [], limit)[0], "it never came so far"
        yield
    finally:
        os.close(reader)


def _killed_writer(case: Case) -> str:
    """Kill a writer that is a process, or the program that feeds it."""
    out = case.folder / "out.rtdc"
    program = Program([sys.executable, str(_WRITER), str(out), "400"])
    assert program.process.stdout is not None
    writer = int(program.process.stdout.readline())
    threading.Event().wait(case.random.uniform(0, 1.0))
    begin = time.perf_counter()
    with contextlib.suppress(ProcessLookupError):
        os.kill(program.pid if case.number % 2 else writer, signal.SIGKILL)
    ended = program.end()
    seconds = time.perf_counter() - begin
    if ended.code == 0:
        return "complete before it was killed"
    if case.number % 2:
        assert ended.code == -signal.SIGKILL, ended.out
        return "the writer died with its parent"
    assert ended.code == 1, f"exit code {ended.code}: {ended.out}"
    assert f"the writer process {writer} died (exit code -9)" in ended.out, ended.out
    assert seconds <= _NOTICED_WITHIN, f"noticed after {seconds:.1f} s"
    return "noticed and said"


def _run_when_all_are_there(source: Path, out: Path) -> tuple[int, str]:
    meet()
    said = say("run", source, "-o", out, "--workers", 2, "--json")
    return said.code, said.out


def _one_output(case: Case) -> str:
    """Start two runs of one output at the same time."""
    source, out = recording(300), case.folder / "out.rtdc"
    answers = together(_run_when_all_are_there, [(source, out)] * 2)
    states = [re.search(r'"state": "(\w+)"', text) for _, text in answers]
    ended = sorted(
        (code, state.group(1) if state else "?")
        for (code, _), state in zip(answers, states, strict=True)
    )
    assert_right(out, 300)
    assert [path.name for path in case.folder.iterdir()] == ["out.rtdc"]
    if ended == [(0, "done"), (0, "skipped")]:
        return "one came late and found it done"
    assert ended == [(0, "done"), (75, "failed")], answers
    (text,) = [text for code, text in answers if code == 75]
    assert re.search(r"process \d+ on \S+, since .* is making this output", text), text
    return "one won, the other was refused, with the name of the first"


def _run_four(source: Path, outs: list[Path]) -> list[str]:
    from cytovox.logic import DCNumJobRunner, DCNumPipelineJob

    background = {"offset_correction": False}  # as the command line finds it
    runners = [
        DCNumJobRunner(DCNumPipelineJob(source, out, background_kwargs=background, num_procs=2))
        for out in outs
    ]
    meet()
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(timeout=60)
    return [runner.error_tb or runner.state for runner in runners]


def _many_outputs(case: Case) -> str:
    """Start eight runs of eight outputs in one folder at the same time."""
    source = recording(60)
    outs = [case.folder / f"out{i}.rtdc" for i in range(8)]
    answers = together(_run_four, [(source, outs[:4]), (source, outs[4:])], limit=600)
    assert answers == [["done"] * 4] * 2, answers
    for out in outs:
        assert_right(out, 60)
    assert sorted(case.folder.iterdir()) == outs
    return "all right"


FAULTS = [
    Fault(
        row=11,
        name="Two runs of one output",
        quick=2,
        full=400,
        bound="exactly one wins, the other exits 75 and names it",
        peer="both exit 0, the second overwrites the first",
        run=_one_output,
    ),
    Fault(
        row=11,
        name="Eight runs of eight outputs in one folder",
        quick=1,
        full=100,
        bound="all right",
        peer="not tried",
        run=_many_outputs,
        note="Two processes with four runs each, in threads",
    ),
    Fault(
        row=2,
        name="SIGKILL of the program or its whole group",
        quick=3,  # the program and its group, threads and processes
        full=300,
        bound="nobody left after 5 s; the same command goes on and does again what was in work, "
        "waited, or was done since the last note",
        peer="3 workers still there after 45 s; restart from zero, temporary files stay",
        run=_killed,
        limit=600,
    ),
    Fault(
        row=2,
        name="SIGKILL of a run with all settings as they are",
        quick=1,
        full=60,
        bound="at most a chunk of 1000 frames for each worker is measured again",
        peer="restart from zero, temporary files stay",
        run=_killed_as_it_is,
        limit=600,
    ),
    Fault(
        row=2,
        name="SIGKILL of a writer that is a process, or of the one who feeds it",
        quick=2,
        full=100,
        bound="noticed within 5 s, nobody left after 5 s",
        peer="hangs; 3 workers still there after 45 s",
        run=_killed_writer,
    ),
]
