"""What a compressed strip or tile becomes, before it is decompressed.

Decoders of bytes (deflate, LZW, Zstandard and so on) receive how many bytes a
strip or tile has, and take no more. Decoders of images take the size from the
header of what they decode, which can promise anything: it is compared first.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .permissions import Permissions, RefusedInputError

__all__ = ["check_encoded", "cut_deflated", "encoded_size"]

_DEFLATE = (8, 32946, 50013)
#: An image of so few pixels is harmless, whatever was expected.
_HARMLESS_PIXELS = 1 << 22
_MAX_SAMPLES = 8


def check_encoded(frame: Any, data: bytes, path: Path, may: Permissions) -> None:
    """Refuse a strip or tile that becomes much more than it should."""
    measure = _MEASURES.get(int(frame.compression))
    if measure is None or may.oversized:
        return
    pixels = math.prod(frame.chunks[:2] if frame.tiledepth <= 1 else frame.chunks[:3])
    size = encoded_size(measure, data) or encoded_size(measure, frame.jpegheader or b"")
    if size is None:
        raise InputError(
            f"a page is not {_name(frame)} as it says, or of an unknown kind of it",
            path=path,
            hint="copy it again, or save it with another compression",
        )
    if math.prod(size) > max(pixels, _HARMLESS_PIXELS) * _MAX_SAMPLES:
        raise RefusedInputError(
            f"a piece of {pixels:,} pixels unpacks to {' x '.join(map(str, size))}",
            path=path,
            hint="it is damaged; get the file again",
        )


#: So much is unpacked and thrown away to come to the end of a strip [bytes].
_FILLED = 1 << 28


def cut_deflated(frame: Any, data: bytes, voxels: int) -> bytes | None:
    """Return a deflated strip anew that becomes more than its voxels, or None if it does not.

    Some programs fill up the last strip of a page.
    """
    if int(frame.compression) not in _DEFLATE:
        return None
    size = voxels * frame.dtype.itemsize
    decoder = zlib.decompressobj()
    try:
        unpacked = decoder.decompress(data, size + 1)
        # only the end has the checksum: a damaged strip may become longer, too
        left, step = _FILLED, unpacked
        while step and left > 0 and not decoder.eof:
            step = decoder.decompress(decoder.unconsumed_tail, 1 << 20)
            left -= len(step)
    except zlib.error:
        return None
    good = decoder.eof and len(unpacked) > size
    return zlib.compress(unpacked[:size], 1) if good else None


def encoded_size(
    measure: Callable[[bytes], tuple[int, ...] | None], data: bytes
) -> tuple[int, ...] | None:
    """Return width, height and samples of an encoded image, or None if it is not one."""
    try:
        return measure(data)
    except (IndexError, ValueError):
        return None


def _name(frame: Any) -> str:
    return str(getattr(frame.compression, "name", frame.compression))


def _number(data: bytes, at: int, size: int, order: Any = "big") -> int:
    if at < 0 or at + size > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + size], order)


def _png(data: bytes) -> tuple[int, ...] | None:
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    samples = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(_number(data, 25, 1), 4)
    return _number(data, 16, 4), _number(data, 20, 4), samples


def _jpeg(data: bytes) -> tuple[int, ...] | None:
    """Follow the markers to the frame header."""
    at = 2
    while data[:2] == b"\xff\xd8":
        while _number(data, at, 1) != 0xFF:
            at += 1
        marker = _number(data, at + 1, 1)
        if marker == 0xFF or marker == 1 or 0xD0 <= marker <= 0xD9:
            at += 1 if marker == 0xFF else 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) or marker == 0xF7:
            return _number(data, at + 7, 2), _number(data, at + 5, 2), _number(data, at + 9, 1)
        else:
            at += 2 + _number(data, at + 2, 2)
    return None


def _jpeg2000(data: bytes) -> tuple[int, ...] | None:
    """Read the SIZ marker, which stands first in a codestream."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if at < 0:
        return None
    right, bottom, left, top = (_number(data, at + 8 + 4 * i, 4) for i in range(4))
    return right - left, bottom - top, _number(data, at + 40, 2)


def _webp(data: bytes) -> tuple[int, ...] | None:
    kind = data[12:16]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if kind == b"VP8X":
        return _number(data, 24, 3, "little") + 1, _number(data, 27, 3, "little") + 1, 4
    if kind == b"VP8L":
        bits = _number(data, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4
    return _number(data, 26, 2, "little") & 0x3FFF, _number(data, 28, 2, "little") & 0x3FFF, 4


def _jpegxl(data: bytes) -> tuple[int, ...] | None:
    at = data.find(b"\xff\x0a", 0, 1 << 16)
    if at < 0 or (at and data[4:8] != b"JXL "):
        return None
    bits = _number(data[at + 2 :].ljust(16, b"\0"), 0, 16, "little")

    def take(count: int) -> int:
        nonlocal bits
        taken, bits = bits & ((1 << count) - 1), bits >> count
        return taken

    small = take(1)

    def length() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = length()
    ratio = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[take(3)]
    width = length() if ratio is None else height * ratio[0] // ratio[1]
    return width, height, 4


def _jpegxr(data: bytes) -> tuple[int, ...] | None:
    if data[:3] != b"II\xbc":
        return None
    at = _number(data, 4, 4, "little")
    found = {}
    for number in range(_number(data, at, 2, "little")):
        entry = at + 2 + 12 * number
        width = 2 if _number(data, entry + 2, 2, "little") == 3 else 4
        found[_number(data, entry, 2, "little")] = _number(data, entry + 8, width, "little")
    return (found[0xBC80], found[0xBC81], 4) if found.keys() >= {0xBC80, 0xBC81} else None


def _lerc(data: bytes) -> tuple[int, ...] | None:
    if data[:6] == b"Lerc2 ":
        version = _number(data, 6, 4, "little")
        at = 10 + (4 if version >= 3 else 0)
        rows, columns = _number(data, at, 4, "little"), _number(data, at + 4, 4, "little")
        return columns, rows, _number(data, at + 8, 4, "little") if version >= 4 else 1
    if data[:10] == b"CntZImage ":
        return _number(data, 22, 4, "little"), _number(data, 18, 4, "little"), 1
    return None


_MEASURES: dict[int, Callable[[bytes], tuple[int, ...] | None]] = {
    **dict.fromkeys((6, 7, 33007, 34892), _jpeg),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg2000),
    **dict.fromkeys((22610, 34934), _jpegxr),
    **dict.fromkeys((50002, 52546), _jpegxl),
    34887: _lerc,
    34933: _png,
    50001: _webp,
}
