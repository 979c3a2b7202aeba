"""The journal of a run over blocks: what was begun, done and failed, line by line.

A journal is a text file of JSON objects, one a line, to which lines are only
ever added. A run that is killed while writing leaves at worst a torn last
line, which readers skip. A line is passed to the system at once, so it outlives
the process; to outlive the machine it is synchronised soon after, many lines
at a time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from ..errors import InputNotFoundError, OutputError, StorageError, UsageError
from .fingerprint import differences, plain
from .folder_sync import sync_file
from .lock import OutputLock

__all__ = [
    "BlockKey",
    "BlockRecord",
    "FingerprintChangedError",
    "Journal",
    "JournalContent",
    "read_journal",
]

#: A block's index, or its position.
BlockKey = int | tuple[int, ...]
#: Seconds between two synchronisations at least.
_SYNC = 0.2


@dataclass(slots=True)
class BlockRecord:
    """What a journal records of one block in one stage."""

    #: One that is only started was interrupted, or is being worked on.
    state: Literal["started", "done", "failed"] = "started"
    attempts: int = 0  # since the outcome was last forgotten
    seconds: float | None = None  # of the last attempt that ended, if known
    peak_bytes: int | None = None
    error: str = ""  # of the last attempt that failed
    traceback: str = ""
    result: dict[str, Any] | None = None  # as far as JSON can hold it


@dataclass(slots=True)
class JournalContent:
    """A journal as it was read."""

    fingerprint: dict[str, Any] | None = None  # what the blocks were made from
    stages: dict[str, dict[BlockKey, BlockRecord]] = field(default_factory=dict)
    runs: int = 0  # how many have written to it
    torn: int = 0  # lines that could not be read
    notes: list[dict[str, Any]] = field(default_factory=list)  # of the run, oldest first

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


class FingerprintChangedError(UsageError):
    """The journal belongs to another input, function, parameters or geometry."""

    def __init__(self, changes: Sequence[str], *, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"what is there was made differently: {'; '.join(changes)}",
            path=path,
            hint="use what it was made with, choose another output, or let it be computed again",
        )
        self.changes = list(changes)


class Journal:
    """A journal that is open for writing, by one run at a time."""

    def __init__(self, path: str | os.PathLike[str], *, guarded: bool = False) -> None:
        self.path = Path(path)
        #: None if the caller has a lock already.
        self._output_lock = None if guarded else OutputLock(self.path)
        self.content = JournalContent()
        self._fd = -1
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._dirty = False
        self._closing = threading.Event()
        self._syncer: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Open the file, refuse a second writer, and read what is there."""
        try:
            self._open()
            self.content = read_journal(self.path)
            if _is_torn(self._fd):
                self._write(b"\n")
        except BaseException:
            self._close()
            raise
        self._closing.clear()
        self._syncer = threading.Thread(target=self._keep_syncing, daemon=True)
        self._syncer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        with self._news:
            self._news.notify_all()
        if self._syncer is not None:
            self._syncer.join()
        with contextlib.suppress(OSError):  # the disk is full, as was said before
            sync_file(self._fd)
        self._close()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._output_lock is not None:
                self._output_lock.acquire()
            self._fd = os.open(self.path, flags, 0o666)
        except OutputError:
            raise
        except OSError as err:
            raise self._refused(err) from err

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if self._output_lock is not None:
            self._output_lock.release()

    def begin(
        self,
        fingerprint: Mapping[str, Any],
        *,
        on_change: Literal["refuse", "recompute"] = "refuse",
        resume: bool = True,
        **more: Any,
    ) -> list[str]:
        """Begin a run, and say what has changed since the last one."""
        before = self.content.fingerprint
        changes = [] if before is None or not resume else differences(before, fingerprint)
        if changes and on_change == "refuse":
            raise FingerprintChangedError(changes, path=self.path)
        fresh = before is not None and (bool(changes) or not resume)
        self._add("begin", fresh=fresh, changes=changes, fingerprint=plain(fingerprint), **more)
        self._sync()
        return changes

    def started(self, stage: str, block: BlockKey, **more: Any) -> None:
        """Record that a block is being worked on."""
        self._add("started", stage=stage, block=block, **more)

    def done(
        self,
        stage: str,
        block: BlockKey,
        *,
        seconds: float | None = None,
        peak_bytes: int | None = None,
        result: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Record that a block is done, and what it returned, if JSON can hold that."""
        used = {"seconds": _rounded(seconds), "peak_bytes": peak_bytes}
        self._add("done", stage=stage, block=block, **used, result=_as_json(result), **more)

    def failed(
        self,
        stage: str,
        block: BlockKey,
        *,
        error: str,
        traceback: str = "",
        seconds: float | None = None,
        peak_bytes: int | None = None,
        **more: Any,
    ) -> None:
        """Record that an attempt at a block has failed, and why."""
        used = {"seconds": _rounded(seconds), "peak_bytes": peak_bytes}
        told = {"error": error, **more, "traceback": traceback}
        self._add("failed", stage=stage, block=block, **used, **told)

    def forget(self, stage: str, blocks: Iterable[BlockKey] | None = None) -> None:
        """Let blocks of a stage, or all of them, be done again."""
        self._add("forget", stage=stage, blocks=None if blocks is None else list(blocks))

    def note(self, event: str, **more: Any) -> None:
        """Record something about the run as a whole."""
        self._add(event, **more)

    def records(self, stage: str) -> dict[BlockKey, BlockRecord]:
        """Return what is known of the blocks of a stage."""
        return self.content.stages.setdefault(stage, {})

    def completed(self, stage: str) -> set[BlockKey]:
        """Return which blocks of a stage are done."""
        return {key for key, record in self.records(stage).items() if record.state == "done"}

    def _add(self, event: str, **line: Any) -> None:
        record = {"t": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        record |= {key: value for key, value in line.items() if value is not None and value != ""}
        text = json.dumps(record, separators=(",", ":"), default=str)
        with self._lock:
            self._write(text.encode() + b"\n")
            self.content.learn(record)
        with self._news:
            self._dirty = True
            self._news.notify_all()

    def _write(self, content: bytes) -> None:
        if self._fd < 0:
            raise UsageError("the journal is not open", path=self.path, hint="use it with 'with'")
        try:
            while content:
                content = content[os.write(self._fd, content) :]
        except OSError as err:
            raise self._refused(err) from err

    def _sync(self) -> None:
        try:
            sync_file(self._fd)
        except OSError as err:
            raise self._refused(err) from err

    def _keep_syncing(self) -> None:
        while not self._closing.is_set():
            with self._news:
                self._news.wait_for(lambda: self._dirty or self._closing.is_set())
                self._dirty = False
            with contextlib.suppress(OSError):  # writing will say so
                sync_file(self._fd)
            self._closing.wait(_SYNC)

    def _refused(self, err: OSError) -> StorageError:
        return StorageError(
            f"the journal cannot be written: {err.strerror or err}",
            path=self.path,
            hint="make room or choose another place; what is done is not lost",
        )


def _is_torn(fd: int) -> bool:
    size = os.fstat(fd).st_size
    if not size:
        return False
    os.lseek(fd, size - 1, os.SEEK_SET)
    return os.read(fd, 1) != b"\n"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _as_json(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the part of a result that JSON can hold; arrays are kept elsewhere."""
    kept = {}
    for name, value in (result or {}).items():
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()
        if _is_simple(value):
            kept[str(name)] = value
    return kept or None


def _is_simple(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_simple(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return len(value) <= 64 and all(_is_simple(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
