"""What `cytovox live` has measured of a recording, for a run of the same recipe."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..background.sparse_median import KnownBursts, ranges_of
from ..errors import CytovoxError
from ..read.dataset import CheckedDataset, checked, read_checked
from ..run.rows import FrameRows, joined_rows
from .chunk_slot_data import ChunkSlotData
from .job import DCNumPipelineJob
from .live_file import (
    AGAIN,
    BURSTS,
    GROUP,
    MARK,
    PER_FRAME,
    STAMP,
    Checks,
    background_of,
    checks_of_backgrounds,
    checks_of_frames,
    live_path,
    open_live_file,
    recipe_of,
    stamp_of,
)

__all__ = ["MeasuredBefore", "known_bursts"]

#: Rows of scalar columns that are read at once.
_BLOCK = 4096


#: What is raised by a file that is damaged, of another program, or not there.
_UNREADABLE = (CytovoxError, OSError, RuntimeError, LookupError, TypeError, ValueError)


def _open(path_out: Path, job: DCNumPipelineJob) -> tuple[h5py.File, Mapping[str, Any], bool]:
    """Return the file of an output, what it is of, and whether the recording is as it was."""
    if job["gate_kwargs"].get("online_gates"):
        raise LookupError("the gates of the instrument may have changed")
    with contextlib.ExitStack() as stack:
        h5 = stack.enter_context(open_live_file(live_path(path_out)))
        mark = json.loads(h5[GROUP].attrs[MARK])
        if mark["recipe"] != recipe_of(job):
            raise LookupError("it is of another recipe")
        stamp = stamp_of(os.stat(job["path_in"]))
        is_unchanged = np.array_equal(h5[GROUP].attrs.get(STAMP, ()), stamp)
        stack.pop_all()
    return h5, mark, is_unchanged


def known_bursts(path_out: Path, job: DCNumPipelineJob) -> KnownBursts:
    """Return the backgrounds of bursts that need not be computed for an output."""
    try:
        h5, mark, is_unchanged = _open(path_out, job)
        with h5:
            if not is_unchanged or mark["background"] != background_of(job):
                return {}
            bursts = h5[GROUP][BURSTS]
            starts = read_checked(bursts["starts"]).tolist()
            images = read_checked(bursts["images"])
    except _UNREADABLE:
        return {}
    return {start: (image, ranges_of(image)) for start, image in zip(starts, images, strict=True)}


class MeasuredBefore:
    """The frames that were measured, each as it was measured last."""

    def __init__(self, h5: h5py.File, columns: list[str], *, is_unchanged: bool) -> None:
        self._h5, self._is_unchanged = h5, is_unchanged
        group = h5[GROUP]
        self._tables = [_Table(group, h5["events"], columns)]
        self._tables.append(_Table(group[AGAIN], group[AGAIN]["events"], columns))
        first, again = self._tables
        number = len(first.frames)
        later = np.flatnonzero(again.frames < number)
        # where a frame is there several times, the last one is kept
        self._table, self._row = np.zeros(number, np.int8), np.arange(number)
        self._table[again.frames[later]], self._row[again.frames[later]] = 1, later
        self._checks = {name: first.checks[name].copy() for name in ("images", "backgrounds")}
        for name, checks in self._checks.items():
            checks[again.frames[later]] = again.checks[name][later]
        self._wanted: Checks | None = None
        self._lock = threading.Lock()
        #: Frames whose events were taken from here.
        self.frames = 0

    @classmethod
    def find(cls, path_out: Path, job: DCNumPipelineJob) -> MeasuredBefore | None:
        """Return what is there for an output, if it is of the same recipe."""
        with contextlib.ExitStack() as stack:
            try:
                h5, mark, is_unchanged = _open(path_out, job)
                stack.enter_context(h5)
                found = cls(h5, mark["columns"], is_unchanged=is_unchanged)
            except _UNREADABLE:
                return None  # it is damaged, or another program's
            stack.pop_all()
            return found

    def close(self) -> None:
        """Close the file."""
        self._h5.close()

    def expect(self, images: npt.NDArray[np.uint8], mapping: npt.NDArray[np.int64]) -> None:
        """Note which background image the run has for each frame."""
        if self._is_unchanged:
            self._wanted = checks_of_backgrounds(images)[mapping]

    def knows(self, start: int, stop: int) -> bool:
        """Return whether frames would have the same events, if that is known without them."""
        if self._wanted is None:
            return False
        return np.array_equal(self._checks["backgrounds"][start:stop], self._wanted[start:stop])

    def fits(self, start: int, slot: ChunkSlotData) -> bool:
        """Return whether the frames of a slot, from `start` on, would have the same events."""
        part = slice(start, start + slot.length)
        background = np.zeros(slot.length, np.uint32)
        if slot.image_bg is not None:
            background = checks_of_backgrounds(slot.image_bg)
        return np.array_equal(self._checks["backgrounds"][part], background) and np.array_equal(
            self._checks["images"][part], checks_of_frames(slot)
        )

    def rows(self, start: int, stop: int) -> FrameRows | None:
        """Return the events of some frames; None if they cannot be read."""
        table, row = self._table[start:stop], self._row[start:stop]
        breaks = np.flatnonzero((np.diff(table) != 0) | (np.diff(row) != 1)) + 1
        bounds = [0, *breaks.tolist(), stop - start]
        try:
            parts = [
                self._tables[table[a]].rows(start + a, slice(row[a], row[a] + b - a), self._lock)
                for a, b in zip(bounds[:-1], bounds[1:], strict=True)
            ]
        except (CytovoxError, OSError, RuntimeError):
            return None  # it is measured again
        with self._lock:
            self.frames += stop - start
        return joined_rows(parts)


class _Table:
    """Frames that were measured, and their events."""

    def __init__(self, frames: h5py.Group, events: h5py.Group, columns: list[str]) -> None:
        found = {name: checked(events[name]) for name in columns}
        self._columns = columns
        self._images = {name: column for name, column in found.items() if column.ndim > 1}
        self._scalars = _Blocks({n: column for n, column in found.items() if column.ndim == 1})
        self._objects = _Blocks({"objects": checked(frames["objects"])})
        number = min(len(frames[name]) for name in PER_FRAME)
        self.counts = read_checked(frames["counts"], slice(number)).astype(np.int64)
        ends = np.cumsum(self.counts)
        # a writer that was killed may have left frames whose events are not there
        there = min(map(len, found.values()))
        number = int(np.searchsorted(ends, there, side="right"))
        self.counts, self._ends = self.counts[:number], ends[:number]
        self.frames = read_checked(frames["frames"], slice(number)).astype(np.int64)
        self.checks: Mapping[str, Checks] = {
            name: read_checked(frames[name], slice(number)) for name in ("images", "backgrounds")
        }

    def rows(self, first: int, part: slice, lock: threading.Lock) -> FrameRows:
        """Return some of the frames, of which the first has a number in the recording."""
        counts = self.counts[part]
        end = int(self._ends[part.stop - 1])
        events = slice(end - int(counts.sum()), end)
        with lock:
            columns = self._scalars.read(events)
            objects = self._objects.read(part)["objects"]
        columns |= {name: read_checked(column, events) for name, column in self._images.items()}
        in_order = {name: columns[name] for name in self._columns}
        return FrameRows(first, counts, in_order, objects.astype(np.int64))


class _Blocks:
    """Columns of which many rows are read at once, mostly one after the other."""

    def __init__(self, columns: Mapping[str, CheckedDataset]) -> None:
        self._columns = columns
        self._known: dict[int, dict[str, npt.NDArray[Any]]] = {}

    def read(self, part: slice) -> dict[str, npt.NDArray[Any]]:
        """Return some rows of all columns."""
        if part.start == part.stop:
            return {n: np.empty((0, *c.shape[1:]), c.dtype) for n, c in self._columns.items()}
        numbers = range(part.start // _BLOCK, -(-part.stop // _BLOCK))
        for number in set(numbers).difference(self._known):
            rows = slice(number * _BLOCK, (number + 1) * _BLOCK)
            self._known[number] = {
                name: read_checked(column, rows) for name, column in self._columns.items()
            }
        for number in [number for number in self._known if number < numbers.start - 1]:
            del self._known[number]
        first = numbers.start * _BLOCK
        within = slice(part.start - first, part.stop - first)
        blocks = [self._known[number] for number in numbers]
        if len(blocks) == 1:
            return {name: values[within] for name, values in blocks[0].items()}
        return {name: np.concatenate([b[name] for b in blocks])[within] for name in self._columns}
