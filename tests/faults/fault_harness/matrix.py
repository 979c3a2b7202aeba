"""What a fault is, and how often each is injected."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Case", "Failure", "Fault", "Report", "inject"]


@dataclass(frozen=True)
class Case:
    """One injection.

    Parameters
    ----------
    number
        Which injection of this fault it is, from 0.
    seed
        Seed of everything that is random in it.
    folder
        Empty folder that is removed afterwards.
    """

    number: int
    seed: int
    folder: Path
    random: random.Random = field(repr=False, default_factory=random.Random)


@dataclass(frozen=True)
class Fault:
    """A row of the matrix.

    Parameters
    ----------
    row
        Number of the row.
    name
        What goes wrong.
    quick, full
        How often it is injected in every test run, which may be never, and in the
        full run.
    bound
        What is promised besides the right result or one clear line.
    peer
        What the peer was measured to do.
    run
        Injects the fault once and checks what comes of it; returns what
        happened in a few words, and raises an `AssertionError` if anything was
        lost, hung or left behind.
    limit
        Seconds that one injection may take.
    note
        What the table says besides.
    """

    row: int
    name: str
    quick: int
    full: int
    bound: str
    peer: str
    run: Callable[[Case], str]
    limit: float = 600.0
    note: str = ""

    @property
    def key(self) -> str:
        """Name that a command line can take."""
        words = "".join(letter if letter.isalnum() else " " for letter in self.name.lower())
        return f"{self.row:02}-" + "-".join(words.split()[:5])


@dataclass(frozen=True)
class Failure:
    """An injection that did not end as promised."""

    number: int
    seed: int
    text: str


@dataclass
class Report:
    """What became of the injections of a fault."""

    injected: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    longest: float = 0.0
    seconds: float = 0.0

    @property
    def survived(self) -> int:
        """How many ended as promised."""
        return self.injected - len(self.failures)

    def add(self, other: Report) -> None:
        """Take in the report of other injections of the same fault."""
        self.injected += other.injected
        for what, count in other.ended.items():
            self.ended[what] = self.ended.get(what, 0) + count
        self.failures += other.failures
        self.longest = max(self.longest, other.longest)
        self.seconds += other.seconds


def inject(fault: Fault, numbers: Iterable[int], seed: int) -> Report:
    """Inject a fault several times, each time with a seed of its own.

    Parameters
    ----------
    fault
        The fault.
    numbers
        Which injections; the same number and seed give the same injection.
    seed
        Seed of the whole run.
    """
    report = Report()
    for number in numbers:
        own = (seed * 100 + fault.row) * 1_000_000 + number
        folder = Path(tempfile.mkdtemp(prefix=f"fault{fault.row}-"))
        begin = time.perf_counter()
        try:
            ended = fault.run(Case(number, own, folder, random.Random(own)))
            report.ended[ended] = report.ended.get(ended, 0) + 1
        except Exception:
            report.failures.append(Failure(number, own, traceback.format_exc()))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = time.perf_counter() - begin
        report.injected += 1
        report.seconds += seconds
        report.longest = max(report.longest, seconds)
    return report
