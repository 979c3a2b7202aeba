"""Pages of TIFF files, by number; only the strips or tiles that are asked for are decoded."""

from __future__ import annotations

import contextlib
import logging
import math
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError
from .permissions import Permissions
from .volume_folder import check_regular
from .volume_limits import Box
from .volume_tiff_codecs import check_encoded, cut_deflated

if TYPE_CHECKING:
    import tifffile

__all__ = [
    "PageKind",
    "Plane",
    "Sizes",
    "TiffFiles",
    "TiffImage",
    "check_strips",
    "image_of",
    "incomplete",
    "opened",
    "read_page",
    "reading",
]

#: A file, and the number of a page in it.
Plane = tuple[Path, int]
#: Size of a voxel and its unit as it is written, by axis; absent if unknown.
Sizes = dict[str, tuple[float, str]]

# It logs whatever is odd about a file, which is shown where no logging is set up.
# Programs that set it up see it; for the others an error says what matters.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_MAX_PAGES = 10_000_000
#: Files beside the first one whose lists of pages are kept.
_MAX_KEPT = 1000
#: Tags that say how the voxels of a page are shaped, and how they are stored.
_SHAPE = (256, 257, 258, 277, 284, 339, 32997)
_STORAGE = (259, 262, 266, 278, 317, 322, 323, 32998)
#: Bytes of a number of the types that such tags have.
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


class PageKind(NamedTuple):
    """Values of tags that pages of one image share."""

    shape: tuple[tuple[int, ...], ...]
    storage: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _TiffFile:
    tiff: tifffile.TiffFile
    #: Offset and kind of each page.
    pages: list[tuple[int, PageKind]]
    keyframes: dict[PageKind, Any] = field(default_factory=dict)


