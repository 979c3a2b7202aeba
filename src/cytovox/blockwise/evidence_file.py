"""Evidence of blocks, in memory and in files: what neighbours must know of a block.

A process appends the records of its blocks to a file of its own, so that a
million blocks do not become a million files, and no two processes write into
one. A record begins with a header of fixed size, followed by sections that are
compressed and have a checksum each. The latest whole record of a block counts;
what is torn is skipped.
"""

from __future__ import annotations

import os
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zstandard

from ..errors import StorageError
from ..kernels.block_sums import BlockSums
from ..kernels.lattice import Ids, Int64s
from ..kernels.packed import Packed
from ..run.folder_sync import replaced_file, sync_file
from .grid import Box

__all__ = [
    "STITCH_MODES",
    "Evidence",
    "EvidenceFolder",
    "Load",
    "StitchMode",
    "encode_evidence",
]

#: How labels of neighbouring blocks are joined; see `cytovox.blockwise.stitch`.
StitchMode = Literal["touch", "overlap", "owner", "none"]
#: All values of `StitchMode`.
STITCH_MODES: tuple[StitchMode, ...] = ("touch", "overlap", "owner", "none")

_MAGIC = b"CVE2"
#: Magic, checksum of what follows in the header, time, block, labels, checksum
#: of its labels (-1 if unknown), then bytes and checksums of the sections.
_HEAD = struct.Struct("<4sIQQQq4Q4I")
_SECTIONS = ("labels", "faces", "context", "sums")
_DTYPES = tuple(np.dtype(t) for t in ("?", "u2", "i4", "u4", "i8", "u8", "f8"))
#: Where the record of a block is.
_PLACE = np.dtype(
    {
        "names": ("time", "index", "count", "written", "at", "size", "pack"),
        "formats": ("u8", "u8", "u8", "i8", "u8", "u8", "u4"),
    }
)
#: Names the packs of this process, whatever other machine has such a process id.
_PROCESS = uuid.uuid4().hex[:12]
_SEARCH = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What must be known of a block to join its labels with those of its neighbours.

    Arrays of labels have the shape (count,) and are about the box that is written.
    """

    index: int
    count: int  # labels are 1 to this
    sizes: npt.NDArray[np.uint64]  # voxels
    at_seam: npt.NDArray[np.bool_]  # labels that touch the box of a neighbour
    clipped: npt.NDArray[np.bool_]  # those that reach the end of what was read, not of the volume
    faces: tuple[tuple[Ids | None, Ids | None], ...]  # first and last plane; None at the ends
    box: Box  # what was read within the volume
    shell: Packed | None = None  # labels of `box`, empty where no neighbour looks
    centres: Int64s | None = None  # voxel at the centre of each label as seen in `box`


#: Returns the evidence of a block by its index.
Load = Callable[[int], Evidence]


def encode_evidence(
    evidence: Evidence, sums: BlockSums | None = None, written: int | None = None
) -> bytes:
    """Return the record of a block: its evidence, its sums, and the checksum of its labels."""
    parts: tuple[Sequence[npt.NDArray[Any] | None], ...] = (
        (np.array(evidence.box, np.int64), evidence.sizes, evidence.at_seam, evidence.clipped),
        [plane for pair in evidence.faces for plane in pair],
        (*(evidence.shell or (None,) * 3), evidence.centres),
        () if sums is None else list(sums.arrays().values()),
    )
    compressor = zstandard.ZstdCompressor(level=1)
    sections = [compressor.compress(_as_bytes(arrays)) for arrays in parts]
    rest = _HEAD.pack(
        _MAGIC,
        0,
        time.time_ns(),
        evidence.index,
        evidence.count,
        -1 if written is None else written,
        *map(len, sections),
        *map(zlib.crc32, sections),
    )[8:]
    return b"".join([_MAGIC, struct.pack("<I", zlib.crc32(rest)), rest, *sections])


def _as_bytes(arrays: Sequence[npt.NDArray[Any] | None]) -> bytes:
    """Write arrays one after the other, each at a multiple of 8 bytes; None is kept."""
    about = [len(arrays)]
    data = []
    for array in arrays:
        if array is None:
            about.append(-1)
            continue
        about += [_DTYPES.index(array.dtype), array.ndim, *array.shape]
        data += [array.tobytes(), bytes(-array.nbytes % 8)]
    return b"".join([np.array(about, np.int64).tobytes(), *data])


def _as_arrays(content: bytes) -> list[Any]:
    """Return the arrays that were written by `_as_bytes`."""
    writable = bytearray(content)  # kernels are compiled for such arrays only
    numbers = memoryview(writable)[: len(writable) // 8 * 8].cast("q")
    kinds: list[tuple[int, tuple[int, ...]] | None] = []
    at = 1
    for _ in range(numbers[0]):
        if numbers[at] < 0:
            kinds.append(None)
            at += 1
        else:
            ndim = numbers[at + 1]
            kinds.append((numbers[at], tuple(numbers[at + 2 : at + 2 + ndim])))
            at += 2 + ndim
    start = 8 * at
    arrays: list[Any] = []
    for kind in kinds:
        if kind is None:
            arrays.append(None)
            continue
        array: npt.NDArray[Any] = np.ndarray(kind[1], _DTYPES[kind[0]], writable, start)
        arrays.append(array)
        start += array.nbytes + -array.nbytes % 8
    return arrays


class _Record:
    """A record that was read, of which sections are taken as needed."""

    def __init__(self, content: bytes) -> None:
        found = _header(content)
        if found is None or len(content) != found[0]:
            raise ValueError("its record is cut off")
        self._content = content
        self.index, self.count = found[2], found[3]
        self._sizes, self._checks = found[5], found[6]

    def is_whole(self) -> bool:
        """Return whether all sections are as they were written."""
        return all(map(self._is_sound, range(len(_SECTIONS))))

    def section(self, name: str) -> list[Any]:
        """Return the arrays of a section."""
        number = _SECTIONS.index(name)
        if not self._is_sound(number):
            raise ValueError(f"its {name} are damaged")
        return _as_arrays(zstandard.ZstdDecompressor().decompress(self._bytes(number)))

    def _is_sound(self, number: int) -> bool:
        return bool(zlib.crc32(self._bytes(number)) == self._checks[number])

    def _bytes(self, number: int) -> memoryview:
        start = _HEAD.size + sum(self._sizes[:number])
        return memoryview(self._content)[start : start + self._sizes[number]]


def _header(content: bytes) -> Any:
    """Return bytes of the record, time, block, labels, checksum, and sizes and checksums."""
    if len(content) < _HEAD.size or content[:4] != _MAGIC:
        return None
    told = _HEAD.unpack_from(content)
    if zlib.crc32(content[8 : _HEAD.size]) != told[1]:
        return None
    return _HEAD.size + sum(told[6:10]), *told[2:6], told[6:10], told[10:14]


class EvidenceFolder:
    """The evidence of all blocks in a folder.

    Faces and shell are loaded if they are needed. With `indexed`, `save_index` has
    kept where the records are, so that the packs need not be looked through.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        faces: bool = True,
        shell: bool = True,
        indexed: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._faces = faces
        self._shell = shell
        self._indexed = indexed
        self._places: npt.NDArray[Any] | None = None
        self._packs: list[str] = []

    def add(
        self, evidence: Evidence, sums: BlockSums | None = None, written: int | None = None
    ) -> None:
        """Append the evidence of a block to the pack of this thread."""
        content = encode_evidence(evidence, sums, written)
        name = f"{_PROCESS}-{os.getpid()}-{threading.get_native_id()}.pack"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            pack = os.open(self.folder / name, flags, 0o666)
            try:
                while content:
                    content = content[os.write(pack, content) :]
            finally:
                os.close(pack)
        except OSError as err:
            raise StorageError(
                f"the evidence cannot be written: {err}", path=self.folder / name
            ) from err

    def sync(self) -> None:
        """Wait until all evidence would outlive a power cut."""
        for pack in self.folder.glob("*.pack"):
            with open(pack, "r+b") as file:
                sync_file(file.fileno())

    def save_index(self) -> None:
        """Keep where the records are, for `indexed` folders of other processes."""
        places = self._all_places()
        with replaced_file(self.folder / "index.npy") as file:
            np.save(file, places)
        with replaced_file(self.folder / "packs.txt") as file:
            file.write("\n".join(self._packs).encode())

    def __call__(self, index: int) -> Evidence:
        """Return the evidence of a block."""
        try:
            record = self._record(index)
            box, sizes, at_seam, clipped = record.section("labels")
            ends: Box = tuple((int(start), int(stop)) for start, stop in box)
            planes = record.section("faces") if self._faces else [None] * (2 * len(ends))
            *runs, centres = record.section("context") if self._shell else [None] * 4
        except (OSError, ValueError, IndexError, zstandard.ZstdError) as err:
            raise self._error(index, err) from err
        shell = None if runs[0] is None else Packed(*runs)
        faces = tuple(zip(planes[::2], planes[1::2], strict=True))
        count = record.count
        return Evidence(index, count, sizes, at_seam, clipped, faces, ends, shell, centres)

    def sums(self, index: int) -> BlockSums | None:
        """Return the sums of a block; None if nothing was measured."""
        try:
            arrays = self._record(index).section("sums")
            return BlockSums(*arrays) if arrays else None
        except (OSError, ValueError, IndexError, zstandard.ZstdError) as err:
            raise self._error(index, err) from err

    def written(self, index: int) -> int | None:
        """Return the checksum of the labels of a block; None if it was not kept."""
        place = self._place(index)
        if place is None:
            raise self._error(index, "it is not there")
        return None if place["written"] < 0 else int(place["written"])

    def counts(self, blocks: int) -> Int64s:
        """Return the number of labels of each block, int64 of shape (blocks,)."""
        places = self._all_places()
        counts = np.full(blocks, -1, np.int64)
        known = places[places["index"] < blocks]
        counts[known["index"].astype(np.int64)] = known["count"]
        if blocks and counts.min() < 0:
            raise self._error(int(np.argmax(counts < 0)), "it is not there")
        return counts

    def is_whole(self, index: int) -> bool:
        """Return whether the evidence of a block is there, to the last byte."""
        try:
            return self._record(index).is_whole()
        except (OSError, ValueError):
            return False

    def bytes_per_block(self) -> float:
        """Return about how much memory evidence and sums of a block take when they are read."""
        places = self._all_places()
        if not len(places):
            return 0.0
        return 8000 + 8 * float(places["size"].mean()) + 500 * float(places["count"].mean())

    def place(self, index: int) -> tuple[Path, int, int] | None:
        """Return the file, the first byte and the size of the record of a block."""
        place = self._place(index)
        if place is None:
            return None
        return self.folder / self._packs[place["pack"]], int(place["at"]), int(place["size"])

    def _record(self, index: int) -> _Record:
        found = self.place(index)
        if found is None:
            raise ValueError("it is not there")
        path, at, size = found
        with open(path, "rb", buffering=0) as file:
            file.seek(at)
            record = _Record(file.read(size) or b"")
        if record.index != index:
            raise ValueError(f"it is that of block {record.index}")
        return record

    def _place(self, index: int) -> Any:
        places = self._all_places()
        at = index
        if at >= len(places) or places[at]["index"] != index:  # others are missing
            at = int(np.searchsorted(places["index"], index))
        return places[at] if at < len(places) and places[at]["index"] == index else None

    def _all_places(self) -> npt.NDArray[Any]:
        if self._places is None:
            if self._indexed:
                self._packs = (self.folder / "packs.txt").read_text().splitlines()
                path = self.folder / "index.npy"
                # An empty file cannot be mapped.
                self._places = np.load(path, mmap_mode="r" if path.stat().st_size > 1000 else None)
            else:
                self._packs, self._places = _look_through(self.folder)
        return self._places

    def _error(self, index: int, why: object) -> StorageError:
        return StorageError(
            f"the evidence of a block cannot be read: {why}",
            path=self.folder,
            block=index,
            hint="segment the block again",
        )


