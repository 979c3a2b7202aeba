"""What a compressed strip or tile becomes, before it is decompressed.

Decoders of bytes (deflate, LZW, Zstandard and so on) receive how many bytes a
strip or tile has, and take no more. Decoders of images take the size from the
header of what they decode, which can promise anything: it is compared first.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import unpack_from
from typing import Any

from ..errors import InputError
from .permissions import Permissions, RefusedInputError

__all__ = ["check_encoded", "cut_deflated"]

#: Width, height and samples of an encoded image; None if it is not of this kind.
Size = tuple[int, int, int] | None

_DEFLATE = (8, 32946, 50013)
#: An image of so few pixels is harmless, whatever was expected.
_HARMLESS_PIXELS = 1 << 22
_MAX_SAMPLES = 8
#: So much is unpacked and thrown away to come to the end of a strip [bytes].
_FILLED = 1 << 28


def check_encoded(frame: Any, data: bytes, path: Path, may: Permissions) -> None:
    """Refuse a strip or tile that becomes much more than it should."""
    measure = _MEASURES.get(int(frame.compression))
    if measure is None or may.oversized:
        return
    pixels = math.prod(frame.chunks[:2] if frame.tiledepth <= 1 else frame.chunks[:3])
    size = _measured(measure, data) or _measured(measure, frame.jpegheader or b"")
    if size is None:
        name = getattr(frame.compression, "name", frame.compression)
        raise InputError(
            f"a page is not {name} as it says, or of an unknown kind of it",
            path=path,
            hint="copy it again, or save it with another compression",
        )
    if math.prod(size) > max(pixels, _HARMLESS_PIXELS) * _MAX_SAMPLES:
        raise RefusedInputError(
            f"a piece of {pixels:,} pixels unpacks to {' x '.join(map(str, size))}",
            path=path,
            hint="it is damaged; get the file again",
        )


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


def _measured(measure: Callable[[bytes], Size], data: bytes) -> Size:
    try:
        return measure(data)
    except struct.error:  # it is too short
        return None


def _png(data: bytes) -> Size:
    head, name, width, height, colours = unpack_from(">8s4x4sIIxB", data)
    if head != b"\x89PNG\r\n\x1a\n" or name != b"IHDR":
        return None
    return width, height, {0: 1, 2: 3, 3: 3, 4: 2}.get(colours, 4)


def _jpeg(data: bytes) -> Size:
    """Follow the markers to the frame header."""
    at = data.find(b"\xff", 2) if data[:2] == b"\xff\xd8" else -1
    while at >= 0:
        (marker,) = unpack_from("B", data, at + 1)
        if marker == 0xFF:
            at += 1
        elif marker == 1 or 0xD0 <= marker <= 0xD9:
            at += 2
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width, samples = unpack_from(">HHB", data, at + 5)
            return width, height, samples
        else:
            at += 2 + int(unpack_from(">H", data, at + 2)[0])
        at = data.find(b"\xff", at)
    return None


def _jpeg2000(data: bytes) -> Size:
    """Read the SIZ marker, which stands first in a codestream."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if at < 0:
        return None
    right, bottom, left, top, samples = unpack_from(">4I16xH", data, at + 8)
    return right - left, bottom - top, samples


def _webp(data: bytes) -> Size:
    head, name, kind = unpack_from("<4s4x4s4s", data)
    if (head, name) != (b"RIFF", b"WEBP"):
        return None
    if kind == b"VP8X":
        width, height = (int.from_bytes(n, "little") for n in unpack_from("3s3s", data, 24))
        return width + 1, height + 1, 4
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4
    width, height = unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF, 4


def _jpegxl(data: bytes) -> Size:
    at = data.find(b"\xff\x0a", 0, 1 << 16)
    if at < 0 or (at and data[4:8] != b"JXL "):
        return None
    bits = int.from_bytes(data[at + 2 : at + 18], "little")

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


def _jpegxr(data: bytes) -> Size:
    if data[:3] != b"II\xbc":
        return None
    (at,) = unpack_from("<I", data, 4)
    (count,) = unpack_from("<H", data, at)
    entries = struct.iter_unpack("<HHI4s", data[at + 2 : at + 2 + 12 * count])
    found = {
        code: int.from_bytes(value[: 2 if kind == 3 else 4], "little")
        for code, kind, _, value in entries
    }
    return (found[0xBC80], found[0xBC81], 4) if found.keys() >= {0xBC80, 0xBC81} else None


def _lerc(data: bytes) -> Size:
    if data[:6] == b"Lerc2 ":
        (version,) = unpack_from("<I", data, 6)
        rows, columns, samples = unpack_from("<III", data, 14 if version >= 3 else 10)
        return columns, rows, samples if version >= 4 else 1
    if data[:10] == b"CntZImage ":
        rows, columns = unpack_from("<II", data, 18)
        return columns, rows, 1
    return None


_MEASURES: dict[int, Callable[[bytes], Size]] = {
    **dict.fromkeys((6, 7, 33007, 34892), _jpeg),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg2000),
    **dict.fromkeys((22610, 34934), _jpegxr),
    **dict.fromkeys((50002, 52546), _jpegxl),
    34887: _lerc,
    34933: _png,
    50001: _webp,
}
