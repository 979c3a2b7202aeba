"""Opening HDF5 files: each once, and with messages that say what is wrong."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import h5py

# Importing it registers the compression filters that recordings use.
import hdf5plugin  # noqa: F401

from ..errors import CytovoxError, InputError, InputNotFoundError, StorageError
from ..run.fingerprint import FileStamp
from .chunks import ChunkIndex
from .members import chunk_infos, dataset_ids
from .permissions import Permissions

__all__ = [
    "Examination",
    "OpenedFile",
    "OpenedFiles",
    "check_heaps",
    "open_file",
    "open_unlocked",
    "open_own_file",
    "read_error",
    "read_errors",
    "system_errno",
]

_plugins = threading.Lock()
#: What HDF5 says of a file that is marked as open, as newer formats are.
_OPEN_MARK = "already open for write"

# Heaps, in which texts of variable length are one after another: HDF5 goes from one
# object to the next by the sizes that they say. Where one says 0, the library (2.0 and
# before) loops for ever, and neither an error nor a signal but SIGKILL leads out of
# that. So the sizes are looked at before HDF5 does, in all that is not a chunk.
_SIGNATURE = b"GCOL"
#: Where the first object of a heap begins, and least bytes that an object takes.
_HEADER = _OBJECT = 16
#: Where a heap, and an object, says its size.
_SIZE_AT = 8
#: Objects are numbered by two bytes; what is free is one more.
_MOST_OBJECTS = (1 << 16) + 1
#: HDF5 makes no smaller heaps, so there is none in a smaller gap [bytes].
_SMALLEST = 4096
#: So much is read at a time [bytes].
_PIECE = 1 << 22


def _keep_to_known_filters() -> None:
    """Let HDF5 load no filter libraries from folders, which it does once a file asks for one.

    The filters of hdf5plugin are registered already and need no such folder.
    """
    with _plugins:
        while h5py.h5pl.size():
            h5py.h5pl.remove(0)


def open_own_file(path: Path, mode: str, **options: Any) -> h5py.File:
    """Open an HDF5 file of this program, also where the file system refuses locks."""
    try:
        return h5py.File(path, mode, **options)
    except BlockingIOError:  # another program has it
        raise
    except OSError as err:
        if "lock" not in str(err).lower():
            raise
        return h5py.File(path, mode, locking=False, **options)


@dataclass(eq=False, slots=True)
class Examination:
    """What was allowed when a file was examined, and what was found then."""

    permissions: Permissions
    #: What is read from elsewhere, in words.
    followed: list[str] = field(default_factory=list)
    #: Other files of which parts are shown.
    others: set[Path] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class OpenedFile:
    """An HDF5 file that is open for reading, for all its readers."""

    h5: h5py.File
    #: Whether another program had it open for writing.
    is_growing: bool = False
    #: What it was like just before it was opened; None for a stream.
    stamp: FileStamp | None = None
    examined: list[Examination] = field(default_factory=list)
    #: Where the chunks of its datasets are, by name and shape.
    indices: dict[tuple[str, tuple[int, ...]], ChunkIndex] = field(default_factory=dict)

    def index_of(self, dataset: h5py.Dataset) -> ChunkIndex:
        """Return where the chunks of a dataset of this file are, the same for all its readers."""
        # a file that another program writes may have more chunks once it has more rows
        key = dataset.name, dataset.shape
        return self.indices.get(key) or self.indices.setdefault(key, ChunkIndex(dataset))


class OpenedFiles:
    """The file of a reader and those to which it leads, each opened once and kept open.

    While a file is kept open, HDF5 finds the same one, so that what has been
    checked is what is read. What a lender has open is used and not opened again;
    it is kept open as long as that is needed by the owner of the lender.
    """

    def __init__(self, lender: OpenedFiles | None = None) -> None:
        self._lender = lender
        self._own: dict[Path, OpenedFile] = {}
        self.lock: Any = threading.RLock() if lender is None else lender.lock
        #: The other files, without symbolic links on the way there.
        self.others: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here; may be called again."""
        opened, self._own = self._own, {}
        self.others = set()
        for file in opened.values():
            file.h5.close()

    def open(self, path: Path, permissions: Permissions) -> OpenedFile:
        """Return a file, which is opened unless it is open."""
        place = path.absolute()
        with self.lock:
            found = self.find(place)
            if found is None:
                stamp = None
                with contextlib.suppress(OSError):  # opening reports what is wrong
                    stamp = FileStamp.of(place) if place.is_file() else None
                found = self._own[place] = open_file(path, permissions)
                found.stamp = stamp
            return found

    def open_other(self, path: Path, permissions: Permissions) -> OpenedFile:
        """Return a file that another one shows parts of."""
        there = path.resolve()
        opened = self.open(there, permissions)
        self.others.add(there)
        return opened

    def find(self, place: Path) -> OpenedFile | None:
        """Return a file that is open, here or at a lender."""
        found = self._own.get(place)
        if found is None and self._lender is not None:
            found = self._lender.find(place)
        return found


def open_file(source: Path | BinaryIO, permissions: Permissions) -> OpenedFile:
    """Open any HDF5 file or stream for reading."""
    if not permissions.oversized:
        _keep_to_known_filters()
    if isinstance(source, Path):
        if not source.exists():
            raise InputNotFoundError("there is no such file", path=source, hint="check the path")
        if not source.is_file():
            raise InputError("this is not a file", path=source, hint="give a recording (.rtdc)")
    return _checked(source, *_open(source, permissions.growing))


