"""Running programs as whole processes, and what they took."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .data import bench_folder

__all__ = ["NOT_THERE", "Job", "JobFailedError", "Run", "Side", "alternate", "measure"]

#: Exit code of a job for which something is not there yet.
NOT_THERE = 77
#: Forbids Python to keep compiled modules, which an installed package has.
_UNUSUAL = "PYTHONDONTWRITEBYTECODE"
#: Seconds between two looks at the memory of all processes.
_LOOK = 0.05
_PROC = Path("/proc")


class JobFailedError(Exception):
    """A program that was to be measured failed or took too long."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Run:
    """What a program took.

    Parameters
    ----------
    wall
        Seconds from start to end.
    cpu
        Seconds of all cores together, user and system; None if unknown.
    peak
        Largest resident memory of all processes together, bytes, sampled.
        Pages that they share count once: as those of the process that has
        most of them. None if unknown.
    said
        What the program said in JSON in its last line. Its ``peak`` takes the
        place of the one above: what its work needed beyond its input.
    first, others
        Largest resident memory, bytes, of the process that was started, and
        of the largest of those that it started; shared pages count in each.
        0 if unknown, or if there are none.
    """

    wall: float
    cpu: float | None
    peak: int | None
    said: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A program to be measured.

    Parameters
    ----------
    name
        Whose program it is.
    command
        Makes the command, given an empty folder for what it writes.
    env
        Environment variables besides those that are set.
    limit
        Seconds after which it is taken to hang, and is killed.
    retries
        How often it may be started again when it hangs or fails.
    inner
        Whether the seconds that it told are taken in place of those of the
        whole process, so that the start of the interpreter does not count.
    after
        Looks at the folder when it has ended; adds to what it said.
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    env: Callable[[Path], Mapping[str, str]] = lambda folder: {}
    limit: float = 600.0
    retries: int = 0
    inner: bool = False
    after: Callable[[Path], Mapping[str, Any]] = lambda folder: {}


@dataclass(slots=True)
class Side:
    """All runs of a job."""

    runs: list[Run] = field(default_factory=list)
    hung: int = 0
    failure: str | None = None
    missing: bool = False


def alternate(jobs: Sequence[Job], runs: int) -> dict[str, Side]:
    """Run jobs in turn, several times; each pair of runs sees the same machine.

    Whoever fails beyond its retries is left out of the turns that follow.
    """
    sides = {job.name: Side() for job in jobs}
    for turn in range(runs):
        # Who begins changes, so that nobody always finds the caches of the other.
        for job in jobs if turn % 2 == 0 else reversed(jobs):
            if sides[job.name].failure is None:
                _take_turn(job, sides[job.name])
    return sides


def _take_turn(job: Job, side: Side) -> None:
    for attempt in range(job.retries + 1):
        try:
            side.runs.append(_once(job))
        except JobFailedError as err:
            side.hung += err.code is None
            if err.code == NOT_THERE or attempt == job.retries:
                side.failure = str(err)
                side.missing = err.code == NOT_THERE
                return
        else:
            return


def _once(job: Job) -> Run:
    root = bench_folder() / "out"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        run = measure(job.command(folder), env=job.env(folder), limit=job.limit)
        said = {**run.said, **job.after(folder)}
        wall = float(said["seconds"]) if job.inner else run.wall
        return Run(wall, said.get("cpu", run.cpu), said.get("peak", run.peak), said)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _usual_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != _UNUSUAL}


def measure(command: Sequence[str], *, limit: float, env: Mapping[str, str] | None = None) -> Run:
    """Run a command and return what it took.

    Raises
    ------
    JobFailedError
        If its exit code is not 0, or if it was killed after `limit` seconds.
    """
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**_usual_environment(), **(env or {})},
            start_new_session=True,
        )
        with _Watch(process, begin + limit) as watch:
            cpu = _wait(process)
            wall = time.perf_counter() - begin
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
    if watch.killed:
        raise JobFailedError(f"no end after {limit:g} s")
    if process.returncode:
        last = "\n".join(text.splitlines()[-20:])
        raise JobFailedError(f"exit code {process.returncode}: {last}", process.returncode)
    sampled = sum(watch.cpu.values())
    spent = max(cpu, sampled) if cpu is not None else None
    first = watch.peaks.pop(process.pid, 0)
    others = max(watch.peaks.values(), default=0)
    return Run(wall, spent, watch.peak, _said(text), first, others)


def _said(text: str) -> Mapping[str, Any]:
    last = text.strip().rpartition("\n")[2]
    if last.startswith("{"):
        with contextlib.suppress(ValueError):
            return dict(json.loads(last))
    return {}


def _wait(process: subprocess.Popen[bytes]) -> float | None:
    """Wait for the end; return the processor seconds of it and of those it waited for."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


class _Watch(threading.Thread):
    """Looks at the processes of a session and kills those that do not end."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.deadline = deadline
        self.killed = False
        self.peak: int | None = None
        #: Processor seconds of each process when it was last seen.
        self.cpu: dict[int, float] = {}
        #: Largest resident memory of each process, bytes.
        self.peaks: dict[int, int] = {}
        self._over = threading.Event()
        self._strangers: set[int] = set()
        self._ours: set[int] = set()

    def __enter__(self) -> _Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        for pid in self._members():  # left behind by their parent
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)

    def run(self) -> None:
        while not self._over.wait(_LOOK):
            self._look()
            if time.perf_counter() > self.deadline:
                self.killed = True
                self._kill()
                return

    def _kill(self) -> None:
        for pid in [*self._members(), self.process.pid]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def _members(self) -> list[int]:
        """Return the processes of the session, and descendants that left it."""
        if not _PROC.is_dir():
            return []
        pids = {int(name) for name in os.listdir(_PROC) if name.isdigit()}
        self._strangers &= pids
        self._ours &= pids
        return [pid for pid in sorted(pids - self._strangers) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        fields = _stat(pid)
        if fields is None:
            return False
        if pid not in self._ours:
            parent, session = int(fields[1]), int(fields[3])
            if session != self.process.pid and parent not in self._ours:
                self._strangers.add(pid)
                return False
            self._ours.add(pid)
        return fields[0] not in "ZX"

    def _look(self) -> None:
        alone = shared = 0
        for pid in self._members():
            with contextlib.suppress(OSError, ValueError, IndexError):
                pages = (_PROC / str(pid) / "statm").read_text().split()
                alone += int(pages[1]) - int(pages[2])
                shared = max(shared, int(pages[2]))
                self.peaks[pid] = max(self.peaks.get(pid, 0), _high_water(pid))
                fields = _stat(pid)
                if fields is not None:
                    ticks = int(fields[11]) + int(fields[12])
                    self.cpu[pid] = ticks / os.sysconf("SC_CLK_TCK")
        if alone:
            total = (alone + shared) * os.sysconf("SC_PAGE_SIZE")
            self.peak = max(self.peak or 0, total)


def _high_water(pid: int) -> int:
    """Return the largest resident memory of a process since it was last reset, bytes."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[str] | None:
    """Return the fields of a process after its name: state, parent, group, session, ..."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
