"""How a recording goes that is still written: its numbers, and what may be wrong with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..logic.live_measuring import Measured

__all__ = ["Course"]

#: Seconds of the recording that numbers and warnings are about, and those of rates.
_WINDOW, _RATE = 10.0, 1.0
#: Change of the background's brightness since the beginning, relative.
_DRIFT = 0.05
#: So many of the last frames are that much brighter or darker than their median.
_FLICKERING, _OF_FRAMES, _GREY = 5, 200, 2.5
#: Events in a second, relative to the time before, and fewest events of that time.
_CLOGGED, _FEWEST = 0.2, 50


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some frames: when the first and the last were taken, and what was in them."""

    begin: float
    time: float
    area: Any
    deform: Any


class Course:
    """What was measured so far, most of it of the last seconds."""

    def __init__(self) -> None:
        self.frames = self.events = self.dropped = 0
        self._parts: deque[_Part] = deque()
        self._upper: deque[float] = deque(maxlen=_OF_FRAMES)
        self._first: tuple[float, float] | None = None
        self._background = 0.0
        self._said: set[str] = set()

    def add(self, part: Measured, now: float) -> list[str]:
        """Take in some frames; return what was not wrong before. `now` is for unknown times."""
        rows = part.rows
        begin, time = (now if s != s else float(s) for s in (part.seconds[0], part.seconds[-1]))
        if self._first is None:
            self._first = begin, part.background
        self._background = part.background
        self._upper.extend(part.upper.tolist())
        self.frames, self.events = rows.stop, self.events + rows.n_events
        self.dropped += rows.dropped
        area, deform = (rows.rows.get(name, ()) for name in ("area_um", "deform"))
        self._parts.append(_Part(begin, time, area, deform))
        while self._parts[0].time < time - _WINDOW:
            self._parts.popleft()
        wrong = dict(self._wrong(time))
        news = [text for kind, text in wrong.items() if kind not in self._said]
        self._said = set(wrong)
        return news

    def _wrong(self, time: float) -> Iterator[tuple[str, str]]:
        """Yield what is wrong now, with a word for its kind."""
        import numpy as np

        begin, background = self._first or (time, self._background)
        change = self._background / background - 1 if background else 0.0
        if abs(change) > _DRIFT:
            yield "drift", f"the background drifts: its brightness has changed by {change:+.0%}"
        upper = np.array(self._upper)
        if np.count_nonzero(np.abs(upper - np.median(upper)) >= _GREY) >= _FLICKERING:
            yield "flicker", "the light flickers"
        recent = sum(len(part.area) for part in self._parts)
        before, earlier = self.events - recent, time - _WINDOW - begin
        if time - begin < _WINDOW:
            return
        if not recent:
            yield "cells", f"no cells in the last {_WINDOW:g} s"
        elif earlier >= _WINDOW and before >= _FEWEST:
            share = recent / _WINDOW / (before / earlier)
            if share < _CLOGGED:
                yield "clogged", f"the channel may be clogged: {share:.0%} of the events of before"

    def rate(self) -> float:
        """Return the events in a second of the recording, lately."""
        if not self._parts:
            return 0.0
        end = self._parts[-1].time
        recent = [part for part in self._parts if part.time > end - _RATE]
        return sum(len(part.area) for part in recent) / max(end - recent[0].begin, 1e-3)

    def line(self, backlog: int) -> str:
        """Return how it stands in one line; `backlog` is the number of frames that wait."""
        import numpy as np

        words = [f"{self.frames:,} frames", f"{self.rate():,.0f} events/s"]
        area = np.concatenate([part.area for part in self._parts] or [()])
        if len(area):
            deform = np.concatenate([part.deform for part in self._parts])
            words.append(f"median {np.median(area):.1f} um2, deformation {np.median(deform):.3f}")
        words.append(f"backlog {backlog:,} frames")
        share = self.dropped / max(1, self.events + self.dropped)
        return ", ".join([*words, f"{100 * share:.1f} % of masks dropped"])
