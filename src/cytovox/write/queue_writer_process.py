"""The queue writer as a process of its own."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import threading
from collections import deque
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from ..errors import CytovoxError, StageError
from ..run.children import mp_spawn, settle_child, start_child
from ..run.team_worker import WorkerTraceback
from .queue_writer_base import QueueWriterBase

__all__ = ["QueueWriterProcess"]

#: Seconds that the process gets to end once it should.
_END = 2.0
#: Locks, threads and functions stay in the process that has started the writer.
_LOCAL = ("_chunk_writer", "_error_lock", "_on_done", "_on_error", "_pipe", "_watcher")


def _shared(name: str, kind: type[int]) -> Any:
    """Return an attribute that both processes see: a whole number or a truth value."""

    def read(self: QueueWriterProcess) -> int:
        return kind(self.numbers[name].value)

    def write(self: QueueWriterProcess, value: int) -> None:
        self.numbers[name].value = int(value)

    return property(read, write, doc=f"`{name}` of `QueueWriterBase`, in both processes.")


class QueueWriterProcess(QueueWriterBase, SpawnProcess):
    """Writes events from a queue in order of their frames, in a process.

    A thread of the process that starts it watches it. What goes wrong there,
    and also that it was killed, is known here as `error` at once. It never
    outlives the process that started it.

    Parameters
    ----------
    log_queue
        Queue that takes the log records of the process; None to log nothing.
    *args, **kwargs
        Those of `QueueWriterBase`. `event_queue` must be a queue between
        processes, `feat_nevents` a shared array, `write_queue_size` a shared
        value or None. The functions `on_error` and `on_done` are called here.

    Attributes
    ----------
    log_queue
        Queue for logging.
    error, aborted, complete, written_events, written_frames
        See `QueueWriterBase`; they are known in both processes.
    numbers : dict
        The memory that the two processes share.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> events = mp_spawn.Queue()
    >>> events.put((1, {"deform": np.array([0.2, 0.3])}))
    >>> events.put((0, {"deform": np.array([0.1])}))
    >>> counts = mp_spawn.RawArray("q", [1, 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = QueueWriterProcess(None, events, None, counts, Path(folder) / "out.rtdc")
    ...     writer.start()
    ...     writer.join(30)
    >>> writer.complete, writer.written_events, writer.error
    (True, 3, None)
    """

    aborted: bool = _shared("aborted", bool)
    complete: bool = _shared("complete", bool)
    written_events: int = _shared("written_events", int)
    written_frames: int = _shared("written_frames", int)
    _must_end: bool = _shared("_must_end", bool)

    def __init__(self, log_queue: Any, *args: Any, **kwargs: Any) -> None:
        SpawnProcess.__init__(self, name="QueueWriter", daemon=True)
        names = ("aborted", "complete", "written_events", "written_frames", "_must_end")
        self.numbers = {name: mp_spawn.RawValue("q", 0) for name in names}
        QueueWriterBase.__init__(self, *args, **kwargs)
        self.log_queue = log_queue
        self._log_level = logging.getLogger("cytovox").getEffectiveLevel()
        self._link: Connection | None = None
        self._pipe: Connection | None = None
        self._watcher: threading.Thread | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(_LOCAL)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._error_lock = threading.Lock()
        self._on_error = self._send

    def start(self) -> None:
        """Start child process."""
        self._pipe, self._link = mp_spawn.Pipe(duplex=False)
        try:
            start_child(super().start)
        finally:
            # so that the end of the process is the end of the pipe
            self._link.close()
            self._link = None
        self._watcher = threading.Thread(
            target=self._watch, name="QueueWriter-watcher", daemon=True
        )
        self._watcher.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the process; afterwards `error` is final."""
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join(timeout)
            if self._watcher.is_alive():
                return
        super().join(timeout)

    def abort(self) -> None:
        """Ask to end now; the process is ended if it does not within two seconds."""
        super().abort()
        if self._watcher is not None:
            limit = threading.Timer(_END, self.kill)
            limit.daemon = True
            limit.start()

    def run(
        self,
        buffer_dq: deque[Any] | None = None,
        writer_dq: deque[Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        """Write until all frames have come; never raises, see `error`.

        This runs in the child process, or in this one if it is called by hand.
        See `QueueWriterBase.run`.
        """
        if self._link is None:
            super().run(buffer_dq, writer_dq, logger)
            return
        settle_child()
        if self.log_queue is not None:
            base = logging.getLogger("cytovox")
            base.setLevel(self._log_level)
            base.addHandler(logging.handlers.QueueHandler(self.log_queue))
        with self._link:
            super().run(buffer_dq, writer_dq, logger)

    def _send(self, error: Exception) -> None:
        """Send an error to the process that has started this one."""
        if self._link is not None:
            self._link.send(WorkerTraceback.of(error))

    def _watch(self) -> None:
        """Take errors from the process until it closes the pipe or dies, then see to its end."""
        assert self._pipe is not None
        while self._pipe in connection.wait([self._pipe, self.sentinel]):
            try:
                failure = self._pipe.recv()
            except (EOFError, OSError):
                break
            error = failure.error("write", path=self.path_out)
            if not isinstance(error, CytovoxError):
                error = StageError("write", f"{failure.kind}: {failure.text}", path=self.path_out)
            error.__cause__ = failure
            self._fail(error)
        self._pipe.close()
        super().join(_END)  # nothing is left to be done there
        if self.is_alive():
            self.kill()
            super().join()
        if not (self.complete or self.aborted) and self.error is None:
            self._fail(
                StageError(
                    "write",
                    f"the writer process {self.pid} died (exit code {self.exitcode})",
                    path=self.path_out,
                    hint="was it killed, or is there too little memory?",
                )
            )
        # What still waits in the queue must not keep this process from ending.
        with contextlib.suppress(AttributeError):
            self.event_queue.cancel_join_thread()
        if self._on_done is not None:
            self._on_done()
