"""What a check of a file found, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Severity", "Verification"]


class Severity(StrEnum):
    """How much a finding weighs."""

    #: Data are lost or wrong.
    ERROR = "error"
    #: Readers refuse the file, whether it is damaged or only not allowed.
    REFUSED = "refused"
    #: The data are as they were written, but something should be looked at.
    WARNING = "warning"
    #: Worth knowing, nothing to do.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Parameters
    ----------
    severity
        How much it weighs.
    where
        Place within the file: dataset, attribute, chunk, block or label.
    what
        One sentence without a full stop.

    Examples
    --------
    >>> print(Finding(Severity.ERROR, "events/deform", "has 3 rows instead of 4"))
    error: events/deform: has 3 rows instead of 4
    """

    severity: Severity
    where: str
    what: str

    def __str__(self) -> str:
        """Return the finding on one line."""
        return f"{self.severity}: {self.where}: {self.what}"


@dataclass(slots=True)
class Verification:
    """All that a check of one file or volume found.

    Parameters
    ----------
    path
        What was checked.
    kind
        ``"recording"``, ``"result"`` or ``"volume"``.
    findings
        What was found, in the order of the checks.
    counts
        What there is and how much of it was checked, e.g. ``events``,
        ``features``, ``chunks``, ``checksums``, ``bytes``.
    seconds
        How long the check took.

    Examples
    --------
    >>> found = Verification("a.rtdc", "recording")
    >>> found.add(Severity.WARNING, "basins/1", "its file is missing")
    >>> found.ok, len(found.errors), len(found.warnings)
    (True, 0, 1)
    """

    path: str
    kind: str
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def errors(self) -> list[Finding]:
        """Findings that mean lost or wrong data, or a file that is refused."""
        severe = (Severity.ERROR, Severity.REFUSED)
        return [one for one in self.findings if one.severity in severe]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that should be looked at."""
        return [one for one in self.findings if one.severity is Severity.WARNING]

    @property
    def ok(self) -> bool:
        """Whether nothing is lost or wrong."""
        return not self.errors

    def add(self, severity: Severity, where: str, what: str) -> None:
        """Add a finding.

        Parameters
        ----------
        severity, where, what
            See `Finding`.
        """
        self.findings.append(Finding(severity, where, what))

    def error(self, where: str, what: str) -> None:
        """Add what means lost or wrong data.

        Parameters
        ----------
        where, what
            See `Finding`.
        """
        self.add(Severity.ERROR, where, what)

    def warn(self, where: str, what: str) -> None:
        """Add what should be looked at.

        Parameters
        ----------
        where, what
            See `Finding`.
        """
        self.add(Severity.WARNING, where, what)

    def note(self, where: str, what: str) -> None:
        """Add what is worth knowing.

        Parameters
        ----------
        where, what
            See `Finding`.
        """
        self.add(Severity.NOTE, where, what)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add several findings.

        Parameters
        ----------
        findings
            The findings.
        """
        self.findings.extend(findings)

    def as_plain(self) -> Mapping[str, Any]:
        """Return everything as values that JSON knows."""
        return {
            "path": self.path,
            "kind": self.kind,
            "ok": self.ok,
            "findings": [
                {"severity": str(one.severity), "where": one.where, "what": one.what}
                for one in self.findings
            ],
            "counts": dict(self.counts),
            "seconds": round(self.seconds, 3),
        }
