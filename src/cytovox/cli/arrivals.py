"""When a recording has arrived: its size, time of change and length have stayed the same."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["UNREADABLE", "Arrivals", "Stamp", "frames_in"]

#: The length of a recording that cannot be read; what is wrong is said when it is measured.
UNREADABLE = -1


class Stamp(NamedTuple):
    """What the system says of a file."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


def frames_in(path: Path, permissions: Permissions | None = None) -> int | None:
    """Return how many frames a recording has; None while another program writes it."""
    from ..errors import CytovoxError
    from ..read import HDF5Data

    try:
        with HDF5Data(path, pixel_size=1.0, permissions=permissions) as data:
            return data.stored_length
    except CytovoxError as err:
        return None if isinstance(err.__cause__, BlockingIOError) else UNREADABLE
    except (OSError, RuntimeError, ValueError, LookupError):
        return UNREADABLE


@dataclass(slots=True)
class _Sighting:
    """A recording as it was seen."""

    stamp: Stamp
    #: When it was first seen like this, by the clock.
    since: float
    #: None before it was read, and while another program writes it.
    frames: int | None = None
    #: Whether nothing is to be done until it changes.
    settled: bool = False


class Arrivals:
    """Recordings of a folder, and since when each is as it is.

    Nothing is opened that has changed since the look before.
    """

    def __init__(
        self,
        stable: float,
        length: Callable[[Path], int | None] = frames_in,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stable = stable
        self._length = length
        self._clock = clock
        self._seen: dict[Path, _Sighting] = {}

    def ready(self, stamps: dict[Path, Stamp]) -> list[Path]:
        """Return which of the recordings that are there now have been stable for long enough."""
        now = self._clock()
        self._seen = {path: seen for path, seen in self._seen.items() if path in stamps}
        return [path for path, stamp in stamps.items() if self._is_ready(path, stamp, now)]

    def _is_ready(self, path: Path, stamp: Stamp, now: float) -> bool:
        seen = self._seen.get(path)
        if seen is None or seen.stamp != stamp:
            seen = self._seen[path] = _Sighting(stamp, now)
            if self._stable > 0:
                return False
        if seen.settled:
            return False
        is_due = now - seen.since >= self._stable
        if seen.frames is not None and not is_due:
            return False
        frames, before = self._length(path), seen.frames
        seen.frames = frames
        if frames is None or before not in (None, frames):
            seen.since = now  # it is being written
            return False
        return is_due and (before is not None or self._stable <= 0)

    def old(self, stamps: dict[Path, Stamp], now: float) -> list[Path]:
        """Return the recordings that were not changed for long enough, as their times say."""
        found = []
        for path, stamp in stamps.items():
            seen = self._seen[path] = _Sighting(stamp, self._clock())
            with contextlib.suppress(OSError):  # it is gone
                status = path.stat()
                # Programs that copy set the first of these to what it was elsewhere.
                if now - max(status.st_mtime, status.st_ctime) >= self._stable:
                    seen.frames = self._length(path)
            if seen.frames is not None:
                found.append(path)
        return found

    def settle(self, paths: Iterable[Path]) -> None:
        """Note that nothing is to be done with recordings until they change."""
        for path in paths:
            if path in self._seen:
                self._seen[path].settled = True

    def postpone(self, paths: Iterable[Path]) -> None:
        """Let recordings be ready again after the same time."""
        for path in paths:
            if path in self._seen:
                self._seen[path].since = self._clock()
