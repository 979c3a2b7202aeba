"""Grey images as files that viewers of films and stacks open: TIFF and AVI."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..run.extras import require

__all__ = ["write_avi", "write_tiff"]

Images = Iterable[npt.NDArray[Any]]

#: A TIFF with larger places than this needs another form of it.
_MOST_TIFF = 2**32 - 2**25
#: The lengths in an AVI file have 32 bits.
_MOST_AVI = 2**32 - 2**20
_FRAMES_PER_SECOND = 25
#: Grey levels as a viewer wants them: blue, green, red, nothing.
_PALETTE = b"".join(bytes((level, level, level, 0)) for level in range(256))


def write_tiff(out: BinaryIO, images: Images, texts: Iterable[str], nbytes: int) -> None:
    """Write images as pages, each with a text; losslessly compressed."""
    require("volumes", "TIFF", "tifffile")
    import tifffile

    with tifffile.TiffWriter(out, bigtiff=nbytes > _MOST_TIFF) as tiff:
        for image, text in zip(images, texts, strict=True):
            tiff.write(
                image,
                photometric="minisblack",
                compression="zlib",
                compressionargs={"level": 1},
                description=text,
                metadata=None,
                software=False,
            )


def write_avi(out: BinaryIO, images: Images, number: int, shape: tuple[int, int]) -> None:
    """Write images of 8 bit as an uncompressed film."""
    height, width = shape
    frame = np.zeros((height, -(-width // 4) * 4), np.uint8)
    movie = 4 + number * (8 + frame.nbytes)
    header = _avi_header(number, shape, frame.nbytes)
    total = 4 + len(header) + 8 + movie + 8 + 16 * number
    if total > _MOST_AVI:
        raise UsageError(
            f"an AVI file holds no more than 4 GB, and these are {total / 2**30:.1f} GiB",
            hint="choose fewer events, or write a TIFF",
        )
    out.write(struct.pack("<4sI4s", b"RIFF", total, b"AVI ") + header)
    out.write(struct.pack("<4sI4s", b"LIST", movie, b"movi"))
    for image in images:
        frame[:, :width] = image[::-1]  # the lowest row comes first
        out.write(struct.pack("<4sI", b"00db", frame.nbytes) + frame.tobytes())
    out.write(struct.pack("<4sI", b"idx1", 16 * number))
    for place in range(number):
        offset = 4 + place * (8 + frame.nbytes)
        out.write(struct.pack("<4s3I", b"00db", 0x10, offset, frame.nbytes))


def _avi_header(number: int, shape: tuple[int, int], frame_bytes: int) -> bytes:
    """Return the list that describes the film and its only stream."""
    height, width = shape
    rate = _FRAMES_PER_SECOND
    film = struct.pack(
        "<14I",
        *(1_000_000 // rate, frame_bytes * rate, 0, 0x10, number, 0, 1, frame_bytes),
        *(width, height, 0, 0, 0, 0),
    )
    stream = struct.pack(
        "<4s4sIHH8I4h",
        *(b"vids", b"DIB ", 0, 0, 0, 0, 1, rate, 0, number, frame_bytes, 2**32 - 1, 0),
        *(0, 0, width, height),
    )
    pixels = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, frame_bytes, 0, 0, 256, 256)
    streams = b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", pixels + _PALETTE)
    return _chunk(b"LIST", b"hdrl" + _chunk(b"avih", film) + _chunk(b"LIST", streams))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content
