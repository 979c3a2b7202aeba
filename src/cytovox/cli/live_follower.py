"""Following a recording until it is complete, and how that may end otherwise."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import CytovoxError, InputError, InputNotFoundError
from .arrivals import frames_in
from .live_course import Course
from .one_recording import Measuring, Recording
from .progress_display import Quiet

if TYPE_CHECKING:
    from ..logic.live_measuring import LiveMeasuring
    from ..read.growing import GrowingRecording

__all__ = ["Follower"]

#: Seconds without a new frame after which that is said, and between two lines.
_QUIET, _LINE = 10.0, 1.0
#: Seconds of a look in which more frames have come, so that they are not waited for.
_LONG = 0.2


class Follower:
    """Measures the frames of a recording as they come; use it in a ``with`` statement."""

    def __init__(
        self,
        recording: Recording,
        measuring: Measuring,
        display: Quiet,
        *,
        patience: float,
        stable: float,
        wait: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recording, self._measuring, self._display = recording, measuring, display
        self._patience, self._stable = patience, stable
        self._wait, self._clock = wait, clock
        self._path = recording.path
        #: What the system says of the file, as it was last seen.
        self._stamp: tuple[int, ...] | None = None
        self._error: Exception | None = None
        self._live: LiveMeasuring | None = None
        self._is_complete = self._is_finished = False
        self._frames = 0
        self._changed = self._came = self._said = clock()
        self._is_quiet = False
        self.course = Course()

    def __enter__(self) -> Follower:
        self._stack = contextlib.ExitStack()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def follow(self, is_stopped: Callable[[], bool]) -> None:
        """Measure until the recording is complete; an error says how else it has ended."""
        while not is_stopped():
            begin = self._clock()
            self._look(is_stopped)
            if self._has_ended():
                self._display.standing("")
                if self._live is not None and self._stamp is not None:
                    self._live.complete(self._stamp)
                return
            self._speak()
            self._check_patience()
            is_busy = self._is_behind() or self._clock() - begin > _LONG
            if not is_stopped() and (self._error is not None or not is_busy):
                self._wait()

    def _look(self, is_stopped: Callable[[], bool]) -> None:
        """Measure what is new, if the file has changed since the look before."""
        from ..read.growing import open_growing

        stamp = self._stamp_now()
        is_same = stamp == self._stamp
        is_late = is_same and self._has_waited()
        is_seen = is_same and self._error is None
        if stamp is None or (is_seen and not is_late and not self._is_behind()):
            return
        if not is_same:
            self._stamp, self._changed = stamp, self._clock()
        measuring = self._measuring
        pixel_size = measuring.options.get("data", {}).get("pixel_size")
        self._error, self._is_complete = None, False
        try:
            is_known = self._live is not None
            with open_growing(
                self._path, pixel_size, measuring.permissions, is_known=is_known
            ) as recording:
                self._check_length(recording)
                self._measure(recording, is_stopped, hold=not is_late)
        except CytovoxError as error:
            if not isinstance(error, InputError):
                raise
            self._error = error  # it is being written; the next look may find it whole
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            what = f"the recording cannot be read: {error}"
            self._error = InputError(what, path=self._path, hint="is it damaged?")

    def _has_waited(self) -> bool:
        """Return whether frames wait for others, which do not come."""
        waits = self._live is not None and self._frames > self._live.frames
        return waits and self._clock() - self._changed >= _LINE

    def _is_behind(self) -> bool:
        """Return whether there are frames that could be measured again."""
        return self._live is not None and self._live.is_behind

    def _stamp_now(self) -> tuple[int, ...] | None:
        """Return what the system says of the file; an error if it is another one."""
        from ..logic.live_file import stamp_of

        try:
            status = self._path.stat()
        except OSError:
            if self._stamp is None:
                return None  # it is waited for
            raise _Ended("the recording is gone", path=self._path) from None
        stamp = stamp_of(status)
        if self._stamp is not None and stamp[:2] != self._stamp[:2]:
            raise _Ended("another file has taken the place of the recording", path=self._path)
        return stamp

    def _check_length(self, recording: GrowingRecording) -> None:
        if len(recording) > self._frames:
            self._frames, self._came, self._is_quiet = len(recording), self._clock(), False
        elif len(recording) < self._frames:
            what = f"the recording has {len(recording)} frames and had {self._frames}"
            raise _Ended(f"{what}: it was cut off or begun anew", path=self._path)

    def _measure(
        self, recording: GrowingRecording, is_stopped: Callable[[], bool], *, hold: bool
    ) -> None:
        if self._live is None:
            self._live = self._begin(recording)
        if self._live is None:
            return
        for part in self._live.measure(recording, lambda: not is_stopped(), hold=hold):
            for text in self.course.add(part, self._clock()):
                self._display.note(f"warning: {self._path.name}: {text}")
            self._came = self._clock()  # what takes long to be measured is not late
            self._speak()
        self._is_complete = recording.is_complete

    def _begin(self, recording: GrowingRecording) -> LiveMeasuring | None:
        """Return what measures, once there are frames."""
        from ..logic.live_file import LiveFile, live_path
        from ..logic.live_measuring import LiveMeasuring

        if not len(recording):
            return None
        task = self._measuring.decide(
            recording.data, self._recording, self._recording.outcome(), lambda text: None
        )
        self._is_finished, job = task.is_finished, task.job
        if self._is_finished:
            return None
        job.check_options()
        meta = {name: value for name, value in recording.meta.items() if ":" in name}
        dropped = ("experiment:event count", "pipeline:")
        meta = {name: value for name, value in meta.items() if not name.startswith(dropped)}
        path = live_path(self._recording.out)
        file = self._stack.enter_context(LiveFile(path, job, meta))
        live = LiveMeasuring(job, file)
        self._stack.callback(live.close)
        self._display.note(f"{self._path.name}: provisional events: {path}")
        return live

    def _has_ended(self) -> bool:
        """Return whether the recording is complete, unchanged for a while, and closed."""
        if self._is_finished:  # there is its result
            return True
        if not self._is_complete or self._error is not None:
            return False
        if self._clock() - self._changed < self._stable or self._stamp_now() != self._stamp:
            return False
        if frames_in(self._path, self._measuring.permissions) is not None:
            return True
        self._changed = self._clock()  # it is open for writing
        return False

    def _speak(self) -> None:
        """Say once a second how it stands."""
        if self._clock() - self._said < _LINE:
            return
        self._said = self._clock()
        if self._live is None:
            self._display.standing("waiting for frames")
        else:
            self._display.standing(self.course.line(self._frames - self._live.frames))

    def _check_patience(self) -> None:
        """Say if nothing has come for a while; raise an error if for too long."""
        is_quiet = self._clock() - self._came >= _QUIET and self._frames and not self._is_complete
        if is_quiet and not self._is_quiet:
            self._is_quiet = True
            self._display.note(f"warning: {self._path.name}: no new frame for {_QUIET:g} s")
        if self._is_complete or self._clock() - self._came < self._patience:
            return
        if self._error is not None:
            raise self._error
        if self._stamp is None:
            raise InputNotFoundError("there is no such file", path=self._path)
        raise InputError(
            f"no frame has come for {self._patience:g} s, and the recording was not completed",
            path=self._path,
            hint="if it is still written, say the same again; else cytovox run --growing "
            "measures what is there",
        )


class _Ended(CytovoxError):
    """The recording ended in another way than by being completed."""
