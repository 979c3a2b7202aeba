"""The file of provisional events of a recording that is still written, and what a run takes of it.

Others may read it while it grows (SWMR). Beside the events it has of each frame
a checksum of all that decided about its events, so that a run of the same recipe
takes over what it would find again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from .. import __version__
from ..errors import CytovoxError, OutputExistsError
from ..read.dataset import checked, read_checked
from ..read.opening import open_file
from ..read.permissions import Permissions
from ..run.fingerprint import plain
from ..run.rows import FrameRows
from ..write import HDF5Writer
from ..write.disk import DISK, storage_errors
from ..write.packing import IMAGE_ATTRIBUTES
from .chunk_slot_data import ChunkSlotData
from .job import DCNumPipelineJob

__all__ = ["LiveFile", "MeasuredBefore", "live_path", "made_of", "remove_live_file"]

#: What a run needs besides the events, and the attribute there that marks our file.
_GROUP, _MARK = "cytovox_live", "made by"
#: Bytes that are needed besides those of the events: parts of chunks, and metadata.
_MORE = 4 << 20
#: Events whose features are read at once.
_EVENTS = 4096
#: Of each frame: number of events, what became of objects, and checksums of what it was.
_PER_FRAME: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "counts": (np.uint32, ()),
    "objects": (np.uint32, (8,)),
    "made_of": (np.uint64, ()),
}

Checks = npt.NDArray[np.uint64]


def live_path(path_out: Path) -> Path:
    """Return where the provisional events of an output are."""
    return path_out.with_name(f"{path_out.stem}_live.rtdc")


def made_of(slot: ChunkSlotData) -> Checks:
    """Return a checksum of all that decides about the events of each frame, uint64 (n,)."""
    sums = np.empty(slot.length, np.uint64)
    for row in range(slot.length):
        background = int(slot.duplicate[row])
        if slot.image_bg is not None:
            background = zlib.crc32(slot.image_bg[row].data, background)
        if slot.bg_off is not None:
            background = zlib.crc32(slot.bg_off[row : row + 1].data, background)
        sums[row] = zlib.crc32(slot.image[row].data) << 32 | background
    return sums


def _recipe_of(job: DCNumPipelineJob) -> dict[str, Any]:
    """Return what else decides about them; of the background, its images do."""
    ids = job.get_ppid(ret_dict=True)[1]
    kept = {name: ids[name] for name in ("gen_id", "dat_id", "seg_id", "feat_id", "gate_id")}
    recipe: dict[str, Any] = plain(
        {**kept, "segmenter file": job.segmenter_source(), "version": __version__}
    )
    return recipe


class LiveFile:
    """Writes provisional events; use it in a ``with`` statement.

    The file is made with the first rows, which have all columns.
    """

    def __init__(self, path: Path, job: DCNumPipelineJob, meta: Mapping[str, Any]) -> None:
        self.path = path
        self._recipe, self._meta = _recipe_of(job), meta
        self._h5: h5py.File | None = None

    def __enter__(self) -> Self:
        if self.path.exists() and not _is_ours(self.path):
            raise OutputExistsError(
                "this is not a file of provisional events",
                path=self.path,
                hint="move it, or choose another output",
            )
        return self

    def __exit__(self, *error: object) -> None:
        h5, self._h5 = self._h5, None
        if h5 is not None:
            with storage_errors(self.path):
                h5.close()

    def append(self, rows: FrameRows, checks: Checks, more: Mapping[str, Any]) -> None:
        """Add consecutive frames and their events; `more` are columns for those who read it."""
        events = {**rows.rows, **more}
        frames = {"counts": rows.counts, "objects": rows.objects, "made_of": checks}
        with storage_errors(self.path):
            if self._h5 is None:
                self._h5 = self._make(events, tuple(rows.rows))
            _take_room(self._h5, sum(values.nbytes for values in events.values()))
            _extend(self._h5["events"], events)
            _extend(self._h5[_GROUP], frames)  # last: they say that the events are there
            self._h5.flush()
            _give_back_room(self._h5)

    def _make(self, events: Mapping[str, Any], columns: tuple[str, ...]) -> h5py.File:
        unfinished = self.path.with_name(f"{self.path.name}~")
        try:
            with h5py.File(unfinished, "w", libver="latest") as h5:
                _take_room(h5, 0)
                h5.attrs.update(self._meta)
                group = h5.create_group("events")
                for name, values in events.items():
                    _new(group, name, values.shape[1:], values.dtype)
                group = h5.create_group(_GROUP)
                group.attrs[_MARK] = json.dumps({"recipe": self._recipe, "columns": columns})
                for name, (dtype, shape) in _PER_FRAME.items():
                    _new(group, name, shape, np.dtype(dtype))
            DISK.replace(unfinished, self.path)  # who reads an earlier one goes on with that
        finally:
            unfinished.unlink(missing_ok=True)
        h5 = h5py.File(self.path, "r+", libver="latest")
        h5.swmr_mode = True
        return h5


def _take_room(h5: h5py.File, size: int) -> None:
    """Let the disk refuse now what it would refuse to HDF5, which cannot close its file then."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(h5.id.get_vfd_handle(), h5.id.get_filesize(), size + _MORE)
    except OSError as err:
        if err.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise  # of the others, the storage does not know what was asked


