"""The file of provisional events of a recording that is still written.

Others may read it while it grows (SWMR). Beside the events it has of each frame
checksums of all that decided about its events, so that a run of the same recipe
takes over what it would find again (`MeasuredBefore`). Frames whose background
is another one by now are measured again, into a table of their own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from .. import __version__
from ..background.sparse_median import KnownBursts
from ..errors import CytovoxError, OutputExistsError
from ..read.opening import open_file
from ..read.permissions import Permissions
from ..run.fingerprint import plain
from ..run.rows import FrameRows
from ..write import HDF5Writer
from ..write.disk import DISK, storage_errors
from ..write.packing import IMAGE_ATTRIBUTES
from .chunk_slot_data import ChunkSlotData
from .job import DCNumPipelineJob

__all__ = [
    "AGAIN",
    "BURSTS",
    "GROUP",
    "MARK",
    "PER_FRAME",
    "STAMP",
    "Checks",
    "LiveFile",
    "MadeOf",
    "background_of",
    "checks_of_backgrounds",
    "checks_of_frames",
    "live_path",
    "open_live_file",
    "recipe_of",
    "remove_live_file",
    "stamp_of",
]

#: What a run needs besides the events, and the attribute there that marks our file.
GROUP, MARK = "cytovox_live", "made by"
#: The attribute that tells how the recording was when all of it had been measured.
STAMP = "recording"
#: Bytes of chunks that HDF5 keeps of each dataset.
_CACHE = 64 << 10
#: Bytes that are needed besides those of the events: parts of chunks, and metadata.
_MORE = 4 << 20
#: In the group: frames that were measured again, with their events.
AGAIN = "again"
#: In the group: the background of each burst of frames, by its first frame.
BURSTS = "bursts"
#: Of each frame: its index, number of events, what became of objects, and checksums of its
#: image and of its background.
PER_FRAME: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "frames": (np.uint64, ()),
    "counts": (np.uint32, ()),
    "objects": (np.uint32, (8,)),
    "images": (np.uint32, ()),
    "backgrounds": (np.uint32, ()),
}

Checks = npt.NDArray[np.uint32]
#: Of some frames: checksums of what the recording has of each, and of its background.
MadeOf = tuple[Checks, Checks]


def live_path(path_out: Path) -> Path:
    """Return where the provisional events of an output are."""
    return path_out.with_name(f"{path_out.stem}_live.rtdc")


def checks_of_frames(slot: ChunkSlotData) -> Checks:
    """Return a checksum of all but the background that decides about events, uint32 (n,)."""
    sums = np.empty(slot.length, np.uint32)
    for row in range(slot.length):
        check = zlib.crc32(slot.image[row].data, int(slot.duplicate[row]))
        if slot.bg_off is not None:
            check = zlib.crc32(slot.bg_off[row : row + 1].data, check)
        sums[row] = check
    return sums


def checks_of_backgrounds(images: Iterable[npt.NDArray[np.uint8]]) -> Checks:
    """Return a checksum of each background image, uint32 (n,)."""
    return np.array([zlib.crc32(np.ascontiguousarray(image).data) for image in images], np.uint32)


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """Return by what a recording is known to be as it was; device and number come first.

    No program can set the last of its times, so a change shows even if the other is set back.
    """
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def recipe_of(job: DCNumPipelineJob) -> dict[str, Any]:
    """Return what else decides about them; of the background, its images and its offset do."""
    ids = job.get_ppid(ret_dict=True)[1]
    kept = {name: ids[name] for name in ("gen_id", "dat_id", "seg_id", "feat_id", "gate_id")}
    has_offset = job["background_kwargs"].get("offset_correction", True)
    recipe: dict[str, Any] = plain(
        {
            **kept,
            "offset": job["background_code"] == "sparsemed" and bool(has_offset),
            "segmenter file": job.segmenter_source(),
            "version": __version__,
        }
    )
    return recipe


def background_of(job: DCNumPipelineJob) -> str:
    """Return by which method and options the background is made."""
    return str(job.get_ppid(ret_dict=True)[1]["bg_id"])


@dataclass(frozen=True, slots=True)
class _Table:
    """Datasets by name: what is kept of frames, and columns of their events."""

    frames: Mapping[str, h5py.Dataset]
    events: Mapping[str, h5py.Dataset]

    @classmethod
    def of(cls, frames: h5py.Group, events: h5py.Group) -> _Table:
        """Return those of two groups."""
        return cls({name: frames[name] for name in PER_FRAME}, dict(events.items()))


class LiveFile:
    """Writes provisional events; use it in a ``with`` statement.

    The file is made with the first rows, which have all columns.
    """

    def __init__(self, path: Path, job: DCNumPipelineJob, meta: Mapping[str, Any]) -> None:
        self.path = path
        self._recipe, self._background = recipe_of(job), background_of(job)
        self._meta = meta
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
        self.close()

    def append(self, rows: FrameRows, made_of: MadeOf, more: Mapping[str, Any]) -> None:
        """Add consecutive frames and their events; `more` are columns for those who read it."""
        events = {**rows.rows, **more}
        with storage_errors(self.path):
            if self._h5 is None:
                self._h5 = self._make(events, tuple(rows.rows))
                group = self._h5[GROUP]
                self._table = _Table.of(group, self._h5["events"])
                self._again = _Table.of(group[AGAIN], group[AGAIN]["events"])
            self._extend(self._table, events, _of_frames(rows, made_of))

    def replace(self, rows: FrameRows, made_of: MadeOf) -> None:
        """Add frames that were measured again."""
        with storage_errors(self.path):
            self._extend(self._again, rows.rows, _of_frames(rows, made_of))

    def _extend(self, table: _Table, events: Mapping[str, Any], frames: Mapping[str, Any]) -> None:
        """Add frames and their events, and let those who read the file see them."""
        assert self._h5 is not None  # noqa: S101 (for the type checker)
        _take_room(self._h5, sum(values.nbytes for values in events.values()))
        for name, values in events.items():
            _extend(table.events[name], values)
        for name, values in frames.items():  # last: they say that the events are there
            _extend(table.frames[name], values)
        self._h5.flush()
        _give_back_room(self._h5)

    def complete(self, stamp: tuple[int, ...], bursts: KnownBursts) -> None:
        """Note how the recording is, of which all frames were measured; nothing comes then."""
        if self._h5 is None:
            return
        self.close()
        with storage_errors(self.path), h5py.File(self.path, "r+", libver="latest") as h5:
            if bursts:
                group = h5[GROUP].create_group(BURSTS)
                images = np.stack([image for image, _ in bursts.values()])
                group.create_dataset("starts", data=list(bursts), fletcher32=True)
                group.create_dataset(
                    "images", data=images, chunks=(1, *images.shape[1:]), fletcher32=True
                )
            h5[GROUP].attrs[STAMP] = stamp

    def close(self) -> None:
        """Close the file; may be called again."""
        h5, self._h5 = self._h5, None
        if h5 is not None:
            with storage_errors(self.path):
                h5.close()

    def _make(self, events: Mapping[str, Any], columns: tuple[str, ...]) -> h5py.File:
        unfinished = self.path.with_name(f"{self.path.name}~")
        try:
            with h5py.File(unfinished, "w", libver="latest") as h5:
                _take_room(h5, 0)
                h5.attrs.update(self._meta)
                group = h5.create_group(GROUP)
                mark = {"recipe": self._recipe, "background": self._background, "columns": columns}
                group.attrs[MARK] = json.dumps(mark)
                _new_table(group, h5, events)
                again = group.create_group(AGAIN)
                _new_table(again, again, {name: events[name] for name in columns})
            DISK.replace(unfinished, self.path)  # who reads an earlier one goes on with that
        finally:
            unfinished.unlink(missing_ok=True)
        h5 = h5py.File(self.path, "r+", libver="latest", rdcc_nbytes=_CACHE)
        h5.swmr_mode = True
        return h5


def _of_frames(rows: FrameRows, made_of: MadeOf) -> dict[str, Any]:
    """Return what is kept of each frame."""
    of_recording, background = made_of
    return {
        "frames": np.arange(rows.start, rows.stop),
        "counts": rows.counts,
        "objects": rows.objects,
        "images": of_recording,
        "backgrounds": background,
    }


def _new_table(group: h5py.Group, parent: h5py.Group, events: Mapping[str, Any]) -> None:
    """Make what is kept of frames in a group, and a group of their events."""
    for name, (dtype, shape) in PER_FRAME.items():
        _new(group, name, shape, np.dtype(dtype))
    table = parent.create_group("events")
    for name, values in events.items():
        _new(table, name, values.shape[1:], values.dtype)


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


def _extend(dataset: h5py.Dataset, values: npt.NDArray[Any]) -> None:
    """Add rows; for few of them, h5py's own way takes ten times as long."""
    if len(values):
        start, *item = dataset.id.shape
        dataset.id.set_extent((start + len(values), *item))
        space = dataset.id.get_space()
        space.select_hyperslab((start, *(0 for _ in item)), values.shape)
        values = np.ascontiguousarray(values)
        dataset.id.write(h5py.h5s.create_simple(values.shape), space, values)


def open_live_file(path: Path) -> h5py.File:
    """Open such a file to read it, also while it grows."""
    # whoever wrote it may have been killed, which leaves it marked as open
    return open_file(path, Permissions(growing=True)).h5


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(CytovoxError, OSError, KeyError), open_live_file(path) as h5:
        return MARK in h5[GROUP].attrs
    return False


def remove_live_file(path_out: Path) -> None:
    """Remove the provisional events of an output, if there are any."""
    path = live_path(path_out)
    if path.is_file() and _is_ours(path):
        with contextlib.suppress(OSError):  # a program reads it, where that matters
            path.unlink()