class TiffFiles:
    """A TIFF, and the files beside it that hold planes of its images."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._files: dict[Path, _TiffFile] = {}
        self.tiff = self._file(path).tiff

    def kinds(self, path: Path) -> list[tuple[int, PageKind]]:
        """Return offset and kind of each page of a file."""
        return self._file(path).pages

    def page(self, path: Path, number: int, level: int | None = None) -> Any:
        """Return a page of a file, or one of its coarser forms."""
        import tifffile

        with self.lock:
            file = self._file(path)
            if not 0 <= number < len(file.pages):
                count = len(file.pages)
                what = f"its metadata name page {number} of {path.name}, which has {count}"
                raise incomplete(what, self.path)
            offset, kind = file.pages[number]
            with opened(file.tiff.filehandle) as handle:
                page: Any
                if (keyframe := file.keyframes.get(kind)) is not None:
                    page = tifffile.TiffFrame(file.tiff, number, offset=offset, keyframe=keyframe)
                else:
                    handle.seek(offset)
                    page = file.keyframes[kind] = tifffile.TiffPage(file.tiff, number)
                return page if level is None else page.aspage().pages[level]

    def close(self) -> None:
        """Close the first file; the others are closed."""
        self.tiff.close()

    def _file(self, path: Path) -> _TiffFile:
        with self.lock:
            if path not in self._files:
                if len(self._files) > _MAX_KEPT:
                    del self._files[next(p for p in self._files if p != self.path)]
                self._files[path] = self._open(path)
            return self._files[path]

    def _open(self, path: Path) -> _TiffFile:
        import tifffile

        check_regular(path)
        with reading(path):
            pages = list(_scan_pages(path).items())
            uniform = None if len({kind for _, kind in pages}) == 1 else False
            # images of OME-TIFF are put together here, where no plane may be missing
            tiff = tifffile.TiffFile(path, is_ome=False, is_uniform=uniform)
            tiff.filehandle.set_lock(True)
            if path != self.path:
                tiff.filehandle.close()
        return _TiffFile(tiff, pages)


def incomplete(what: str, path: Path) -> InputError:
    """Return the error for an image whose metadata and pages differ."""
    hint = f"copy the whole set again, or read the pages of this file alone as {path}:/pages"
    return InputError(what, path=path, hint=hint)


@contextlib.contextmanager
def reading(path: Path, what: str = "this is not a TIFF that can be read") -> Iterator[None]:
    """Let errors name the file: damaged tags and decoders make any kind of error."""
    try:
        yield
    except (CytovoxError, Warning):
        raise
    except Exception as err:
        raise InputError(f"{what}: {str(err)[:200]}", path=path, hint="copy it again") from err


@contextlib.contextmanager
def opened(handle: Any) -> Iterator[Any]:
    """Use the handle of a file alone; open it for a moment if it is closed, as sets are large."""
    with handle.lock:
        closed = handle.closed
        if closed:
            handle.open()
        try:
            yield handle
        finally:
            if closed:
                handle.close()


@dataclass(frozen=True, slots=True)
class TiffImage:
    """An image: some axes, then those of a page."""

    axes: str
    shape: tuple[int, ...]
    keyframe: Any
    #: Number of pages, and a function that returns one.
    count: int
    page: Callable[[int], Any]
    files: tuple[Path, ...]
    name: str = ""
    kind: str = ""
    sizes: Sizes = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    levels: tuple[TiffImage, ...] = ()
    #: Offset of the voxels, where it is known without a look at each page.
    start: int | None = None

    def contiguous(self) -> int | None:
        """Return where the voxels are in the file as in memory, or None."""
        frame = self.keyframe
        if self.start is not None or not frame.is_final or len(self.files) > 1:
            return self.start
        start = self.page(0).dataoffsets[0]
        inside = np.subtract(frame.dataoffsets, frame.dataoffsets[0])
        for number in range(self.count):
            page = self.page(number)
            expected = inside + (start + number * frame.nbytes)
            if page is None or not np.array_equal(page.dataoffsets, expected):
                return None
        return int(start)


def image_of(
    files: TiffFiles,
    planes: list[Plane],
    outer: Mapping[str, int],
    level: int | None = None,
    *,
    alone: bool = False,
) -> TiffImage:
    """Return pages as an image, in the order of some axes.

    They must be as the first, and each the only one in its file if it is `alone`.
    """
    first = files.page(*planes[0], level).keyframe

    def page(number: int) -> Any:
        path = planes[number][0]
        if alone and (count := len(files.kinds(path))) != 1:
            hint = "keep only the pages of one stack in the folder"
            raise InputError(f"it holds {count} pages, not one of a stack", path=path, hint=hint)
        found = files.page(*planes[number], level)
        key = found.keyframe
        if (key.shape, key.axes, key.dtype) != (first.shape, first.axes, first.dtype):
            raise InputError(
                f"it holds a page of {key.shape} voxels of {key.dtype}, not one of {first.shape} "
                f"of {first.dtype} as the first",
                path=path,
                hint="keep only files of one set in the folder",
            )
        return found

    return TiffImage(
        "".join(outer) + first.axes,
        (*outer.values(), *first.shape),
        first,
        len(planes),
        page,
        tuple(dict.fromkeys((files.path, *(path for path, _ in planes)))),
    )


def _scan_pages(path: Path) -> dict[int, PageKind]:
    """Follow the list of pages to its end, and return place and kind of each."""
    kinds: dict[int, PageKind] = {}
    known: dict[PageKind, PageKind] = {}
    with path.open("rb") as file:
        head = file.read(4)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:].strip(b"\0") == b"+"
        count, entry, link, at = ("Q", "HHQ8s", "Q", 8) if big else ("H", "HHI4s", "I", 4)
        entries = struct.Struct(order + entry)

        def number(form: str, at: int) -> int:
            file.seek(at)
            return int(struct.unpack(order + form, file.read(struct.calcsize(form)))[0])

        with contextlib.suppress(struct.error, OverflowError, OSError):
            while (page := number(link, at)) or not kinds:
                tags = number(count, page)
                if page in kinds or not page or len(kinds) > _MAX_PAGES or tags > 2**16:
                    break
                listed = file.read(entries.size * tags)
                at = page + struct.calcsize(count) + entries.size * tags
                kind = _kind(file, entries.iter_unpack(listed), order)
                kinds[page] = known.setdefault(kind, kind)
            else:
                return kinds
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
    shape, storage = (tuple(found.get(code, ()) for code in codes) for codes in (_SHAPE, _STORAGE))
    return PageKind(shape, storage)


def check_strips(page: Any, path: Path) -> None:
    """Check that a page says of each of its strips or tiles where it is."""
    frame = page.keyframe
    empty = 0 in frame.shaped or (frame.is_tiled and 0 in (frame.tilelength, frame.tilewidth))
    with reading(path, "the strips of a page cannot be counted"):
        wanted = 0 if empty else math.prod(frame.chunked)
    offsets, sizes = len(page.dataoffsets), len(page.databytecounts)
    if empty or min(offsets, sizes) < wanted or offsets != sizes:
        raise InputError(
            f"a page is cut into {wanted:,} strips or tiles, and has the places of {offsets:,} "
            f"and the sizes of {sizes:,}",
            path=path,
            hint="it is damaged; copy it again",
        )


def read_page(page: Any, box: Box, out: npt.NDArray[Any], may: Permissions) -> None:
    """Read a box of one page into `out`, strip by strip or tile by tile."""
    frame, path = page.keyframe, Path(page.parent.filehandle.path)
    check_strips(page, path)
    # the normal form: separate samples, depth, length, width, samples together
    normal = _normal_box(frame, box)
    target = out.reshape([b - a for a, b in normal])  # a view: only axes of length 1 are added
    with reading(path, "a page cannot be decoded"):
        for number, place in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            _, at, shape = frame.decode(None, number)
            # a tile or strip has no axis of separate samples, and may be larger than the page
            sides = [
                (max(a, c), min(b, c + n))
                for (a, b), c, n in zip(normal, at, (1, *shape), strict=True)
            ]
            if any(a >= b for a, b in sides):
                continue
            decoded = _decode(page, number, place, math.prod(shape), may)
            here = tuple(slice(a - n, b - n) for (a, b), (n, _) in zip(sides, normal, strict=True))
            part = tuple(slice(a - c, b - c) for (a, b), c in zip(sides, at, strict=True))
            target[here] = frame.nodata if decoded is None else decoded[np.newaxis][part]


def _normal_box(frame: Any, box: Box) -> Box:
    """Return a box of a page with the axes of length 1 put back."""
    sides = dict(zip(frame.axes, box, strict=True))
    samples = sides.pop("S", (0, 1))
    planes, contig = ((0, 1), samples) if frame.shaped[0] == 1 else (samples, (0, 1))
    one = (0, 1)
    return (planes, sides.get("Z", one), sides.get("Y", one), sides.get("X", one), contig)


def _decode(
    page: Any, number: int, place: tuple[int, int], voxels: int, may: Permissions
) -> npt.NDArray[Any] | None:
    """Return a strip or tile of so many voxels, or None where nothing was written."""
    if 0 in place:
        return None
    frame, path = page.keyframe, Path(page.parent.filehandle.path)
    with opened(page.parent.filehandle) as handle:
        if sum(place) > handle.size:
            raise InputError("the file is cut short", path=path, hint="copy it again")
        handle.seek(place[0])
        data = handle.read(place[1])
    check_encoded(frame, data, path, may)
    tables = {"jpegtables": page.jpegtables, "jpegheader": frame.jpegheader}
    try:
        decoded = frame.decode(data, number, **tables)[0]
    except Exception:  # decoders raise whatever they like
        if (shorter := cut_deflated(frame, data, voxels)) is None:
            raise
        decoded = frame.decode(shorter, number, **tables)[0]
    return None if decoded is None else np.asarray(decoded)
