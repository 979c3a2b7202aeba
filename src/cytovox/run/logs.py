"""Logs of one run: its own logger, its own file, no other run's lines."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import uuid
from pathlib import Path
from typing import Any

from ..errors import escaped
from .children import mp_spawn

__all__ = ["LogListener", "RunLog"]

#: Seconds that the last records of other processes get to arrive.
_PATIENCE = 2.0


class LogListener(logging.handlers.QueueListener):
    """Passes records from a queue on; does not wait for ever for the last one.

    A process that is killed while it writes a record leaves the queue locked,
    so that nothing can follow.
    """

    def stop(self) -> None:
        """Pass on what has arrived, and end."""
        thread = self._thread
        if thread is not None:
            self.enqueue_sentinel()
            thread.join(_PATIENCE)
            self._thread = None


class _OneLine(logging.Formatter):
    """Shows each message on one line, whatever the names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = escaped(record.message)
        return super().formatMessage(record)


_FORMAT = _OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")


class RunLog:
    """A logger whose lines are also kept in a file of the run.

    Every run has a logger of its own below ``cytovox``, so two runs in one
    process never write into each other's file. The file appears with the
    first line.
    """

    def __init__(self, name: str, path: Path, level: int = logging.INFO) -> None:
        self.path = path
        self.logger = logging.getLogger(f"cytovox.{name}-{uuid.uuid4().hex[:6]}")
        self.logger.setLevel(level)
        #: What writes into the file.
        self.handler = logging.FileHandler(path, mode="x", encoding="utf-8", delay=True)
        self.handler.setFormatter(_FORMAT)
        self.logger.addHandler(self.handler)
        self._queue: Any = None
        #: What takes the records of other processes, once there may be some.
        self.listener: LogListener | None = None

    @property
    def queue(self) -> Any:
        """Queue for records of other processes, made when it is first asked for."""
        if self.listener is None:
            self._queue = mp_spawn.Queue()
            self.listener = LogListener(self._queue, self.handler, respect_handler_level=True)
            self.listener.start()
        return self._queue

    def lines(self) -> list[str]:
        """Return what was logged so far, a string per line."""
        self.handler.flush()
        if not self.path.is_file():
            return []
        # What a dead run has left may be torn.
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()

    def move_to(self, path: Path) -> None:
        """Continue in another file, after what is in it already."""
        if path == self.path:
            return
        lines = self.lines()
        self.handler.close()
        self.path.unlink(missing_ok=True)
        self.path = path
        self.handler.baseFilename = str(path.absolute())
        self.handler.mode = "a"
        if lines:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)

    def close(self) -> None:
        """Stop writing to the file, after what other processes have logged.

        May be called again.
        """
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.stop()
            self._queue.close()
            self._queue.cancel_join_thread()
        self.logger.removeHandler(self.handler)
        self.handler.close()
        # Python would keep each run's logger as long as the process lives.
        known = self.logger.manager.loggerDict
        for name in list(known):
            if name == self.logger.name or name.startswith(f"{self.logger.name}."):
                known.pop(name, None)

    def delete(self) -> None:
        """Close and remove the file, which this object has made.

        Where it cannot be removed it stays; a run does not fail for that.
        """
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
