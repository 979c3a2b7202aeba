"""The content of a journal, read line by line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import InputNotFoundError, StorageError

__all__ = ["BlockKey", "BlockRecord", "JournalContent", "read_journal"]

#: A block's index, or its position.
BlockKey = int | tuple[int, ...]


@dataclass(slots=True)
class BlockRecord:
    """What a journal records of one block in one stage.

    Attributes
    ----------
    state : str
        ``"started"``, ``"done"`` or ``"failed"``; a block that is started
        and neither of the others was interrupted, or is being worked on.
    attempts : int
        How often it was tried since the outcome was last forgotten.
    seconds, peak_bytes
        Of the last attempt that ended; None if not known.
    error, traceback
        Of the last attempt that failed, empty if none did.
    result
        What the block returned, as far as JSON can hold it.
    """

    state: Literal["started", "done", "failed"] = "started"
    attempts: int = 0
    seconds: float | None = None
    peak_bytes: int | None = None
    error: str = ""
    traceback: str = ""
    result: dict[str, Any] | None = None


@dataclass(slots=True)
class JournalContent:
    """A journal as it was read.

    Attributes
    ----------
    fingerprint : dict or None
        What the blocks were made from; None if no run has begun.
    stages : dict
        For each stage the records of its blocks.
    runs : int
        How many runs have written to it.
    torn : int
        Number of lines that could not be read.
    notes : list
        Lines about the run as a whole, oldest first.
    """

    fingerprint: dict[str, Any] | None = None
    stages: dict[str, dict[BlockKey, BlockRecord]] = field(default_factory=dict)
    runs: int = 0
    torn: int = 0
    notes: list[dict[str, Any]] = field(default_factory=list)

    def learn(self, line: Mapping[str, Any]) -> None:
        """Take in one line."""
        event = line.get("event")
        if event == "begin":
            self.runs += 1
            self.fingerprint = line.get("fingerprint")
            if line.get("fresh"):
                self.stages.clear()
        elif event == "forget":
            self._forget(line)
        elif event in ("started", "done", "failed") and "block" in line:
            self._learn_block(str(event), line)
        else:
            self.notes.append(dict(line))

    def _forget(self, line: Mapping[str, Any]) -> None:
        records = self.stages.get(str(line.get("stage")), {})
        if line.get("blocks") is None:
            records.clear()
        for block in line.get("blocks") or ():
            records.pop(_key(block), None)

    def _learn_block(self, event: str, line: Mapping[str, Any]) -> None:
        records = self.stages.setdefault(str(line.get("stage")), {})
        record = records.setdefault(_key(line["block"]), BlockRecord())
        if event == "started":
            record.state = "started"
            record.attempts += 1
            return
        record.seconds = _number(line.get("seconds"))
        peak = _number(line.get("peak_bytes"))
        record.peak_bytes = None if peak is None else int(peak)
        if event == "done":
            result = line.get("result")
            record.state = "done"
            record.result = result if isinstance(result, dict) else None
        else:
            record.state = "failed"
            record.error = str(line.get("error", ""))
            record.traceback = str(line.get("traceback", ""))


def read_journal(path: str | os.PathLike[str]) -> JournalContent:
    """Read a journal, which may still be written."""
    content = JournalContent()
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    line_content = json.loads(line)
                except ValueError:
                    content.torn += bool(line.strip())
                    continue
                if isinstance(line_content, dict):
                    try:
                        content.learn(line_content)
                    except (ValueError, TypeError, OverflowError):
                        content.torn += 1  # it names no block
    except FileNotFoundError as err:
        raise InputNotFoundError("there is no journal", path=path) from err
    except OSError as err:
        raise StorageError(f"the journal cannot be read: {err.strerror}", path=path) from err
    return content


def _number(value: Any) -> float | None:
    """Return a number that can be one of bytes or seconds."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_one and 0 <= value < math.inf else None


def _key(block: Any) -> BlockKey:
    return tuple(block) if isinstance(block, (list, tuple)) else int(block)
