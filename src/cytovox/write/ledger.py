"""A ledger of what is written, with which another run resumes after a kill.

HDF5 changes what it has written before, so a file whose writer was killed
cannot be read. But a whole chunk of events is written once, in one piece, and
stays where it is. The ledger beside the file notes feature, place, size and
checksum of each. After a kill the chunks are read from the torn file by their
places, and written into a new file.

A ledger is a sequence of records. Each is a checkpoint: it has the chunks and
the frames that have come since the record before it, and the rows that make up
no whole chunk yet. Checksums of records form a chain, so a reader stops at
the first record that was torn. A checkpoint holds if all chunks up to it are in
the file, as their checksums show. So after a power cut, where a disk may have
kept later writes and lost earlier ones, an earlier checkpoint holds; at least
the last durable one, for which the file was synchronised before the ledger.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from ..run.rows import CAUSES
from .disk import DISK, Disk, DiskFile, Sink
from .packing import write_chunk
from .writer import HDF5Writer

__all__ = [
    "CHUNK_NOTE",
    "FRAMES",
    "Checkpoint",
    "Ledger",
    "Record",
    "bytes_to_copy",
    "complete_checkpoint",
    "read_ledger",
    "salvage",
]

#: Frame of each event. It is made anew from the number of events in each frame,
#: since its room in the file is used again once frame data are with the events.
FRAMES = "index_unmapped"
#: Feature, size, checksum, and place of a chunk.
CHUNK_NOTE = struct.Struct("<IIIQ")
#: Bytes of the description and of the rest of a record.
_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"CVL1"
_CHECK = struct.Struct("<I")
#: The ledger is written anew when rows of earlier checkpoints have made it so much
#: longer [bytes].
_SPENT_BYTES = 16 << 20
#: By these first bytes of a chunk its write is recognised.
_BEGINNING = 64

Rows = npt.NDArray[Any]
Counts = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Where the writing of events stands."""

    frames: int = 0
    events: int = 0
    #: The sum of `FrameRows.objects`.
    objects: tuple[int, ...] = (0,) * (1 + len(CAUSES))
    #: Number of events of each frame.
    counts: Counts = field(default_factory=lambda: np.empty(0, np.uint32))
    #: Rows by feature that follow those in the file.
    rests: Mapping[str, Rows] = field(default_factory=dict)
    #: Whether the file is finished altogether.
    is_complete: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A checkpoint as the ledger has it: what came since the record before it."""

    #: Name of the file that has the chunks.
    file: str
    frames: int
    events: int
    objects: tuple[int, ...]
    #: Length of a file that is finished altogether.
    size: int | None = None
    #: All features, to whose places here chunks refer, and their rows beside the file.
    features: tuple[str, ...] = ()
    rests: tuple[Rows, ...] = ()
    #: Notes of new chunks, and number of events of each new frame.
    chunks: bytes = b""
    counts: Counts = field(default_factory=lambda: np.empty(0, np.uint32))

    def encode(self, check: int) -> bytes:
        """Return the bytes of a record that follows one with this checksum."""
        record = {
            "file": self.file,
            "frames": self.frames,
            "events": self.events,
            "objects": self.objects,
            "size": self.size,
            "features": [
                [name, rest.dtype.str, rest.shape]
                for name, rest in zip(self.features, self.rests, strict=True)
            ],
            "parts": [len(self.chunks), self.counts.nbytes],
        }
        description = json.dumps(record).encode()
        rows = [np.ascontiguousarray(rest).reshape(-1).view(np.uint8).data for rest in self.rests]
        body: list[bytes | memoryview] = [self.chunks, self.counts.tobytes(), *rows]
        head = _HEAD.pack(_MAGIC, len(description), sum(map(len, body)))
        content = b"".join([head, description, *body])
        return content + _CHECK.pack(zlib.crc32(content, check))

    @classmethod
    def decode(cls, description: bytes, body: memoryview) -> Record:
        """Return the record that `encode` has written."""
        content = json.loads(description)
        chunks, counts = content["parts"]
        place = chunks + counts
        rests = []
        for _, kind, shape in content["features"]:
            number = int(np.prod(shape, dtype=np.int64))
            rest = np.frombuffer(body, np.dtype(kind), number, place)
            rests.append(rest.reshape(shape))
            place += rest.nbytes
        return cls(
            file=str(content["file"]),
            frames=int(content["frames"]),
            events=int(content["events"]),
            objects=tuple(int(number) for number in content["objects"]),
            size=None if content["size"] is None else int(content["size"]),
            features=tuple(str(name) for name, *_ in content["features"]),
            rests=tuple(rests),
            chunks=bytes(body[:chunks]),
            counts=np.frombuffer(body, np.uint32, counts // 4, chunks),
        )


def read_ledger(path: Path) -> list[Record]:
    """Return the records of a ledger that are whole, those of one file only."""
    try:
        view = memoryview(path.read_bytes())
    except OSError:
        return []
    records: list[Record] = []
    start = check = 0
    while len(view) - start >= _HEAD.size:
        magic, described, others = _HEAD.unpack_from(view, start)
        body = start + _HEAD.size + described
        stop = body + others
        if magic != _MAGIC or stop + _CHECK.size > len(view):
            break
        check = zlib.crc32(view[start:stop], check)
        if _CHECK.unpack_from(view, stop) != (check,):
            break
        try:
            record = Record.decode(bytes(view[body - described : body]), view[body:stop])
        except (KeyError, TypeError, ValueError):
            break
        if records and record.file != records[0].file:
            break
        records.append(record)
        start, check = stop + _CHECK.size, _CHECK.unpack_from(view, stop)[0]
    return records


class Ledger:
    """Writes chunks through a sink and notes them; makes checkpoints.

    `seconds` are between two checkpoints, `durable_seconds` between two that
    outlive a power cut; `on_durable` receives frames and events of each of these.
    """

    def __init__(
        self,
        path: Path,
        sink: Sink,
        *,
        seconds: float = 0.0,
        durable_seconds: float = 0.0,
        on_durable: Callable[[int, int], None] | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.path = path
        self.sink = sink
        self.begin = Checkpoint()
        self.seconds = seconds
        self.durable_seconds = durable_seconds
        self._on_durable = on_durable
        self._disk = disk or DISK
        self._file: DiskFile | None = None
        self._size = self._check = self._least = 0
        self._is_named = False
        self._features: dict[str, int] = {}
        self._chunks = bytearray()
        self._counts: list[Counts] = []
        #: How many bytes of chunks, and how many counts, the ledger has already.
        self._noted = (0, 0)
        self._frames = self._events = 0
        self._last = self._last_durable = time.monotonic()

    def write_chunk(
        self, name: str, dataset: h5py.Dataset, row: int, content: bytes, length: int
    ) -> None:
        """Write a chunk as `packing.write_chunk`, and remember where it is."""
        places: list[int] = []

        def look(place: int, view: memoryview) -> None:
            if len(view) == len(content) and view[:_BEGINNING] == content[:_BEGINNING]:
                places.append(place)

        self.sink.on_write = look
        try:
            write_chunk(dataset, row, content, length)
        finally:
            self.sink.on_write = None
        if name == FRAMES:
            return
        if not places:  # then the library knows, but has to search for it
            first = (row, *(0 for _ in dataset.shape[1:]))
            places.append(dataset.id.get_chunk_info_by_coord(first).byte_offset)
        number = self._features.setdefault(name, len(self._features))
        self._chunks += CHUNK_NOTE.pack(number, len(content), zlib.crc32(content), places[-1])

    def count(self, counts: npt.NDArray[Any]) -> None:
        """Take the number of events of each of the next frames as done."""
        self._counts.append(counts.astype(np.uint32))
        self._frames += len(counts)
        self._events += int(counts.sum())

    def forget(self) -> None:
        """Let the file be empty again."""
        self.sink.truncate(0)
        self._features.clear()
        self._chunks.clear()

    def restart(self, checkpoint: Checkpoint) -> None:
        """Begin at a checkpoint, of which the chunks have been written."""
        self._counts = []
        self._frames = self._events = 0
        self.count(checkpoint.counts)
        self.begin = checkpoint
        self._note(checkpoint.objects, checkpoint.rests, durable=True)

    def is_due(self, *, is_last: bool = False) -> bool:
        """Return whether it is time for a checkpoint."""
        if is_last:
            return time.monotonic() - self._last_durable >= self.durable_seconds
        return time.monotonic() - self._last >= self.seconds

    def note(
        self, objects: tuple[int, ...], rests: Mapping[str, Rows], *, is_last: bool = False
    ) -> None:
        """Make a checkpoint of the frames that were counted."""
        durable = is_last or time.monotonic() - self._last_durable >= self.durable_seconds
        self._note(objects, rests, durable=durable)
        # What it took does not count, or a slow disk would do nothing else.
        self._last = time.monotonic()
        if durable:
            self._last_durable = self._last
            if self._on_durable is not None:
                self._on_durable(self._frames, self._events)

    def complete(self, frames: int, events: int, objects: tuple[int, ...]) -> None:
        """Note that the file is finished; nothing if there was no checkpoint."""
        if self._file is not None:
            size = self.sink.sync()
            self._append(Record(self.sink.path.name, frames, events, objects, size))
            self._file.sync()

    def close(self) -> None:
        """Close the ledger."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _note(self, objects: tuple[int, ...], rests: Mapping[str, Rows], *, durable: bool) -> None:
        if self.sink.error is not None:
            raise self.sink.error
        if durable:
            self.sink.sync()
        for name in rests:
            if name != FRAMES:
                self._features.setdefault(name, len(self._features))
        is_new = self._file is None or (durable and self._size > self._least + _SPENT_BYTES)
        if is_new:
            self._noted = (0, 0)
        chunks, counts = self._noted
        record = Record(
            self.sink.path.name,
            self._frames,
            self._events,
            objects,
            features=tuple(self._features),
            rests=tuple(rests[name] for name in self._features),
            chunks=bytes(self._chunks[chunks:]),
            counts=np.concatenate([np.empty(0, np.uint32), *self._counts[counts:]]),
        )
        self._noted = (len(self._chunks), len(self._counts))
        if is_new:
            self._begin(record, durable=durable)
        else:
            self._append(record)
        if durable and self._file is not None:
            self._file.sync()
            if not self._is_named:
                self._disk.sync_folder(self.path.parent)
                self._is_named = True

    def _begin(self, record: Record, *, durable: bool) -> None:
        """Let a new ledger take the place of the old one, at once."""
        self.close()
        fresh = self.path.with_name(f"{self.path.name}~")
        self._file = self._disk.open(fresh, "w+b")
        self._size = self._check = 0
        self._append(record)
        self._least = self._size
        if durable:
            self._file.sync()
        self.close()  # Windows renames no open files
        self._disk.replace(fresh, self.path)
        self._is_named = False
        self._file = self._disk.open(self.path, "r+b")

    def _append(self, record: Record) -> None:
        assert self._file is not None
        content = record.encode(self._check)
        view, done = memoryview(content), 0
        while done < len(view):
            done += self._file.write_at(self._size + done, view[done:])
        self._size += len(content)
        (self._check,) = _CHECK.unpack_from(content, len(content) - _CHECK.size)


