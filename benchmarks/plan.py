"""What is to be measured, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from .measure import Job
from .results import OURS

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured, and how often.

    Parameters
    ----------
    runs
        How often each program runs.
    quick
        Whether only to try whether everything works, on little data.
    patterns
        Names of rows, with ``*``; all if empty.
    peers
        Whether peers are measured, too.
    """

    runs: int = 5
    quick: bool = False
    patterns: tuple[str, ...] = ()
    peers: bool = True

    def wants(self, key: str) -> bool:
        """Return whether a row is to be measured."""
        return not self.patterns or any(fnmatch(key, pattern) for pattern in self.patterns)

    def chosen(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs that are to be measured."""
        return [job for job in jobs if self.peers or job.name.startswith(OURS)]
