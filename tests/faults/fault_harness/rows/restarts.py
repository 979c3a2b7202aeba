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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..helpers import meet, say, together
from ..matrix import Case, Fault
from ..programs import Program, run
from ..recordings import assert_right, recording
from .processes import DRIVER

__all__ = ["FAULTS", "wait_for_word"]

_FRAMES = 600
_CHUNK = 20
_WORKERS = 2
#: Frames that may be measured again: a chunk for each worker and each slot, and
#: what waits for the writer, which is little here.
_AGAIN = (_WORKERS + (_WORKERS + 2) + 4) * _CHUNK
#: Seconds until the death of a writer is known, the end of a program included.
_NOTICED_WITHIN = 5.0
_WRITER = DRIVER.with_name("feed_writer.py")


def _killed(case: Case) -> str:
    """Kill main process or group at a random time; then run the same again."""
    out, count = case.folder / "out.rtdc", case.folder / "count"
    words = [sys.executable, DRIVER, recording(_FRAMES), out, "--chunk", _CHUNK, "--workers"]
    words += [_WORKERS, "--count", count]
    words += ["--processes"] if case.number % 4 == 1 else []
    frequent = case.number % 3 > 0
    words += ["--frequent"] if frequent else []
    command = [str(word) for word in words]
    pipe = case.folder / "pipe"
    os.mkfifo(pipe)
    program = Program([*command, "--tell", f"{pipe}:{case.random.randint(0, _FRAMES)}"])
    with wait_for_word(pipe, program.limit):
        threading.Event().wait(case.random.choice([0.0, case.random.uniform(0, 0.5)]))
    with contextlib.suppress(ProcessLookupError):
        if case.random.random() < 0.5:
            os.killpg(program.pid, signal.SIGKILL)
        else:
            program.kill()
    ended = program.end()
    if ended.code == 0:
        assert_right(out, _FRAMES)
        return "right before it was killed"
    assert ended.code == -signal.SIGKILL, ended.out
    done = int.from_bytes(count.read_bytes(), "little") if count.exists() else 0
    if out.exists():
        assert_right(out, _FRAMES)
    pipe.unlink()
    ended = run(command)
    assert ended.code == 0, ended.out
    assert_right(out, _FRAMES)
    count.unlink(missing_ok=True)
    left = sorted(path.name for path in case.folder.iterdir())
    assert left == ["out.rtdc"], f"{left} are left"
    found = re.search(r"another run was stopped: (\d+) of", ended.out)
    begun = int(found.group(1)) if found else 0
    if frequent:
        again = done - begun
        assert again <= _AGAIN, f"{again} of {done} frames are measured again"
    return "killed, went on, right" if begun else "killed, began anew, right"


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
    return "one won, the other was told who"


def _run_four(source: Path, outs: list[Path]) -> list[str]:
    from cytovox.logic import DCNumJobRunner, DCNumPipelineJob

    runners = [DCNumJobRunner(DCNumPipelineJob(source, out, num_procs=2)) for out in outs]
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
    answers = together(_run_four, [(source, outs[:4]), (source, outs[4:])], limit=100)
    assert answers == [["done"] * 4] * 2, answers
    for out in outs:
        assert_right(out, 60)
    assert sorted(case.folder.iterdir()) == outs
    return "all right"


FAULTS = [
    Fault(
        row=11,
        name="Two runs of one output",
        quick=4,
        full=300,
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
        quick=5,
        full=300,
        bound="nobody left after 5 s; the same command goes on; of what is measured, a chunk for "
        "each worker, half a second and what waits to be written (48 MiB) is done again",
        peer="3 workers still there after 45 s; restart from zero, temporary files stay",
        run=_killed,
        limit=90,
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