def open_unlocked(path: Path, *, is_known: bool = False) -> OpenedFile:
    """Open a file that another program may write, which shall never notice it.

    One that is known was opened before, and is not searched for damage again.
    """
    _keep_to_known_filters()
    h5, is_growing = _open(path, growing=True, locking=False)
    return OpenedFile(h5, is_growing) if is_known else _checked(path, h5, is_growing)


def _checked(source: Path | BinaryIO, h5: h5py.File, is_growing: bool) -> OpenedFile:
    try:
        check_heaps(h5, source)
    except BaseException:
        h5.close()
        raise
    return OpenedFile(h5, is_growing)


def _open(source: Path | BinaryIO, growing: bool, **options: Any) -> tuple[h5py.File, bool]:
    """Return a file, and whether another program has it open for writing."""
    path = source if isinstance(source, Path) else None
    how: dict[str, Any] = {"libver": "latest", **options}
    is_growing = False
    while True:
        try:
            return h5py.File(source, "r", **how), is_growing
        except BlockingIOError as err:
            if not growing or is_growing:
                raise InputError(
                    "another program has this file open for writing",
                    path=path,
                    hint="wait until it is closed; to measure it meanwhile: cytovox live; to "
                    "measure what is there now: cytovox run --growing",
                ) from err
            is_growing = True
            how["locking"] = False
        except PermissionError as err:
            what = "the file may not be read"
            raise InputError(what, path=path, hint="check its rights") from err
        except OSError as err:
            if path is not None and "lock" in str(err).lower() and "locking" not in how:
                # the file system may refuse locks, another library in this process may
                # hold the file without
                how["locking"] = False
            elif growing and _OPEN_MARK in str(err) and "swmr" not in how:
                # a writer that lets others read meanwhile (SWMR), which holds no lock
                is_growing = how["swmr"] = True
            else:
                raise _explain(err, path) from err


def _explain(err: OSError, path: Path | None) -> InputError:
    text = str(err)
    if path is not None and path.stat().st_size == 0:
        return InputError("the file is empty", path=path, hint="copy it again")
    if "truncated" in text:
        return InputError("the file was cut short", path=path, hint="copy it again")
    if _OPEN_MARK in text:
        return InputError(
            "the file says that it is open for writing",
            path=path,
            hint="wait until it is closed; to measure it meanwhile: cytovox live; if the program "
            "that wrote it has ended: h5clear -s",
        )
    if "signature" in text:
        hint = "give a recording (.rtdc), or a volume in HDF5"
        return InputError("this is not an HDF5 file", path=path, hint=hint)
    return InputError(f"the file cannot be opened: {text}", path=path)


@contextlib.contextmanager
def read_errors(dataset: Any, frames: tuple[int, int] | None = None) -> Iterator[None]:
    """Raise what fails while a dataset is read as an error that names file and place."""
    try:
        yield
    except CytovoxError:
        raise
    except (OSError, RuntimeError) as err:
        raise read_error(err, dataset, frames) from err


def read_error(
    err: BaseException, dataset: Any, frames: tuple[int, int] | None = None
) -> CytovoxError:
    """Return what a failed read means."""
    name, path = str(dataset.name or "").lstrip("/"), dataset.file.filename
    what = f"'{name}'" if name else "an attribute"
    if frames is not None:
        what = f"frames {frames[0]} to {frames[1] - 1} of {what}"
    frame = None if frames is None else frames[0]
    path = path if isinstance(path, str) else None
    if number := system_errno(err):
        return StorageError(
            f"{what} cannot be read: {os.strerror(number)}",
            path=path,
            frame=frame,
            hint="is the disk or the network still there?",
        )
    reason = " ".join(str(err).split())[:300]
    return InputError(
        f"{what} cannot be read: {reason}",
        path=path,
        frame=frame,
        hint=f"the file is damaged or was cut short; {_remedy(dataset.file)}",
    )


def _remedy(h5: h5py.File) -> str:
    with contextlib.suppress(OSError, RuntimeError, ValueError, KeyError):
        if "pipeline:dcnum hash" in h5.attrs:
            return "measure its recording again: cytovox run --force"
    return "copy it again from the instrument"


def system_errno(err: BaseException) -> int | None:
    """Return the number of the system's error, which HDF5 gives only within its message."""
    number: int | None = getattr(err, "errno", None)
    if number is None and (found := re.search(r"errno = (\d+)", str(err))):
        number = int(found.group(1))
    return number


def check_heaps(h5: h5py.File, source: Path | BinaryIO) -> None:
    """Refuse a file with a heap that HDF5 would read for ever."""
    path = source if isinstance(source, Path) else None
    length = h5.id.get_create_plist().get_sizes()[1]
    with contextlib.ExitStack() as stack:
        stream: Any = source if path is None else stack.enter_context(path.open("rb"))
        for begin, end in _gaps(_chunks(h5), stream.seek(0, os.SEEK_END)):
            after = begin
            for position in _find(stream, begin, end):
                if position < after:
                    continue  # part of a text
                size = _heap_size(stream, position, length)
                if not _leads_on(stream, position, size, length):
                    raise InputError(
                        f"texts in the file cannot be separated (heap at byte {position})",
                        path=path,
                        hint="the file is damaged; copy it again",
                    )
                after = position + size


def _chunks(h5: h5py.File) -> list[tuple[int, int]]:
    """Return begin and end of what datasets store; nothing if that is not known."""
    taken: list[tuple[int, int]] = []
    try:
        for _, found in dataset_ids(h5):
            if found.get_create_plist().get_layout() == h5py.h5d.CHUNKED:
                infos = chunk_infos(found)
                taken.extend((info.byte_offset, info.byte_offset + info.size) for info in infos)
            elif (begin := found.get_offset()) is not None:
                taken.append((begin, begin + found.get_storage_size()))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return []  # damaged; its reader reports it
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