def _give_back_room(h5: h5py.File) -> None:
    """Return what HDF5, which has written all that it has, did not need."""
    if hasattr(os, "posix_fallocate"):
        os.ftruncate(h5.id.get_vfd_handle(), h5.id.get_filesize())


def _new(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    zstd = dict(hdf5plugin.Zstd(clevel=1)) if len(shape) == 2 else {}
    chunks = HDF5Writer.get_best_nd_chunks(shape, dtype)
    how = {"maxshape": (None, *shape), "chunks": chunks, "fletcher32": True, **zstd}
    dataset = group.create_dataset(name, (0, *shape), dtype, **how)
    if len(shape) == 2:
        dataset.attrs.update(IMAGE_ATTRIBUTES)


def _extend(group: h5py.Group, values: Mapping[str, Any]) -> None:
    for name, more in values.items():
        if len(more):
            dataset = group[name]
            dataset.resize(len(dataset) + len(more), axis=0)
            dataset[-len(more) :] = more


def _open(path: Path) -> h5py.File:
    # whoever wrote it may have been killed, which leaves it marked as open
    return open_file(path, Permissions(growing=True)).h5


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(CytovoxError, OSError, KeyError), _open(path) as h5:
        return _MARK in h5[_GROUP].attrs
    return False


def remove_live_file(path_out: Path) -> None:
    """Remove the provisional events of an output, if there are any."""
    path = live_path(path_out)
    if path.is_file() and _is_ours(path):
        with contextlib.suppress(OSError):  # a program reads it, where that matters
            path.unlink()


class MeasuredBefore:
    """What `cytovox live` has measured of a recording."""

    def __init__(self, h5: h5py.File, columns: list[str]) -> None:
        self._h5, frames = h5, h5[_GROUP]
        events = {name: checked(h5["events"][name]) for name in columns}
        self._names = columns
        self._scalars = {name: column for name, column in events.items() if column.ndim == 1}
        self._images = {name: column for name, column in events.items() if column.ndim > 1}
        self._objects = checked(frames["objects"])
        self._blocks: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._lock = threading.Lock()
        number = min(len(frames[name]) for name in _PER_FRAME)
        counts = read_checked(frames["counts"], slice(number)).astype(np.int64)
        ends = np.cumsum(counts)
        there = min(map(len, events.values()))
        # a writer that was killed may have left frames whose events are not there
        number = int(np.searchsorted(ends, there, side="right"))
        self._counts, self._ends = counts[:number], ends[:number]
        self._checks: Checks = read_checked(frames["made_of"], slice(number))
        #: Frames whose events were taken from here.
        self.frames = 0

    @classmethod
    def find(cls, path_out: Path, job: DCNumPipelineJob) -> MeasuredBefore | None:
        """Return what is there for an output, if it is of the same recipe."""
        path = live_path(path_out)
        if not path.is_file() or job["gate_kwargs"].get("online_gates"):
            return None  # the gates of the instrument may have changed
        with contextlib.ExitStack() as stack:
            try:
                h5 = stack.enter_context(_open(path))
                mark = json.loads(h5[_GROUP].attrs[_MARK])
                if mark["recipe"] != _recipe_of(job):
                    return None
                found = cls(h5, mark["columns"])
            except (CytovoxError, OSError, RuntimeError, LookupError, TypeError, ValueError):
                return None  # it is damaged, or another program's
            stack.pop_all()
            return found

    def close(self) -> None:
        """Close the file."""
        self._h5.close()

    def fits(self, start: int, slot: ChunkSlotData) -> bool:
        """Return whether the frames of a slot, from `start` on, would have the same events."""
        kept = self._checks[start : start + slot.length]
        return np.array_equal(made_of(slot), kept)

    def rows(self, start: int, stop: int) -> FrameRows | None:
        """Return the events of some frames; None if they cannot be read."""
        counts = self._counts[start:stop]
        end = int(self._ends[stop - 1])
        part = slice(end - int(counts.sum()), end)
        try:
            with self._lock:
                rows = self._scalars_of(part)
                objects = read_checked(self._objects, slice(start, stop))
                self.frames += stop - start
            rows |= {name: read_checked(column, part) for name, column in self._images.items()}
        except (CytovoxError, OSError, RuntimeError):
            return None  # it is measured again
        rows = {name: rows[name] for name in self._names}
        return FrameRows(start, counts, rows, objects.astype(np.int64))

    def _scalars_of(self, part: slice) -> dict[str, npt.NDArray[Any]]:
        """Return features of some events, of which many are read at once."""
        numbers = range(part.start // _EVENTS, -(-part.stop // _EVENTS))
        for number in set(numbers).difference(self._blocks):
            rows = slice(number * _EVENTS, (number + 1) * _EVENTS)
            self._blocks[number] = {
                name: read_checked(column, rows) for name, column in self._scalars.items()
            }
        for number in [number for number in self._blocks if number < numbers.start - 1]:
            del self._blocks[number]
        first = numbers.start * _EVENTS
        within = slice(part.start - first, part.stop - first)
        none = {name: np.empty(0, column.dtype) for name, column in self._scalars.items()}
        blocks = [none, *(self._blocks[number] for number in numbers)]
        return {name: np.concatenate([b[name] for b in blocks])[within] for name in none}
