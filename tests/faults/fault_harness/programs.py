"""Starting the program, and seeing that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "Program", "cytovox", "run"]

#: Seconds in which all processes of a dead program have to be gone.
GONE_WITHIN = 5.0
_TAG = "CYTOVOX_FAULT_CASE"


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    out: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line that it wrote."""
        lines = self.out.strip().splitlines()
        return lines[-1] if lines else ""


class Program:
    """A running program with all its descendants.

    Parameters
    ----------
    command
        Program and arguments.
    env
        Environment variables besides those of this process.
    limit
        Seconds after which it is taken to hang.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, limit: float = 600.0
    ) -> None:
        self.tag = uuid.uuid4().hex
        self.limit = limit
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {}), _TAG: self.tag},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Number of the main process."""
        return self.process.pid

    def family(self) -> list[int]:
        """Return the numbers of all its processes that live, also of adopted ones."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if f"{_TAG}={self.tag}".encode() in words and state != "Z":
                    found.append(int(entry.name))
        return sorted(found)

    def children(self) -> list[int]:
        """Return the numbers of its processes without the main one."""
        return [pid for pid in self.family() if pid != self.pid]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the main process."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self) -> Ended:
        """Wait for its end, and then for that of its family.

        Raises
        ------
        AssertionError
            If it hangs, or leaves processes behind.
        """
        try:
            out, _ = self.process.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            out, _ = self.process.communicate()
            text = out.decode("utf-8", "replace")
            raise AssertionError(f"no end after {self.limit:g} s: {text[-2000:]}") from None
        seconds = time.perf_counter() - self.begin
        left = self.wait_until_gone()
        assert not left, f"processes {left} are left {GONE_WITHIN:g} s after the end"
        return Ended(self.process.returncode, out.decode("utf-8", "replace"), seconds)

    def wait_until_gone(self) -> list[int]:
        """Return which of its processes live on after the time they have to end."""
        deadline = time.perf_counter() + GONE_WITHIN
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    select.select([handle], [], [], max(0.0, deadline - time.perf_counter()))
                finally:
                    os.close(handle)
        left = self.family()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


def cytovox(*words: object) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "cytovox", *map(str, words)]


def run(command: Sequence[str], env: Mapping[str, str] | None = None, limit: float = 600) -> Ended:
    """Run a program from its start to its end."""
    return Program(command, env, limit).end()
