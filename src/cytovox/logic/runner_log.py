"""The log of a runner, also for processes, and its progress part by part."""

from __future__ import annotations

import contextlib
import functools
import logging
import logging.handlers
from typing import Any

from ..run.logs import RunLog
from ..run.monitor import mp_spawn
from .states import RunState

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


class RunnerLog:
    """What a runner has to do with its log, and what it tells of its progress.

    Attributes
    ----------
    main_logger
        Logger above that of each run.
    log_queue
        Queue for log records of other processes, which come into the log of
        this run. It is made when it is first asked for.
    """

    _log: RunLog
    _fractions: dict[RunState, float]
    _qlisten: LogListener | None = None

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
