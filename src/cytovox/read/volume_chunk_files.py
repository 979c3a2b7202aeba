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
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np

from ..errors import InputError
from .permissions import RefusedInputError
from .volume_folder import PACKED, Folder, reading, unpack
from .volume_limits import Box

__all__ = [
    "ChunkFiles",
    "Index",
    "check_shard_files",
    "files_of_n5",
    "files_of_precomputed",
    "files_of_zarr",
]

#: Number of a chunk along each axis.
Index = tuple[int, ...]

#: What to do where there is no chunk, but other files.
_LOST = "all voxels would be read as empty; get the volume again, or correct its metadata"
#: What headers and indices may add to a file [bytes].
_EXTRA = 1 << 16
_BLOSC_HEAD = 16
#: So many names are looked at before it is said that there is no chunk.
_LOOKED_AT = 10_000
_DAMAGED = "it is damaged; get the volume again"


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """Files of chunks in a folder."""

    folder: Folder
    #: Voxels of the array, and of a file, along each axis.
    shape: tuple[int, ...]
    unit: tuple[int, ...]
    itemsize: int
    #: The name of a file by its index: as the metadata say, then as some writers do.
    names: tuple[Callable[[Index], str], ...]
    #: The index for a name; anything for other names.
    index: Callable[[str], Index]
    #: Whether chunks are packed with blosc.
    blosc: bool = False
    #: Bytes before the packed data of a chunk.
    header: int = 0
    #: Configuration of the codec that keeps many chunks in one file.
    shards: dict[str, Any] | None = None
    #: What the names have in front within the volume.
    prefix: str = ""
    #: Whether the first of the names counts where there are several.
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
            if not _may_be_chunk(name):
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
            path=self.folder.where,
            hint=_LOST,
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
        allowed = self.folder.permissions.oversized
        most = self._most()
        for index in self.indices(box):
            found = self._find(index)
            if found is None:
                continue
            name, size = found
            if size > most and not allowed:
                raise RefusedInputError(
                    f"this chunk has {size:,} bytes, and its voxels take "
                    f"{math.prod(self.unit) * self.itemsize:,}",
                    path=f"{self.folder.where}/{name}",
                    hint=_DAMAGED,
                )
            if self.blosc and not allowed:
                self._check_blosc(name, size)
            yield index, name

    def load(self, name: str) -> bytes:
        """Return a stored chunk, unpacked if its name says that it is packed."""
        return unpack(self.folder, name, self._most())

    def _most(self) -> int:
        # Noise grows when it is packed, in neuroglancer's format up to twofold.
        return 2 * math.prod(self.unit) * self.itemsize + _EXTRA + 64 * self._chunks()

    def _chunks(self) -> int:
        """Return the number of chunks in a file."""
        return 1 if self.shards is None else math.prod(self.unit) // math.prod(self._chunk())

    def _chunk(self) -> tuple[int, ...]:
        return self.unit if self.shards is None else tuple(self.shards["chunk_shape"])

    def _find(self, index: Index) -> tuple[str, int] | None:
        """Return name and size of a chunk, if it is stored."""
        found = None
        for called in self.names:
            name = called(index)
            size = self.folder.size(name)
            if size is not None and found is not None:
                raise InputError(
                    f"'{found[0]}' and '{name}' hold the same chunk",
                    path=self.folder.where,
                    hint="one is of an earlier time: remove it",
                )
            if size is not None:
                found = name, size
                if self.ranked:
                    break
        return found

    def _check_blosc(self, name: str, found: int) -> None:
        wanted = math.prod(self._chunk()) * self.itemsize
        with reading(self.folder, name) as file:
            for start in self._starts(file, found):
                file.seek(start + self.header)
                head = file.read(_BLOSC_HEAD)
                said = struct.unpack_from("<I", head, 4)[0] if len(head) == _BLOSC_HEAD else 0
                if said > wanted:
                    raise RefusedInputError(
                        f"this chunk does not unpack to its {wanted:,} bytes, but to {said:,}",
                        path=f"{self.folder.where}/{name}",
                        hint=_DAMAGED,
                    )

    def _starts(self, file: IO[bytes], found: int) -> Sequence[int]:
        """Return where chunks begin in a file."""
        if self.shards is None:
            return (0,)
        number = self._chunks()
        checksum = any(codec["name"] == "crc32c" for codec in self.shards["index_codecs"])
        at_start = self.shards["index_location"] == "start"
        file.seek(0 if at_start else max(0, found - 16 * number - 4 * checksum))
        table = np.frombuffer(file.read(16 * number), "<u8")
        offsets = table[: len(table) // 2 * 2].reshape(-1, 2)[:, 0]
        return [int(offset) for offset in offsets[offsets < found]]


def _may_be_chunk(name: str) -> bool:
    """Return whether a file is not one that systems and writers put beside chunks."""
    last = name.rpartition("/")[2]
    return (
        not last.startswith((".", "zarr.json"))
        and not last.endswith(".__lock")
        and any(c.isdigit() for c in last)
    )


def _numbers(name: str) -> Index:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,18}", name))