def complete_checkpoint(records: Sequence[Record], file: Path) -> Checkpoint | None:
    """Return the last checkpoint if the file is finished and has the size that was noted."""
    last = records[-1]
    if last.size is None or not file.is_file() or file.stat().st_size != last.size:
        return None
    return Checkpoint(last.frames, last.events, last.objects, is_complete=True)


def bytes_to_copy(records: Sequence[Record]) -> int:
    """Return the size of all chunks."""
    return sum(size for r in records for _, size, *_ in CHUNK_NOTE.iter_unpack(r.chunks))


def salvage(
    records: Sequence[Record],
    torn: Path,
    ledger: Ledger,
    ds_kwds: Mapping[str, Any],
    on_chunk: Callable[[], None],
) -> Checkpoint | None:
    """Copy the chunks of the last checkpoint that holds into the file of a new ledger.

    The new ledger takes the place of the old one at the end. Returns the
    checkpoint, or None if none holds. `on_chunk` is called before each chunk.
    """
    records = [record for record in records if record.size is None]
    while records:
        ledger.forget()
        whole = _copy(records, torn, ledger, ds_kwds, on_chunk)
        if whole == len(records):
            checkpoint = _checkpoint(records)
            ledger.restart(checkpoint)
            return checkpoint
        records = records[:whole]
    return None


