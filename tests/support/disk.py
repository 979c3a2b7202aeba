"""A disk that records what is done to it, and what a power cut would leave.

A power cut is played back from the record: what a file received before its last
synchronisation is there; of what came later any part may be missing, and a
write may be torn. New and changed names are kept in order, but the last ones
may be missing as well. That is what journaling file systems promise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cytovox.write.disk import Disk, DiskFile

__all__ = ["Operation", "RecordingDisk", "after_kill", "after_power_cut"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the system.

    Parameters
    ----------
    kind
        ``"create"``, ``"write"``, ``"truncate"``, ``"sync"``, ``"rename"``,
        ``"remove"`` or ``"sync folder"``.
    file
        Number of the file; a file keeps its number when it is renamed.
    place
        First byte of a write, or new length.
    data
        What was written, or was there already when the file was first opened.
    path, target
        Name, and new name.
    """

    kind: str
    file: int = -1
    place: int = 0
    data: bytes = b""
    path: Path | None = None
    target: Path | None = None


class _RecordedFile(DiskFile):
    def __init__(self, path: Path, mode: str, number: int, record: list[Operation]) -> None:
        super().__init__(path, mode)
        self._number = number
        self._record = record

    def write_at(self, offset: int, view: memoryview) -> int:
        done = super().write_at(offset, view)
        self._record.append(Operation("write", self._number, offset, bytes(view[:done])))
        return done

    def truncate(self, size: int) -> None:
        super().truncate(size)
        self._record.append(Operation("truncate", self._number, size))

    def sync(self) -> None:
        self._record.append(Operation("sync", self._number))


class RecordingDisk(Disk):
    """Does what is asked, and notes it; nothing is really synchronised."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._numbers: dict[Path, int] = {}
        self._count = 0

    def open(self, path: Path, mode: str) -> DiskFile:
        """Open a file for reading and writing."""
        known = path in self._numbers and path.exists()
        there = path.read_bytes() if mode == "r+b" and not known else b""
        number = self._numbers[path] if known else self._count
        file = _RecordedFile(path, mode, number, self.operations)
        if not known:
            self._count += 1
            self._numbers[path] = number
            kind = "create" if mode != "r+b" else "found"
            self.operations.append(Operation(kind, number, data=there, path=path))
        elif mode == "w+b":
            self.operations.append(Operation("truncate", number, 0))
        return file

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another one, all at once."""
        super().replace(source, target)
        self._renamed(source, target)

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename a file, but never over an existing one."""
        super().rename_new(source, target)
        self._renamed(source, target)

    def _renamed(self, source: Path, target: Path) -> None:
        number = self._numbers.pop(source, -1)
        self._numbers[target] = number
        self.operations.append(Operation("rename", number, path=source, target=target))

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        super().remove(path)
        self.operations.append(Operation("remove", self._numbers.pop(path, -1), path=path))

    def sync_folder(self, folder: Path) -> None:
        """Note that names are synchronised."""
        self.operations.append(Operation("sync folder", path=folder))


def after_kill(operations: Sequence[Operation], stop: int, torn: float = 0.0) -> dict[Path, bytes]:
    """Return the files as they are after the writer was killed."""
    done = list(operations[:stop])
    if torn and stop < len(operations):
        done += _torn(operations[stop], torn)
    return _played(done)


def after_power_cut(
    operations: Sequence[Operation], stop: int, rng: random.Random
) -> dict[Path, bytes]:
    """Return the files as a power cut may have left them."""
    done = operations[:stop]
    synced = {op.file: i for i, op in enumerate(done) if op.kind == "sync"}
    folder = max((i for i, op in enumerate(done) if op.kind == "sync folder"), default=-1)
    names = [i for i, op in enumerate(done) if op.kind in _NAMES and i > folder]
    lost_from = rng.choice([*names, stop]) if names else stop
    share = rng.choice([0.0, 0.5, 0.9, 1.0])
    kept: list[Operation] = []
    for i, op in enumerate(done):
        if op.kind in _NAMES:
            if i <= folder or i < lost_from:
                kept.append(op)
        elif op.kind in ("write", "truncate") and i > synced.get(op.file, -1):
            if rng.random() < share:
                kept += _torn(op, rng.random()) if rng.random() < 0.1 else [op]
        else:
            kept.append(op)
    return _played(kept)


_NAMES = ("create", "rename", "remove")


def _torn(operation: Operation, share: float) -> list[Operation]:
    if operation.kind != "write":
        return []
    data = operation.data[: int(len(operation.data) * share)]
    return [Operation("write", operation.file, operation.place, data)]


def _played(operations: Sequence[Operation]) -> dict[Path, bytes]:
    """Return the content of each name after some operations."""
    contents: dict[int, bytearray] = {}
    names: dict[Path, int] = {}
    for op in operations:
        if op.kind in ("create", "found"):
            contents[op.file] = bytearray(op.data)
    for op in operations:
        content = contents.setdefault(op.file, bytearray())
        if op.kind in ("create", "found"):
            assert op.path is not None
            names[op.path] = op.file
        elif op.kind == "write":
            content.extend(bytes(max(0, op.place - len(content))))
            content[op.place : op.place + len(op.data)] = op.data
        elif op.kind == "truncate":
            content.extend(bytes(max(0, op.place - len(content))))
            del content[op.place :]
        elif op.kind in ("rename", "remove"):
            _rename(names, op)
    return {path: bytes(contents[number]) for path, number in names.items()}


def _rename(names: dict[Path, int], operation: Operation) -> None:
    assert operation.path is not None
    number = names.pop(operation.path, None)
    if operation.target is not None and number is not None:
        names[operation.target] = number