def _joined(start: str, separator: str) -> Callable[[Index], str]:
    return lambda index: start + separator.join(map(str, index))


def files_of_zarr(
    folder: Folder, document: dict[str, Any], itemsize: int
) -> tuple[ChunkFiles, dict[str, Any]]:
    """Return the files of a zarr array, and its description with the names that they have."""
    shards: dict[str, Any] | None = None
    ways: list[tuple[str, str, dict[str, Any]]] = []
    if document["zarr_format"] == 2:
        unit, codecs = document["chunks"], [document["compressor"] or {}]
        ways += [("", s, {"dimension_separator": s}) for s in "./"]
    else:
        unit = document["chunk_grid"]["configuration"]["chunk_shape"]
        codecs = document["codecs"]
        for codec in codecs:
            if codec["name"] == "sharding_indexed":
                shards = codec["configuration"]
                codecs = shards["codecs"]
                break
        for name, s in itertools.product(("default", "v2"), "/."):
            encoding = {"name": name, "configuration": {"separator": s}}
            start = f"c{s}" if name == "default" else ""
            ways.append((start, s, {"chunk_key_encoding": encoding}))
    ways.sort(key=lambda way: document | way[2] != document)
    blosc = any("blosc" in (codec.get("name"), codec.get("id")) for codec in codecs)
    names = tuple(_joined(start, separator) for start, separator, _ in ways)
    shape = tuple(document["shape"])
    files = ChunkFiles(folder, shape, tuple(unit), itemsize, names, _numbers, blosc, 0, shards)
    found = files.naming()
    names = (names[found], *names[:found], *names[found + 1 :])
    return replace(files, names=names), document | ways[found][2]


def files_of_n5(folder: Folder, document: dict[str, Any], itemsize: int) -> ChunkFiles:
    """Return the files of an N5 array."""
    shape, unit = tuple(document["dimensions"]), tuple(document["blockSize"])
    blosc = document["compression"]["type"] == "blosc"
    names = (_joined("", "/"),)
    files = ChunkFiles(folder, shape, unit, itemsize, names, _numbers, blosc, 4 + 4 * len(shape))
    files.naming()
    return files


def files_of_precomputed(
    folder: Folder, scale: dict[str, Any], shape: tuple[int, ...], itemsize: int
) -> ChunkFiles:
    """Return the files of a scale of a precomputed volume that is not sharded."""
    unit = (*scale["chunk_size"], shape[3])
    origin = scale["voxel_offset"]

    def named(ending: str) -> Callable[[Index], str]:
        def name(index: Index) -> str:
            sides = zip(index[:3], unit[:3], shape[:3], origin, strict=True)
            ranges = (f"{o + i * u}-{o + min((i + 1) * u, n)}" for i, u, n, o in sides)
            return "_".join(ranges) + ending

        return name

    def index(name: str) -> Index:
        starts = re.findall(r"(?:^|_)(-?[0-9]{1,18})-", name)
        if len(starts) != 3:
            return ()
        sides = zip(starts, origin, unit[:3], strict=True)
        return (*((int(start) - o) // u for start, o, u in sides), 0)

    # cloud-volume packs whole files, and names them so, on disks that cannot say it otherwise
    names = tuple(named(ending) for ending in ("", *PACKED))
    prefix = f"{scale['key']}/"
    files = ChunkFiles(folder, shape, unit, itemsize, names, index, prefix=prefix, ranked=False)
    files.naming()
    return files


def check_shard_files(folder: Folder, digits: int) -> None:
    """Look at all files of a sharded precomputed scale, which are few."""
    good, stranger = False, None
    for name in folder.names():
        if re.fullmatch(rf"[0-9a-f]{{{digits}}}\.shard", name):
            good |= folder.size(name) is not None
        elif _may_be_chunk(name):
            stranger = name
    if stranger is not None and not good:
        raise InputError(
            f"it holds files such as '{stranger}', and not one shard",
            path=folder.where,
            hint=_LOST,
        )
