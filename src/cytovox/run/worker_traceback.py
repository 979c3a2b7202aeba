"""An exception on its way from one process to another."""

from __future__ import annotations

import contextlib
import pickle
import traceback
from typing import Any

from ..errors import StageError

__all__ = ["WorkerTraceback", "shortened"]

#: Characters of a text or traceback, and bytes of an exception, that are passed on.
_MOST_TEXT, _MOST_BYTES = 16_000, 1 << 20


class WorkerTraceback(Exception):  # noqa: N818 - it is the cause of an error, not one
    """An exception of another process: its type, text, traceback and place.

    It is sent in place of the exception. `error` makes an exception of the same
    type again, of which this one is the cause.
    """

    def __init__(
        self, kind: str, text: str, trace: str, pickled: bytes = b"", at: int = -1
    ) -> None:
        super().__init__(kind, text, trace, pickled, at)
        self.kind = kind
        self.text = text
        self.trace = trace
        self.at = at
        self.unit: Any = None
        self._pickled = pickled

    @classmethod
    def of(cls, error: BaseException, at: int = -1) -> WorkerTraceback:
        """Return what is sent of an exception that has just been caught."""
        try:
            pickled = pickle.dumps(error)
        except Exception:  # noqa: BLE001 - then its text must do
            pickled = b""
        if len(pickled) > _MOST_BYTES:  # perhaps it has the block with it
            pickled = b""
        trace = shortened("".join(traceback.format_exception(error)))
        return cls(type(error).__name__, shortened(str(error)), trace, pickled, at)

    def error(self, stage: str = "worker", **place: Any) -> Exception:
        """Return the exception; a `StageError` with its text where it cannot be rebuilt."""
        original: BaseException | None = None
        with contextlib.suppress(Exception):  # its class may be unknown here
            original = pickle.loads(self._pickled)
        if not isinstance(original, Exception):
            original = StageError(stage, f"{self.kind}: {self.text}", **place)
        original.__cause__ = self
        return original

    def __str__(self) -> str:
        return f"\n{self.trace}"


def shortened(text: str, limit: int = _MOST_TEXT) -> str:
    """Return a text without its middle if it has more characters than `limit`."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... [{len(text) - 2 * half} characters] ... {text[-half:]}"
