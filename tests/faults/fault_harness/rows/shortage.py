"""Row 3: memory is short. Row 12: disk or worker are slow or stuck."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cytovox.run.memory import peak_bytes, restart_peak

from ..helpers import in_helper, say
from ..matrix import Case, Fault
from ..moody import GROUP, memory_groups
from ..programs import Program, cytovox
from ..recordings import assert_right, recording
from ..system import watch
from .restarts import wait_for_word

__all__ = ["FAULTS"]

_FRAMES = 120
_MOODY = Path(__file__).resolve().parents[1] / "moody.py"
#: Memory that a run may take more because something is slow [bytes].
_GROWTH = 256 << 20
_BYTES_PER_SECOND = 1e6
_STOP_WITHIN = 3.0


def _moody(how: str, place: Path, chunk: int = 60) -> list[str]:
    """Return words for a segmenter to which something happens."""
    return [
        *("--segmenter", f"{_MOODY}:SegmentMoody", "--workers", "2"),
        *("-s", f"data.image_chunk_size={chunk}"),
        *("-s", f"segmenter.how={how}", "-s", f"segmenter.place={place}"),
    ]


def _short_memory(case: Case) -> str:
    """Let memory be short for many frames at a time, but not for few."""
    how = ("limited", "killed", "hungry", "refused")[case.number % 4]
    if how == "refused" and memory_groups() is None:
        return "not tried: this system lets nobody make control groups"
    out = case.folder / "out.rtdc"
    chunk = case.random.choice([80, 120])
    words = ["run", recording(_FRAMES), "-o", out, *_moody(how, case.folder, chunk)]
    if how == "hungry":
        with _killer(case.folder) as killed:
            said = say(*words)
        assert killed, "nobody was hungry"
    else:
        said = say(*words)
        _remove_groups()
    assert said.code == 0, said.out
    assert_right(out, _FRAMES)
    log = _log_of(out)
    if how == "limited":
        assert "memory is short" in log, log
        # A chunk is divided among two workers.
        assert f"with at most {chunk // 4} frames at a time" in log, log
        return "half as many frames at a time, said so, right"
    assert "(exit code -9, as when memory is short)" in log, log
    assert "another one does it again" in log, log
    return "done again frame by frame, said so, right"


def _remove_groups() -> None:
    """Remove the control groups of workers that the system has killed."""
    root, _ = memory_groups() or (Path(), "")
    for group in root.glob(f"{GROUP}*"):
        with suppress(OSError):  # somebody is in it
            group.rmdir()


@contextmanager
def _killer(folder: Path) -> Iterator[list[int]]:
    """Kill, as the system would, workers that hold memory for many frames."""
    over, killed = threading.Event(), []

    def look() -> None:
        while not over.wait(0.02):
            for path in folder.glob("*-*"):
                pid, frames = (int(word) for word in path.name.split("-"))
                path.unlink()
                if frames > 20:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _log_of(path: Path) -> str:
    import h5py

    with h5py.File(path) as h5:
        lines = [line for log in h5["logs"].values() for line in log.asstr()[:]]
    return " ".join(line.strip() for line in lines)


def _slow_or_stuck(case: Case) -> str:
    """Slow down the disk or a worker, or let a worker hang."""
    kind = (_slow_disk, _slow_worker, _stuck_worker, _stuck_and_stopped)[case.number % 4]
    return kind(case)


def _grown(words: list[object]) -> int:
    """Run a command that must succeed; return by how many bytes memory has grown."""
    _warm_up()
    restart_peak()
    before = peak_bytes() or 0
    said = say(*words)
    assert said.code == 0, said.out
    return (peak_bytes() or 0) - before


_warm: list[bool] = []


def _warm_up() -> None:
    """Load all that is loaded once."""
    if not _warm:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            said = say("run", recording(_FRAMES), "-o", Path(name) / "out.rtdc", "-q")
            assert said.code == 0, said.out
        _warm.append(True)


def _slow_disk(case: Case) -> str:
    out = case.folder / "out.rtdc"
    never = threading.Event()

    def wait(kind: str, path: Path, size: int) -> None:
        never.wait(size / _BYTES_PER_SECOND)

    with watch(case.folder.resolve(), wait):
        grown = _grown(["run", recording(_FRAMES), "-o", out, "-q", "--workers", 2])
    assert grown <= _GROWTH, f"memory has grown by {grown / 1e6:.0f} MB"
    assert_right(out, _FRAMES)
    return "slow disk: right"


def _slow_worker(case: Case) -> str:
    out = case.folder / "out.rtdc"
    words = ["run", recording(_FRAMES), "-o", out, "-q", *_moody("slow", case.folder, 20)]
    grown = _grown(words)
    assert grown <= _GROWTH, f"memory has grown by {grown / 1e6:.0f} MB"
    assert_right(out, _FRAMES)
    return "slow worker: right"


def _stuck_worker(case: Case) -> str:
    out = case.folder / "out.rtdc"
    os.environ["CYTOVOX_UNIT_TIMEOUT"] = "4"
    try:
        said = say("run", recording(_FRAMES), "-o", out, "-q", *_moody("stuck once", case.folder))
    finally:
        del os.environ["CYTOVOX_UNIT_TIMEOUT"]
    assert said.code == 0, said.out
    assert (case.folder / "stuck").exists()
    assert "was killed since it took longer than 4 s" in _log_of(out)
    assert_right(out, _FRAMES)
    return "stuck worker: replaced, right"


def _stuck_and_stopped(case: Case) -> str:
    out = case.folder / "out.rtdc"
    pipe = case.folder / "pipe"
    os.mkfifo(pipe)
    program = Program(
        cytovox("run", recording(_FRAMES), "-o", out, "-q", *_moody("stuck", case.folder))
    )
    with wait_for_word(pipe, program.limit):
        begin = time.perf_counter()
        program.kill(signal.SIGTERM)
        program.process.wait(program.limit)
    seconds = time.perf_counter() - begin
    ended = program.end()
    assert ended.code == 143, f"exit code {ended.code}: {ended.out}"
    assert seconds <= _STOP_WITHIN, f"it took {seconds:.1f} s to stop"
    assert not out.exists()
    return "stuck worker: stopped by a signal"


FAULTS = [
    Fault(
        row=3,
        name="Memory is short: a limit of the address space, SIGKILL of who holds too much, or "
        "the system's own OOM killer in a control group",
        quick=4,
        full=60,
        bound="fewer frames at a time, said in the log; right",
        peer="not tried",
        run=in_helper(_short_memory),
    ),
    Fault(
        row=12,
        name="Disk of 1 MB/s; worker 20 times slower; worker that hangs",
        quick=4,
        full=40,
        bound="memory grows by 256 MB at most; who hangs is replaced, or stopped within 3 s",
        peer="not tried",
        run=in_helper(_slow_or_stuck),
    ),
]