def _look_through(folder: Path) -> tuple[list[str], npt.NDArray[Any]]:
    """Return the names of the packs, and where the latest record of each block is."""
    packs = sorted(path.name for path in folder.glob("*.pack"))
    found = [np.empty(0, _PLACE)]
    for number, name in enumerate(packs):
        found += [np.array(rows, _PLACE) for rows in _records(folder / name, number)]
    places = np.concatenate(found)
    places = places[np.lexsort((places["time"], places["index"]))]
    last = np.ones(len(places), np.bool_)
    last[:-1] = places["index"][1:] != places["index"][:-1]
    return packs, places[last]


def _records(path: Path, pack: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield what is told by `_PLACE` of the records of a pack, many at a time."""
    rows: list[tuple[int, ...]] = []
    with open(path, "rb", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        at, behind = 0, 1
        while at + _HEAD.size <= end:
            file.seek(at)
            head = _header(file.read(_HEAD.size) or b"")
            if head is None:
                # Perhaps it was the record before that is not as long as it says.
                at = _next_record(file, behind)
                behind = at + 1
                continue
            rows.append((*head[1:5], at, head[0], pack))
            behind = at + _HEAD.size
            at += head[0]
            if at > end:
                at = _next_record(file, behind)
            if len(rows) == 1 << 16:
                yield rows
                rows = []
    if rows:
        yield rows


def _next_record(file: Any, at: int) -> int:
    """Return where the next header may begin, behind what was torn."""
    while True:
        file.seek(at)
        content = file.read(_SEARCH) or b""
        found = content.find(_MAGIC)
        if found >= 0:
            return int(at + found)
        if len(content) < len(_MAGIC):
            return int(at + len(content))
        at += len(content) - len(_MAGIC) + 1
