"""The files that hold the chunks of a volume: looked at before they are unpacked.

Whoever reads a chunk takes the memory that its file has or, with blosc, that
its head asks for, before the size is compared with that of the chunk. So both
are looked at here, and that the file is in the folder of the volume at all.
Chunks of zstd and gzip are unpacked step by step and need no such look.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .permissions import Permissions, RefusedInputError, default_permissions
from .volume_limits import Box

__all__ = ["ChunkFiles", "Shards", "files_of_n5", "files_of_precomputed", "files_of_zarr"]

#: What headers and indices may add to a file [bytes].
_EXTRA = 1 << 16
_BLOSC_HEAD = 16
_DAMAGED = "it is damaged, or was made to fill the memory; get the volume again"


@dataclass(frozen=True, slots=True)
class Shards:
    """How chunks lie within a file.

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
    root
        Folder of the array.
    shape
        Voxels of the array along each axis.
    unit
        Voxels of a file along each axis.
    itemsize
        Bytes of a voxel.
    name
        Function that returns the name of a file for its index.
    blosc
        Whether chunks are packed with blosc.
    header
        Bytes before the packed data of a chunk.
    shards
        How chunks lie in a file, if there are many in one.
    """

    root: Path
    shape: tuple[int, ...]
    unit: tuple[int, ...]
    itemsize: int
    name: Callable[[tuple[int, ...]], str]
    blosc: bool
    header: int = 0
    shards: Shards | None = None

    def paths(self, box: Box) -> Iterator[Path]:
        """Yield the files that hold a box, or would.

        Parameters
        ----------
        box
            Start and stop along each axis, within the array.
        """
        ranges = [range(a // u, -(-b // u)) for (a, b), u in zip(box, self.unit, strict=True)]
        for index in itertools.product(*ranges):
            yield self.root / self.name(index)

    def check(self, box: Box) -> None:
        """Look at the files that hold a box.

        Parameters
        ----------
        box
            Start and stop along each axis, within the array.

        Raises
        ------
        RefusedInputError
            If a file is elsewhere, too large, or unpacks to anything but a chunk.
        """
        allowed = default_permissions()
        root = os.path.realpath(self.root)
        size = math.prod(self.unit) * self.itemsize
        inner = 1 if self.shards is None else math.prod(self.unit) // math.prod(self.shards.chunk)
        # Noise grows when it is packed, in neuroglancer's format up to twofold.
        most = 2 * size + _EXTRA + 64 * inner
        for path in self.paths(box):
            try:
                found = path.stat().st_size
            except OSError:
                continue  # not stored, or the reader tells what is wrong
            real = os.path.realpath(path)
            if not allowed.external and not real.startswith(root + os.sep):
                raise RefusedInputError(
                    f"this chunk is a link to {real}, outside of the volume",
                    path=path,
                    hint=Permissions.hint_for("external"),
                )
            if allowed.oversized:
                continue
            if found > most:
                raise RefusedInputError(
                    f"this chunk has {found:,} bytes, and its voxels take {size:,}",
                    path=path,
                    hint=_DAMAGED,
                )
            if self.blosc:
                self._check_blosc(path, found)

    def _check_blosc(self, path: Path, found: int) -> None:
        chunk = self.unit if self.shards is None else self.shards.chunk
        wanted = math.prod(chunk) * self.itemsize
        with path.open("rb") as file:
            for start in self._starts(file, found):
                file.seek(start + self.header)
                head = file.read(_BLOSC_HEAD)
                said = struct.unpack_from("<I", head, 4)[0] if len(head) == _BLOSC_HEAD else None
                if said is not None and said > wanted:
                    raise RefusedInputError(
                        f"this chunk does not unpack to its {wanted:,} bytes, but to {said:,}",
                        path=path,
                        hint=_DAMAGED,
                    )

    def _starts(self, file: BinaryIO, found: int) -> Sequence[int]:
        """Return where chunks begin in a file."""
        if self.shards is None:
            return (0,)
        number = math.prod(self.unit) // math.prod(self.shards.chunk)
        length = 16 * number + 4 * self.shards.checksum
        file.seek(0 if self.shards.at_start else max(0, found - length))
        table = np.frombuffer(file.read(16 * number), "<u8")
        offsets = table[: len(table) // 2 * 2].reshape(-1, 2)[:, 0]
        return [int(offset) for offset in offsets[offsets < found]]


def files_of_zarr(
    root: Path, version: int, document: dict[str, Any], itemsize: int
) -> ChunkFiles | None:
    """Return the files of a zarr array; None if its chunks are named in an unknown way.

    Parameters
    ----------
    root
        Folder of the array.
    version
        2 or 3.
    document
        Its description, which has been checked.
    itemsize
        Bytes of a voxel.
    """
    shape = tuple(document["shape"])
    if version == 2:
        separator = document.get("dimension_separator") or "."
        compressor = document.get("compressor")
        return ChunkFiles(
            root,
            shape,
            tuple(document["chunks"]),
            itemsize,
            lambda index: str(separator).join(map(str, index)) or "0",
            isinstance(compressor, dict) and compressor.get("id") == "blosc",
        )
    unit = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    encoding = document.get("chunk_key_encoding")
    if not isinstance(encoding, dict) or encoding.get("name") not in ("default", "v2"):
        return None
    plain = encoding["name"] == "v2"
    options = encoding.get("configuration")
    separator = (options if isinstance(options, dict) else {}).get("separator")
    separator = separator or ("." if plain else "/")
    prefix = [] if plain else ["c"]
    shards, codecs = None, document["codecs"]
    for codec in codecs:
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            inner = codec["configuration"]
            shards, codecs = _shards(inner), inner["codecs"]
    return ChunkFiles(
        root,
        shape,
        unit,
        itemsize,
        lambda index: separator.join([*prefix, *map(str, index)]) or "0",
        any(isinstance(codec, dict) and codec.get("name") == "blosc" for codec in codecs),
        0,
        shards,
    )


def _shards(configuration: dict[str, Any]) -> Shards:
    index = configuration.get("index_codecs")
    names = [c.get("name") if isinstance(c, dict) else c for c in index or [{"name": "crc32c"}]]
    return Shards(
        tuple(configuration["chunk_shape"]),
        configuration.get("index_location") == "start",
        "crc32c" in names,
    )


def files_of_n5(root: Path, document: dict[str, Any], itemsize: int) -> ChunkFiles:
    """Return the files of an N5 array.

    Parameters
    ----------
    root
        Folder of the array.
    document
        Its description, which has been checked.
    itemsize
        Bytes of a voxel.
    """
    shape = tuple(document["dimensions"])
    compression = document.get("compression")
    return ChunkFiles(
        root,
        shape,
        tuple(document["blockSize"]),
        itemsize,
        lambda index: "/".join(map(str, index)),
        isinstance(compression, dict) and compression.get("type") == "blosc",
        4 + 4 * len(shape),
    )


def files_of_precomputed(
    root: Path, scale: dict[str, Any], shape: tuple[int, ...], itemsize: int
) -> ChunkFiles | None:
    """Return the files of a scale of a precomputed volume; None if it is sharded.

    Parameters
    ----------
    root
        Folder of the scale.
    scale
        Its description, which has been checked.
    shape
        Voxels along x, y, z and channels.
    itemsize
        Bytes of a voxel.
    """
    if scale.get("sharding") is not None:
        return None
    unit = (*scale["chunk_sizes"][0], shape[3])
    origin = scale.get("voxel_offset", (0, 0, 0))

    def name(index: tuple[int, ...]) -> str:
        sides = zip(index[:3], unit[:3], shape[:3], origin, strict=True)
        return "_".join(f"{o + i * u:.0f}-{o + min((i + 1) * u, n):.0f}" for i, u, n, o in sides)

    return ChunkFiles(root, shape, unit, itemsize, name, blosc=False)
