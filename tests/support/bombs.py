"""Small streams that unpack to very many zeros."""

from __future__ import annotations

import functools
import struct
import zlib

import zstandard

__all__ = ["deflate_bomb", "zstd_bomb"]

_MIB = bytes(1 << 20)


@functools.cache
def zstd_bomb(size: int) -> bytes:
    """Return a frame of zstd that unpacks to whole MiB of zeros."""
    packer = zstandard.ZstdCompressor().compressobj(size=size)
    return b"".join([*(packer.compress(_MIB) for _ in range(size >> 20)), packer.flush()])


@functools.cache
def deflate_bomb(size: int, *, gzip: bool = False) -> bytes:
    """Return a stream of zlib or gzip that unpacks to whole MiB of zeros.

    All MiB are packed alike: one is packed, and repeated.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(_MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    body = part * (size >> 20) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    if not gzip:
        return b"\x78\xda" + body + struct.pack(">I", size % 65521 << 16 | 1)
    check = 0
    for _ in range(size >> 20):
        check = zlib.crc32(_MIB, check)
    head = b"\x1f\x8b\x08\0\0\0\0\0\2\xff"
    return head + body + struct.pack("<II", check, size % (1 << 32))
