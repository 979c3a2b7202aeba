"""Pages of a TIFF: only the strips or tiles that are asked for are decoded."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .deflate import check_deflated
from .permissions import RefusedInputError
from .volume_limits import Box

if TYPE_CHECKING:
    import tifffile

__all__ = ["check_page_list", "check_strips", "read_page"]

#: Compressions that tifffile unpacks without a limit.
_DEFLATE = (8, 32946)
_MOST_PAGES = 10_000_000


def check_page_list(path: Path) -> None:
    """Follow the list of pages to its end: a file that was cut short has none.

    Raises
    ------
    InputError
        If the list leaves the file, runs in a circle, or is endless. Reading
        would otherwise find fewer pages, and say nothing.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4].strip(b"\0") == b"+"
        count, entry, link, at = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)
        width, jump = struct.calcsize(count), struct.calcsize(link)
        seen: set[int] = set()
        while True:
            file.seek(at)
            pointer = file.read(jump)
            if len(pointer) < jump:
                break
            page = struct.unpack(order + link, pointer)[0]
            if page == 0 and seen:
                return
            file.seek(page)
            number = file.read(width)
            if page in seen or len(number) < width or not page or len(seen) > _MOST_PAGES:
                break
            seen.add(page)
            at = page + width + entry * struct.unpack(order + count, number)[0]
            if at + jump > size:
                break
    raise InputError(
        f"its list of pages breaks off after {max(len(seen) - 1, 0)}",
        path=path,
        hint="it was cut short; copy it again",
    )


def check_strips(page: Any, path: Path) -> None:
    """Check that a page says of each of its strips or tiles where it is.

    Raises
    ------
    InputError
        If it does not.
    """
    wanted, offsets, sizes = (
        math.prod(page.keyframe.chunked),
        len(page.dataoffsets),
        len(page.databytecounts),
    )
    if min(offsets, sizes) < wanted or offsets != sizes:
        raise InputError(
            f"a page is cut into {wanted:,} strips or tiles, and has the places of {offsets:,} "
            f"and the sizes of {sizes:,}",
            path=path,
            hint="it is damaged; copy it again",
        )


def read_page(
    file: tifffile.TiffFile, page: Any, box: Box, out: npt.NDArray[Any], path: Path
) -> None:
    """Read a box of one page into `out`, strip by strip or tile by tile.

    Raises
    ------
    InputError
        If it is damaged, or compressed in a way that needs another package.
    """
    frame = page.keyframe
    check_strips(page, path)
    # the normal form: separate samples, depth, length, width, samples together
    normal = _normal_box(frame, box)
    target = out.reshape([b - a for a, b in normal]) if out.size else out
    copied = not np.shares_memory(target, out)
    for number, (start, count) in enumerate(
        zip(page.dataoffsets, page.databytecounts, strict=True)
    ):
        where = _segment_box(frame, number)
        common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(normal, where, strict=True)]
        if any(a >= b for a, b in common):
            continue
        decoded = _decode(file, frame, number, start, count, path)
        here = tuple(slice(a - n[0], b - n[0]) for (a, b), n in zip(common, normal, strict=True))
        if decoded is None:
            target[here] = frame.nodata
            continue
        part = tuple(slice(a - w[0], b - w[0]) for (a, b), w in zip(common, where, strict=True))
        # a tile or strip has no axis of separate samples
        target[here] = decoded[np.newaxis][part]
    if copied:
        out[...] = target.reshape(out.shape)


def _normal_box(frame: Any, box: Box) -> Box:
    """Return a box of a page with the axes of length 1 put back."""
    sides = dict(zip(frame.axes, box, strict=True))
    samples = sides.pop("S", (0, 1))
    planes, contig = ((0, 1), samples) if frame.shaped[0] == 1 else (samples, (0, 1))
    one = (0, 1)
    return (planes, sides.get("Z", one), sides.get("Y", one), sides.get("X", one), contig)


def _segment_box(frame: Any, number: int) -> Box:
    samples, depth, length, width, contig = frame.shaped
    if frame.is_tiled:
        size = (max(frame.tiledepth, 1), frame.tilelength, frame.tilewidth)
        counts = [-(-n // t) for n, t in zip((depth, length, width), size, strict=True)]
        sample, d, y, x = np.unravel_index(number, (samples, *counts))
        at = (int(d) * size[0], int(y) * size[1], int(x) * size[2])
    else:
        size = (1, frame.rowsperstrip, width)
        rows = -(-length // frame.rowsperstrip)
        sample, d, y = np.unravel_index(number, (samples, depth, rows))
        at = (int(d), int(y) * frame.rowsperstrip, 0)
    ends = [min(a + s, n) for a, s, n in zip(at, size, (depth, length, width), strict=True)]
    return ((int(sample), int(sample) + 1), *zip(at, ends, strict=True), (0, contig))


def _decode(
    file: tifffile.TiffFile, frame: Any, number: int, start: int, count: int, path: Path
) -> npt.NDArray[Any] | None:
    if count == 0 or start == 0:
        return None
    if start + count > file.filehandle.size:
        raise InputError("the file is cut short", path=path, hint="copy it again")
    try:
        with file.filehandle.lock:
            file.filehandle.seek(start)
            data = file.filehandle.read(count)
        if frame.compression in _DEFLATE:
            check_deflated(data, math.prod(frame.chunks) * frame.dtype.itemsize, path)
        decoded = frame.decode(data, number, jpegtables=frame.jpegtables)[0]
    except RefusedInputError:
        raise
    except Exception as err:
        # decoders raise whatever they like
        needs = "imagecodecs" in str(err)
        raise InputError(
            f"a page cannot be decoded: {str(err)[:200]}",
            path=path,
            hint="pip install imagecodecs" if needs else "copy it again",
        ) from err
    return None if decoded is None else np.asarray(decoded)
