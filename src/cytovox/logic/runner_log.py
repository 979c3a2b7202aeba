"""The log of a runner, also for processes, and its progress part by part."""

from __future__ import annotations

import contextlib
import functools
import logging
import logging.handlers
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import InterruptedRunError, UsageError
from ..run.children import mp_spawn
from ..run.logs import RunLog
from ..run.progress import (
    Listener,
    StageFinished,
    StageProgress,
    StageStarted,
    Warned,
    announce,
)
from .runner_data import RunnerData
from .states import PROGRESS_WEIGHTS, RunState

__all__ = ["LogListener", "RunnerLog"]

#: Seconds that the last records of other processes get to arrive.
_PATIENCE = 2.0


class LogListener(logging.handlers.QueueListener):
    """Passes records from a queue on; does not wait for ever for the last one.

    A process that is killed while it writes a record leaves the queue locked,
    so that nothing can follow.
    """

    def stop(self) -> None:
        """Pass on what has come, and end."""
        thread = self._thread
        if thread is not None:
            self.enqueue_sentinel()
            thread.join(_PATIENCE)
            self._thread = None


class RunnerLog(RunnerData):
    """What a runner has to do with its log, and what it tells of its progress.

    Attributes
    ----------
    on_event
        Function that is told what happens.
    logger
        Where it is logged.
    main_logger
        Logger above that of each run.
    log_queue
        Queue for log records of other processes, which come into the log of
        this run. It is made when it is first asked for.
    """

    on_event: Listener | None
    logger: logging.Logger
    _log: RunLog
    _state: RunState
    _fractions: dict[RunState, float]
    _segm_rate: float
    _stage_seconds: dict[str, float]
    _stop_requested: threading.Event
    _qlisten: LogListener | None = None

    @property
    def state(self) -> str:
        """Where the run is, one of the words of `RunState`."""
        return self._state.value

    @state.setter
    def state(self, value: str) -> None:
        try:
            self._state = RunState(value)
        except ValueError:
            raise UsageError(f"a run has no state '{value}'") from None

    def get_status(self) -> dict[str, Any]:
        """Return how far the run is.

        Returns
        -------
        dict
            ``progress`` from 0 to 1, ``segm rate`` in frames per second, and
            ``state``.
        """
        if self._state is RunState.DONE:
            progress = 1.0
        else:
            weights = PROGRESS_WEIGHTS[self.job.kwargs["basin_strategy"]]
            done = sum(weight * self._fractions[part] for part, weight in weights.items())
            progress = done / sum(weights.values())
        return {"progress": progress, "segm rate": self._segm_rate, "state": self.state}

    def _timed(self, state: RunState, task: Callable[[], None]) -> None:
        self.state = state
        total = len(self.draw)
        begin = time.perf_counter()
        self._tell(StageStarted(state.value, total))
        task()
        self._report(state, 1.0)
        seconds = time.perf_counter() - begin
        self._stage_seconds[state.value] = seconds
        self._tell(StageFinished(state.value, seconds))

    def _tell(self, event: Any) -> None:
        announce(self.on_event, event, self.logger)

    def _warn(self, text: str) -> None:
        self.logger.warning(text)
        self._tell(Warned(text))

    def _heed_stop(self) -> None:
        if self._stop_requested.is_set():
            raise InterruptedRunError("the run was stopped", path=self.path_in)

    def _report(self, state: RunState, fraction: float) -> None:
        """Note progress; this is also where a stop is heeded."""
        self._heed_stop()
        self._fractions[state] = max(self._fractions[state], min(1.0, fraction))
        total = len(self.draw)
        done = int(self._fractions[state] * total)
        self._tell(StageProgress(state.value, done, total))

    @property
    def main_logger(self) -> logging.Logger:
        """Logger above that of each run."""
        return logging.getLogger("cytovox")

    @property
    def _log_file_handler(self) -> logging.Handler:
        return self._log.handler

    @functools.cached_property
    def log_queue(self) -> Any:
        """Queue for log records of other processes."""
        log_queue = mp_spawn.Queue()
        self._qlisten = LogListener(log_queue, self._log_file_handler, respect_handler_level=True)
        self._qlisten.start()
        return log_queue

    def _close_log_queue(self) -> None:
        """Take what other processes have logged, and let their queue go."""
        listener, self._qlisten = self._qlisten, None
        if listener is not None:
            listener.stop()
            self.log_queue.close()
            self.log_queue.cancel_join_thread()
            with contextlib.suppress(AttributeError):
                del self.log_queue

    @property
    def _progress_bg(self) -> float | None:
        """Share of the background that is done; None before it begins."""
        return self._fractions[RunState.BACKGROUND] or None

    @property
    def _progress_ex(self) -> float | None:
        """Share of the frames that are measured; None before that begins."""
        return self._fractions[RunState.SEGMENTATION] or None

    @property
    def _progress_bn(self) -> float | None:
        """Share of the plumbing that is done; None before it begins."""
        return self._fractions[RunState.PLUMBING] or None
