"""The files that hold the chunks of a volume: looked at before they are unpacked.

A reader of a chunk takes the memory that its file has or, with blosc, that
its head asks for, before the size is compared with that of the chunk. So both
are looked at here, and that the file is in the folder of the volume at all.
Chunks of zstd and gzip are unpacked step by step and need no such look.

A chunk that is not there is read as empty. So chunks are also looked for under
the other names that writers give them, and files that are not chunks where
chunks should be are an error.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from ..errors import InputError
from .permissions import RefusedInputError
from .volume_folder import Folder, unpack
from .volume_limits import Box

__all__ = ["LOST", "ChunkFiles", "Index", "Shards", "may_be_chunk"]

#: Number of a chunk along each axis.
Index = tuple[int, ...]

#: What to do where there is no chunk, but other files.
LOST = "all voxels would be read as empty; get the volume again, or correct its metadata"
#: What headers and indices may add to a file [bytes].
_EXTRA = 1 << 16
_BLOSC_HEAD = 16
#: So many names are looked at before it is said that there is no chunk.
_LOOKED_AT = 10_000
_DAMAGED = "it is damaged; get the volume again"


@dataclass(frozen=True, slots=True)
class Shards:
    """How chunks are placed within a file.

    Parameters
    ----------
    chunk
        Voxels of an inner chunk along each axis.
    at_start
        Whether the index is at the start of the file, not at its end.
    checksum
        Whether the index ends with a checksum.
    """

    chunk: tuple[int, ...]
    at_start: bool
    checksum: bool


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """Files of chunks in a folder.

    Parameters
    ----------
    folder
        Files of the array.
    where
        Where that is, for messages.
    shape
        Voxels of the array along each axis.
    unit
        Voxels of a file along each axis.
    itemsize
        Bytes of a voxel.
    names
        Functions that return the name of a file for its index: first the name
        by the metadata, then those that some writers use in its place.
    index
        Function that returns the index for a name, or anything for other names.
    blosc
        Whether chunks are packed with blosc.
    header
        Bytes before the packed data of a chunk.
    shards
        How chunks are placed in a file, if there are many in one.
    prefix
        What the names have in front within the volume.
    ranked
        Whether the first of the names counts where there are several.
    """

    folder: Folder
    where: str
    shape: tuple[int, ...]
    unit: tuple[int, ...]
    itemsize: int
    names: tuple[Callable[[Index], str], ...]
    index: Callable[[str], Index]
    blosc: bool = False
    header: int = 0
    shards: Shards | None = None
    prefix: str = ""
    ranked: bool = True

    def indices(self, box: Box) -> Iterator[Index]:
        """Yield the chunks that a box touches."""
        ranges = [range(a // u, -(-b // u)) for (a, b), u in zip(box, self.unit, strict=True)]
        return itertools.product(*ranges)

    def part(self, index: Index, box: Box) -> Box:
        """Return the part of a box that is in a chunk."""
        return tuple(
            (max(a, i * u), min(b, (i + 1) * u))
            for (a, b), i, u in zip(box, index, self.unit, strict=True)
        )

    def naming(self) -> int:
        """Return by which of `names` the chunks are stored; 0 if there are none."""
        number, stranger = len(self.names), None
        for name in itertools.islice(self.folder.names(), _LOOKED_AT):
            if not may_be_chunk(name):
                continue
            known = self._naming_of(name)
            if known == 0:
                return 0
            number = min(number, known)
            stranger = stranger or name
        if number < len(self.names) or stranger is None:
            return number % len(self.names)
        first = self.names[0]((0,) * len(self.shape))
        raise InputError(
            f"it holds files such as '{stranger}', and not one chunk; by its metadata, chunks "
            f"are called '{first}' and so on",
            path=self.where,
            hint=LOST,
        )

    def _naming_of(self, name: str) -> int:
        index = self.index(name)
        grid = [-(-n // u) for n, u in zip(self.shape, self.unit, strict=True)]
        if len(index) == len(grid) and all(0 <= i < n for i, n in zip(index, grid, strict=True)):
            for number, called in enumerate(self.names):
                if called(index) == name:
                    return number
        return len(self.names)

    def check(self, box: Box) -> Iterator[tuple[Index, str]]:
        """Look at the files that hold a box; yield those that are stored."""
        allowed = self.folder.permissions
        most = self._most()
        for index in self.indices(box):
            found = self._find(index)
            if found is None:
                continue
            name, size = found
            if size > most and not allowed.oversized:
                raise RefusedInputError(
                    f"this chunk has {size:,} bytes, and its voxels take "
                    f"{math.prod(self.unit) * self.itemsize:,}",
                    path=self._path(name),
                    hint=_DAMAGED,
                )
            if self.blosc and not allowed.oversized:
                self._check_blosc(name, size)
            yield index, name

    def load(self, name: str) -> bytes:
        """Return a stored chunk, unpacked if its name says that it is packed."""
        return unpack(self.folder, name, self._most(), self._path(name))

    def _most(self) -> int:
        inner = 1 if self.shards is None else math.prod(self.unit) // math.prod(self.shards.chunk)
        # Noise grows when it is packed, in neuroglancer's format up to twofold.
        return 2 * math.prod(self.unit) * self.itemsize + _EXTRA + 64 * inner

    def _path(self, name: str) -> str:
        return f"{self.where}/{name}"

    def _find(self, index: Index) -> tuple[str, int] | None:
        """Return name and size of a chunk, if it is stored."""
        found = None
        for called in self.names:
            name = called(index)
            size = self.folder.size(name)
            if size is not None and found is not None:
                raise InputError(
                    f"'{found[0]}' and '{name}' hold the same chunk",
                    path=self.where,
                    hint="one is of an earlier time: remove it",
                )
            if size is not None:
                found = name, size
                if self.ranked:
                    break
        return found

    def _check_blosc(self, name: str, found: int) -> None:
        chunk = self.unit if self.shards is None else self.shards.chunk
        wanted = math.prod(chunk) * self.itemsize
        with self.folder.open(name) as file:
            for start in self._starts(file, found):
                file.seek(start + self.header)
                head = file.read(_BLOSC_HEAD)
                said = struct.unpack_from("<I", head, 4)[0] if len(head) == _BLOSC_HEAD else None
                if said is not None and said > wanted:
                    raise RefusedInputError(
                        f"this chunk does not unpack to its {wanted:,} bytes, but to {said:,}",
                        path=self._path(name),
                        hint=_DAMAGED,
                    )

    def _starts(self, file: IO[bytes], found: int) -> Sequence[int]:
        """Return where chunks begin in a file."""
        if self.shards is None:
            return (0,)
        number = math.prod(self.unit) // math.prod(self.shards.chunk)
        length = 16 * number + 4 * self.shards.checksum
        file.seek(0 if self.shards.at_start else max(0, found - length))
        table = np.frombuffer(file.read(16 * number), "<u8")
        offsets = table[: len(table) // 2 * 2].reshape(-1, 2)[:, 0]
        return [int(offset) for offset in offsets[offsets < found]]


def may_be_chunk(name: str) -> bool:
    """Return whether a file is not one that systems and writers put beside chunks."""
    last = name.rpartition("/")[2]
    return (
        not last.startswith((".", "zarr.json"))
        and not last.endswith(".__lock")
        and any(c.isdigit() for c in last)
    )
