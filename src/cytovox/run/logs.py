"""Logs of one run: its own logger, its own file, no other run's lines."""

from __future__ import annotations

import contextlib
import logging
import uuid
from pathlib import Path

from ..errors import escaped

__all__ = ["RunLog"]


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
        self._handler = logging.FileHandler(path, mode="x", encoding="utf-8", delay=True)
        self._handler.setFormatter(_FORMAT)
        self.logger.addHandler(self._handler)

    @property
    def handler(self) -> logging.Handler:
        """What writes into the file."""
        return self._handler

    def lines(self) -> list[str]:
        """Return what was logged so far, a string per line."""
        self._handler.flush()
        if not self.path.is_file():
            return []
        # What a dead run has left may be torn.
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()

    def move_to(self, path: Path) -> None:
        """Go on in another file, after what is in it already."""
        if path == self.path:
            return
        lines = self.lines()
        self._handler.close()
        self.path.unlink(missing_ok=True)
        self.path = path
        self._handler.baseFilename = str(path.absolute())
        self._handler.mode = "a"
        if lines:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)

    def close(self) -> None:
        """Stop writing to the file; may be called again."""
        self.logger.removeHandler(self._handler)
        self._handler.close()
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
