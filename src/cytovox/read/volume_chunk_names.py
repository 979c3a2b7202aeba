"""How the chunks of each format are called, and how they are packed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import InputError
from .volume_chunk_files import LOST, ChunkFiles, Index, Shards, may_be_chunk
from .volume_folder import PACKED, Folder

__all__ = ["check_shard_files", "files_of_n5", "files_of_precomputed", "files_of_zarr"]


def _numbers(name: str) -> Index:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,18}", name))


def _joined(start: str, separator: str) -> Callable[[Index], str]:
    return lambda index: start + separator.join(map(str, index))


def files_of_zarr(
    folder: Folder, where: str, document: dict[str, Any], itemsize: int
) -> tuple[ChunkFiles, dict[str, Any]]:
    """Return the files of a zarr array, and its description with the names that they have."""
    shape = tuple(document["shape"])
    if document["zarr_format"] == 2:
        unit, shards, codecs = tuple(document["chunks"]), None, [document["compressor"]]
        ways: list[tuple[str, str, dict[str, Any]]]
        ways = [("", s, {"dimension_separator": s}) for s in "./"]
        ways.sort(key=lambda way: way[1] != document["dimension_separator"])
    else:
        unit = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
        shards, codecs = None, document["codecs"]
        for codec in codecs:
            if codec["name"] == "sharding_indexed":
                shards = _shards(codec["configuration"])
                codecs = codec["configuration"]["codecs"]
                break
        said = document["chunk_key_encoding"]
        ways = []
        for name, separator in itertools.product(("default", "v2"), "/."):
            encoding = {"name": name, "configuration": {"separator": separator}}
            start = f"c{separator}" if name == "default" else ""
            ways.append((start, separator, {"chunk_key_encoding": encoding}))
        ways.sort(key=lambda way: way[2]["chunk_key_encoding"] != said)
    packed = [codec.get("name", codec.get("id")) for codec in codecs if codec is not None]
    names = tuple(_joined(start, separator) for start, separator, _ in ways)
    files = ChunkFiles(
        folder, where, shape, unit, itemsize, names, _numbers, "blosc" in packed, 0, shards
    )
    found = files.naming()
    if found:
        names = (names[found], *names[:found], *names[found + 1 :])
    return replace(files, names=names), document | ways[found][2]


def _shards(configuration: dict[str, Any]) -> Shards:
    return Shards(
        tuple(configuration["chunk_shape"]),
        configuration["index_location"] == "start",
        any(codec["name"] == "crc32c" for codec in configuration["index_codecs"]),
    )


def files_of_n5(folder: Folder, where: str, document: dict[str, Any], itemsize: int) -> ChunkFiles:
    """Return the files of an N5 array."""
    shape = tuple(document["dimensions"])
    files = ChunkFiles(
        folder,
        where,
        shape,
        tuple(document["blockSize"]),
        itemsize,
        (_joined("", "/"),),
        _numbers,
        document["compression"]["type"] == "blosc",
        4 + 4 * len(shape),
    )
    files.naming()
    return files


def files_of_precomputed(
    folder: Folder, where: str, scale: dict[str, Any], shape: tuple[int, ...], itemsize: int
) -> ChunkFiles:
    """Return the files of a scale of a precomputed volume that is not sharded."""
    unit = (*scale["chunk_size"], shape[3])
    origin = scale["voxel_offset"]

    def name(index: Index) -> str:
        sides = zip(index[:3], unit[:3], shape[:3], origin, strict=True)
        return "_".join(f"{o + i * u}-{o + min((i + 1) * u, n)}" for i, u, n, o in sides)

    def index(name: str) -> Index:
        starts = re.findall(r"(?:^|_)(-?[0-9]{1,18})-", name)
        if len(starts) != 3:
            return ()
        sides = zip(starts, origin, unit[:3], strict=True)
        return (*((int(start) - o) // u for start, o, u in sides), 0)

    # cloud-volume packs whole files, and names them so, on disks that cannot say it otherwise
    names = (name, *(_with_ending(name, ending) for ending in PACKED))
    files = ChunkFiles(
        folder, where, shape, unit, itemsize, names, index, prefix=f"{scale['key']}/", ranked=False
    )
    files.naming()
    return files


def _with_ending(called: Callable[[Index], str], ending: str) -> Callable[[Index], str]:
    return lambda index: called(index) + ending


def check_shard_files(folder: Folder, where: str, digits: int) -> None:
    """Look at all files of a sharded precomputed scale, which are few."""
    good, stranger = False, None
    for name in folder.names():
        if re.fullmatch(rf"[0-9a-f]{{{digits}}}\.shard", name):
            good |= folder.size(name) is not None
        elif may_be_chunk(name):
            stranger = name
    if stranger is not None and not good:
        raise InputError(
            f"it holds files such as '{stranger}', and not one shard",
            path=where,
            hint=LOST,
        )
