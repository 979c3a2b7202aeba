"""Records of what a file has to become, for one that may be torn at any time.

Each record ends with a checksum over itself, so whoever reads the log stops at
the first one that was not written completely.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["RedoKind", "RedoRecord", "encode_record", "read_records"]

_MAGIC = b"CVR1"
#: kind, number, end, floor, checksum of data, pieces, bytes of pieces, of extra
_HEAD = struct.Struct("<4sB3xQQQIIQQ")
_PIECE = struct.Struct("<QQ")
_CHECK = struct.Struct("<I")


class RedoKind(IntEnum):
    """What may be relied on when a record is read."""

    BASE = 0
    """The file was on the disk, complete, before the log was begun."""
    SOFT = 1
    """The file may lack what was added last; the checksum of that tells."""
    DURABLE = 2
    """All that the record relies on was on the disk before it was written."""


@dataclass(frozen=True, slots=True)
class RedoRecord:
    """One state of the file.

    Parameters
    ----------
    kind
        What may be relied on.
    end
        Length of the file in bytes.
    floor
        Up to here the file itself was not written to since the log was begun.
    data_check
        CRC-32 of the bytes of the file from `floor` to `end`.
    pieces
        Bytes below `floor` that have changed, with their places.
    extra
        What the owner of the file wants to know about this state.
    stop
        Where the record ends in the log.
    """

    kind: RedoKind
    end: int
    floor: int
    data_check: int
    pieces: Sequence[tuple[int, bytes]]
    extra: bytes
    stop: int = 0


def encode_record(record: RedoRecord, number: int) -> bytes:
    """Return the bytes of a record."""
    sizes = sum(len(content) for _, content in record.pieces)
    head = _HEAD.pack(
        _MAGIC,
        record.kind,
        number,
        record.end,
        record.floor,
        record.data_check,
        len(record.pieces),
        sizes,
        len(record.extra),
    )
    table = b"".join(_PIECE.pack(place, len(content)) for place, content in record.pieces)
    body = b"".join([head, table, *(content for _, content in record.pieces), record.extra])
    return body + _CHECK.pack(zlib.crc32(body))


def read_records(log: bytes | memoryview) -> Iterator[RedoRecord]:
    """Yield the complete records from the beginning of a log."""
    view = memoryview(log)
    start = number = 0
    while (record := _read_record(view, start, number)) is not None:
        yield record
        start = record.stop
        number += 1


def _read_record(view: memoryview, start: int, number: int) -> RedoRecord | None:
    if len(view) - start < _HEAD.size + _CHECK.size:
        return None
    magic, kind, stored, end, floor, check, pieces, sizes, extra = _HEAD.unpack_from(view, start)
    if magic != _MAGIC or stored != number or kind not in set(RedoKind):
        return None
    table = start + _HEAD.size
    content = table + pieces * _PIECE.size
    tail = content + sizes
    stop = tail + extra + _CHECK.size
    if stop > len(view):
        return None
    (expected,) = _CHECK.unpack_from(view, stop - _CHECK.size)
    if zlib.crc32(view[start : stop - _CHECK.size]) != expected:
        return None
    found = []
    for place, length in _PIECE.iter_unpack(view[table:content]):
        found.append((place, bytes(view[content : content + length])))
        content += length
    added = bytes(view[tail : tail + extra])
    return RedoRecord(RedoKind(kind), end, floor, check, found, added, stop)
