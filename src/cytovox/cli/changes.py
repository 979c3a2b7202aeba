"""Waiting for a file to change: told by the system where it tells, else by looking again."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..run.extras import is_installed

__all__ = ["Changes"]

#: Longest wait [s]: of what happens on a server, no system tells.
_LONGEST = 0.5
#: The same without anything that tells; and the shortest, so that no time is spent on looking.
_LOOK, _SHORTEST = 0.25, 0.03


class Changes:
    """The changes in the folder of a file, as long as nothing has stopped it."""

    def __init__(self, path: Path, stopped: threading.Event) -> None:
        self._folder, self._stopped = path.absolute().parent, stopped
        self._told: Iterator[Any] | None = None

    def wait(self) -> None:
        """Wait for a change, but not long."""
        if not is_installed("watchfiles"):
            self._stopped.wait(_LOOK)
            return
        if self._told is None:
            self._told = importlib.import_module("watchfiles").watch(
                self._folder,
                watch_filter=None,
                debounce=50,
                rust_timeout=int(1000 * _LONGEST),
                yield_on_timeout=True,
                stop_event=self._stopped,
                raise_interrupt=False,
                recursive=False,
            )
        self._stopped.wait(_SHORTEST)
        try:
            next(self._told, None)
        except RuntimeError:  # a name in the folder is not text; this has ended
            self._told = None

    def close(self) -> None:
        """Listen no longer."""
        if self._told is not None:
            self._told.close()  # type: ignore[attr-defined]
