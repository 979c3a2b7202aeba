"""Pages of a TIFF: only the strips or tiles that are asked for are decoded."""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError
from .permissions import Permissions
from .volume_limits import Box
from .volume_tiff_codecs import check_encoded, cut_deflated

__all__ = ["PageKind", "check_strips", "opened", "read_page", "scan_pages"]

_MAX_PAGES = 10_000_000
#: Tags that say how the voxels of a page are shaped, and how they are stored.
_SHAPE = (256, 257, 258, 277, 284, 339, 32997)
_STORAGE = (259, 262, 266, 278, 317, 322, 323, 32998)
#: Bytes of a number of the types that such tags have.
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class PageKind:
    """Values of tags that pages of one image share."""

    shape: tuple[tuple[int, ...], ...]
    storage: tuple[tuple[int, ...], ...]


def scan_pages(path: Path) -> dict[int, PageKind]:
    """Follow the list of pages to its end, and return place and kind of each."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4].strip(b"\0") == b"+"
        count, entry, link, at = ("Q", "HHQ8s", "Q", 8) if big else ("H", "HHI4s", "I", 4)
        width, jump = struct.calcsize(count), struct.calcsize(link)
        entries = struct.Struct(order + entry)
        kinds: dict[int, PageKind] = {}
        known: dict[PageKind, PageKind] = {}
        while True:
            file.seek(at)
            pointer = file.read(jump)
            if len(pointer) < jump:
                break
            page = struct.unpack(order + link, pointer)[0]
            if page == 0 and kinds:
                return kinds
            file.seek(page)
            number = file.read(width)
            if page in kinds or len(number) < width or not page or len(kinds) > _MAX_PAGES:
                break
            tags = struct.unpack(order + count, number)[0]
            at = page + width + entries.size * tags
            if at + jump > size or tags > 2**16:
                break
            kind = _kind(file, entries.iter_unpack(file.read(entries.size * tags)), order)
            kinds[page] = known.setdefault(kind, kind)
    raise InputError(
        f"its list of pages breaks off after {max(len(kinds) - 1, 0)}",
        path=path,
        hint="it was cut short; copy it again",
    )


def _kind(file: BinaryIO, tags: Iterable[tuple[int, int, int, bytes]], order: str) -> PageKind:
    found: dict[int, tuple[int, ...]] = {}
    for code, type_, count, value in tags:
        if (code in _SHAPE or code in _STORAGE) and type_ in _NUMBERS and count <= 64:
            form = struct.Struct(f"{order}{count}{_NUMBERS[type_]}")
            if form.size > len(value):
                file.seek(struct.unpack(order + ("Q" if len(value) == 8 else "I"), value)[0])
                value = file.read(form.size)
            if len(value) >= form.size:
                found[code] = form.unpack(value[: form.size])
    if (length := found.get(257)) and 278 in found:
        found[278] = (min(found[278][0], length[0]),)  # all rows are often said as 2^32 - 1
    return PageKind(
        tuple(found.get(code, ()) for code in _SHAPE),
        tuple(found.get(code, ()) for code in _STORAGE),
    )


def check_strips(page: Any, path: Path) -> None:
    """Check that a page says of each of its strips or tiles where it is."""
    frame = page.keyframe
    empty = 0 in frame.shaped or (frame.is_tiled and 0 in (frame.tilelength, frame.tilewidth))
    wanted = 0 if empty else math.prod(frame.chunked)
    offsets, sizes = len(page.dataoffsets), len(page.databytecounts)
    if empty or min(offsets, sizes) < wanted or offsets != sizes:
        raise InputError(
            f"a page is cut into {wanted:,} strips or tiles, and has the places of {offsets:,} "
            f"and the sizes of {sizes:,}",
            path=path,
            hint="it is damaged; copy it again",
        )


def read_page(page: Any, box: Box, out: npt.NDArray[Any], path: Path, may: Permissions) -> None:
    """Read a box of one page into `out`, strip by strip or tile by tile."""
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
        voxels = math.prod(frame.chunks if frame.is_tiled else [b - a for a, b in where[1:]])
        decoded = _decode(page, number, (start, count), voxels, path, may)
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
    page: Any, number: int, place: tuple[int, int], voxels: int, path: Path, may: Permissions
) -> npt.NDArray[Any] | None:
    """Return a strip or tile of so many voxels, or None where nothing was written."""
    if 0 in place:
        return None
    frame = page.keyframe
    try:
        data = _stored_bytes(page.parent.filehandle, *place, path)
        check_encoded(frame, data, path, may)
        tables = {"jpegtables": page.jpegtables, "jpegheader": frame.jpegheader}
        try:
            decoded = frame.decode(data, number, **tables)[0]
        except Exception:
            if (shorter := cut_deflated(frame, data, voxels)) is None:
                raise
            decoded = frame.decode(shorter, number, **tables)[0]
    except CytovoxError:
        raise
    except Exception as err:
        # decoders raise whatever they like
        raise InputError(
            f"a page cannot be decoded: {str(err)[:200]}",
            path=path,
            hint="copy it again",
        ) from err
    return None if decoded is None else np.asarray(decoded)


def _stored_bytes(handle: Any, start: int, count: int, path: Path) -> bytes:
    """Read a part of a file."""
    with handle.lock, opened(handle):
        if start + count > handle.size:
            raise InputError("the file is cut short", path=path, hint="copy it again")
        handle.seek(start)
        data: bytes = handle.read(count)
    return data


@contextlib.contextmanager
def opened(handle: Any) -> Iterator[None]:
    """Open the handle of a file for a moment, if it is closed: sets can have many files."""
    closed = handle.closed
    if closed:
        handle.open()
    try:
        yield
    finally:
        if closed:
            handle.close()