def _copy(
    records: Sequence[Record],
    torn: Path,
    ledger: Ledger,
    ds_kwds: Mapping[str, Any],
    on_chunk: Callable[[], None],
) -> int:
    """Copy chunks up to the first that is not there; return how many records hold."""
    last = records[-1]
    features = list(zip(last.features, last.rests, strict=True))
    with torn.open("rb", buffering=0) as file, HDF5Writer(ledger.sink, ds_kwds=ds_kwds) as writer:
        datasets = [
            writer.require_feature(name, rest.shape[1:], rest.dtype)[0] for name, rest in features
        ]
        sizes = [dataset.chunks[0] for dataset in datasets]
        lengths = [0] * len(features)
        for number, record in enumerate(records):
            for feature, size, check, place in CHUNK_NOTE.iter_unpack(record.chunks):
                on_chunk()
                content = _read(file, place, size)
                if zlib.crc32(content) != check or feature >= len(features):
                    return number
                row = lengths[feature]
                lengths[feature] += sizes[feature]
                with writer.guard():
                    name, _ = features[feature]
                    ledger.write_chunk(name, datasets[feature], row, content, lengths[feature])
        writer.require_feature(FRAMES, (), np.uint32)
    counts = [record.counts for record in records]
    rows = [length + len(rest) for length, (_, rest) in zip(lengths, features, strict=True)]
    fits = {*rows, sum(int(part.sum()) for part in counts)} == {last.events}
    return len(records) if fits and sum(map(len, counts)) == last.frames else 0


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    """Return what is at a place; nothing if the disk does not give it."""
    try:
        file.seek(place)
        return file.read(size)
    except OSError:
        return b""


def _checkpoint(records: Sequence[Record]) -> Checkpoint:
    last = records[-1]
    counts = np.concatenate([record.counts for record in records])
    rests = {name: rest.copy() for name, rest in zip(last.features, last.rests, strict=True)}
    rests[FRAMES] = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    return Checkpoint(last.frames, last.events, last.objects, counts, rests)
