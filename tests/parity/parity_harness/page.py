"""The page that shows the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .matrix import Case
from .tolerances import TOLERANCES, tolerance_of

_HEAD = """# Parity with dcnum

cytovox and dcnum 0.31.0 were run on the same recordings with the same settings.
Then everything in their output files was compared: the set of datasets with
their types, shapes, chunks and filters; all values; the attributes of the file,
among them pipeline identifier and hash; where basins say that a feature is to
be found; logs and tables. NaN equals NaN. Names and versions of the programs,
times and their own log lines may differ; which features share a basin may too.

`make parity` runs the comparison and writes this page. It needs the real
recordings beside the repository; "long" are recordings grown to 600 frames,
"short" to 60, "bg" have a background image for each frame, "raw" are real ones
without anything that was measured later.
"""

_FAULTS = """
## What differs on purpose

dcnum fails on some inputs, or writes what cannot be read again. Such results
are not a reference:

- If every frame has exactly one event, dcnum stores the map of internal
  backgrounds with a second axis and may crash when it copies; cytovox stores
  one axis.
- If every frame has exactly one event, dcnum also leaves the map out of its
  basins, and dclab refuses them.
- If nothing has to be redone, dcnum says that there are 0 events.
- What the input only refers to (a tapped file that is measured again), dcnum
  loses.
- Where a file has no run identifier and stores names as bytes, dcnum makes the
  identifier of their `b'...'`. dclab decodes them, so that it refuses dcnum's
  basins; cytovox decodes too. The comparison knows the two names of this file.
- A new segmentation of a file with few internal background images makes dcnum
  wait for ever; there is nothing to compare with.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case.

    Parameters
    ----------
    case
        The case.
    frames, events
        Frames of the input, events of the output.
    differences
        What differs and should not.
    distances
        Largest absolute difference of each float feature.
    ours, theirs
        Seconds.
    """

    case: Case
    frames: int
    events: int
    differences: tuple[str, ...]
    distances: Mapping[str, float]
    ours: float
    theirs: float

    @property
    def equal(self) -> bool:
        """Whether nothing differs that should not."""
        return not self.differences

    def line(self) -> str:
        """Return a line, or several, for the terminal."""
        word = "ok" if self.equal else "DIFFERS"
        times = f"{self.ours:.1f} s and {self.theirs:.1f} s"
        head = f"{word:8}{self.case.name} ({self.events} events; {times})"
        return "\n".join([head, *(f"             {text}" for text in self.differences)])


def write_page(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the page about a whole comparison."""
    good = sum(outcome.equal for outcome in outcomes)
    lines = [_HEAD, f"\n**{good} of {len(outcomes)} cases agree.**\n"]
    lines += ["| recording | settings | frames | events | agrees |", "|---|---|--:|--:|---|"]
    for one in outcomes:
        verdict = "yes" if one.equal else "; ".join(one.differences)
        if one.equal and one.case.repaired:
            verdict = "but for a fault of dcnum"
        row = (one.case.recording, one.case.what, one.frames, one.events, verdict)
        lines.append("| " + " | ".join(map(str, row)) + " |")
    lines += ["\n## Features that may differ\n", *_distances(outcomes), _FAULTS]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")


def _distances(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a table of what the order of summation costs."""
    lines = [
        "All others are equal bit by bit. These are sums of floats, and the order of",
        "summation shows in the last digits.\n",
        "| feature | allowed | largest difference seen |",
        "|---|---|--:|",
    ]
    for name in TOLERANCES:
        worst = max((one.distances.get(name, 0.0) for one in outcomes), default=0.0)
        seen = f"{worst:.1e}" if worst else "0"
        lines.append(f"| {name} | {tolerance_of(name).text} | {seen} |")
    return lines
