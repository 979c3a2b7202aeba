"""Heaps of an HDF5 file, in which texts of variable length lie one after another.

HDF5 goes from one object of a heap to the next by the sizes that the objects
say. Where one says 0, the library (2.0 and before) goes round for ever, and
neither an error nor a signal but SIGKILL leads out of that. So the sizes are
looked at before HDF5 does, in all that is not the chunk of a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py

from ..errors import InputError
from .members import chunk_infos, dataset_ids

__all__ = ["check_heaps"]

_SIGNATURE = b"GCOL"
#: Where the first object of a heap begins, and least bytes that an object takes.
_HEADER = _OBJECT = 16
#: Where a heap, and an object, says its size.
_SIZE_AT = 8
#: Objects are numbered by two bytes; what is free is one more.
_MOST_OBJECTS = (1 << 16) + 1
#: HDF5 makes no smaller heaps, so none lies in a smaller gap [bytes].
_SMALLEST = 4096
#: So much is read at a time [bytes].
_PIECE = 1 << 22


def check_heaps(h5: h5py.File, stream: BinaryIO, path: Any = None) -> None:
    """Refuse a file with a heap that HDF5 would read for ever."""
    length = h5.id.get_create_plist().get_sizes()[1]
    for begin, end in _gaps(_chunks(h5), stream.seek(0, os.SEEK_END)):
        after = begin
        for position in _find(stream, begin, end):
            if position < after:
                continue  # part of a text
            size = _heap_size(stream, position, length)
            if not _leads_on(stream, position, size, length):
                raise InputError(
                    f"texts in the file cannot be told apart (heap at byte {position})",
                    path=path,
                    hint="the file is damaged; copy it again",
                )
            after = position + size


def _chunks(h5: h5py.File) -> list[tuple[int, int]]:
    """Return begin and end of what datasets store; nothing if that cannot be told."""
    taken: list[tuple[int, int]] = []
    try:
        for _, number in dataset_ids(h5):
            found = h5py.Dataset(number)
            if found.chunks is not None:
                infos = chunk_infos(found)
                taken.extend((info.byte_offset, info.byte_offset + info.size) for info in infos)
            elif (begin := found.id.get_offset()) is not None:
                taken.append((begin, begin + found.id.get_storage_size()))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return []  # damaged; whoever reads it tells so
    return taken


def _gaps(taken: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file between others in which a heap has room."""
    after = 0
    for begin, end in sorted([*taken, (size, size)]):
        if min(begin, size) - after >= _SMALLEST:
            yield after, min(begin, size)
        after = max(after, end)


def _find(stream: BinaryIO, begin: int, end: int) -> Iterator[int]:
    for start in range(begin, end, _PIECE):
        stream.seek(start)
        piece = stream.read(min(_PIECE + len(_SIGNATURE) - 1, end - start))
        at = piece.find(_SIGNATURE)
        while at >= 0:
            yield start + at
            at = piece.find(_SIGNATURE, at + 1)


def _heap_size(stream: BinaryIO, position: int, length: int) -> int:
    """Return the size of a heap; 0 if it claims more than there is, which HDF5 finds."""
    stream.seek(position + _SIZE_AT)
    size = int.from_bytes(stream.read(length), "little")
    return size if _SMALLEST <= size <= stream.seek(0, os.SEEK_END) - position else 0


def _leads_on(stream: BinaryIO, position: int, size: int, length: int) -> bool:
    """Return whether each object of a heap leads to the next, and the last to the end."""
    at = _HEADER
    for _ in range(_MOST_OBJECTS):
        if at + _OBJECT > size:
            return True
        stream.seek(position + at)
        head = stream.read(_OBJECT)
        said = int.from_bytes(head[_SIZE_AT : _SIZE_AT + length], "little")
        free = not any(head[:2])
        step = said if free else _OBJECT + said + -said % 8
        if not _OBJECT <= step <= size - at:
            return False
        at += step
    return False
