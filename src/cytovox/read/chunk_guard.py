"""Reading stored values: chunks are looked at first, and other files must be there.

HDF5 hands a chunk to a filter that takes as much memory as the chunk asks for;
12 kB can ask for gigabytes. It reads what happens to be in memory where a chunk
unpacks to less than a chunk, and zeros where another file is missing.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import BasinNotFoundError, InputError
from .elsewhere import VirtualPart, find_other, folders_of, virtual_parts
from .filters import ChunkError, Pipeline
from .members import chunk_infos
from .opening import OpenedFiles
from .permissions import Permissions, RefusedInputError, default_permissions
from .read_errors import read_errors
from .selection import Ranges, Selection, shape_of

__all__ = ["CheckedDataset", "check_stored", "checked", "read_checked"]

#: Position in the file, number of bytes, and bits of the filters that were left out.
_Info = tuple[int, int, int]
_Offset = tuple[int, ...]


def checked(
    dataset: h5py.Dataset,
    permissions: Permissions | None = None,
    files: OpenedFiles | None = None,
) -> CheckedDataset:
    """Return a dataset whose chunks are looked at before they are unpacked."""
    if isinstance(dataset, CheckedDataset):
        return dataset
    return CheckedDataset(dataset, permissions, files)


def read_checked(dataset: h5py.Dataset, rows: Any = ()) -> npt.NDArray[Any]:
    """Return values of a dataset whose chunks have been looked at."""
    with read_errors(dataset):
        values: npt.NDArray[Any] = checked(dataset)[rows]
    return values


def check_stored(
    dataset: h5py.Dataset,
    start: int = 0,
    stop: int | None = None,
    rest: Sequence[tuple[int, int]] | None = None,
) -> None:
    """Look at the chunks that hold some rows; each is looked at once."""
    checked(dataset).check(start, stop, rest)


class CheckedDataset(h5py.Dataset):  # type: ignore[misc]
    """A dataset of an input; it holds the index of its chunks."""

    def __init__(
        self,
        dataset: h5py.Dataset,
        permissions: Permissions | None = None,
        files: OpenedFiles | None = None,
    ) -> None:
        super().__init__(dataset.id)
        self.permissions = default_permissions() if permissions is None else permissions
        self.files = OpenedFiles() if files is None else files
        self._index: dict[_Offset, _Info] | None = None
        self._pipeline: Pipeline | Literal[False] | None = None
        self._here: bool | None = None
        self._sound: set[_Offset] = set()
        self._sources: list[tuple[VirtualPart, CheckedDataset]] | None = None
        self._last: tuple[_Offset, npt.NDArray[Any]] | None = None
        # what this process is writing may not have reached the file
        self._trusted = self.file.mode != "r"

    def __getitem__(self, args: Any, **kwargs: Any) -> Any:
        wanted = None if kwargs else self._wanted_here(args)
        if wanted is None:
            self.check(*self._region(args))
            return super().__getitem__(args, **kwargs)
        if wanted.rows is None:
            out = np.empty(shape_of(wanted.box), self.dtype)
            self._unpack(wanted.box, out)
        else:
            out = self._take(wanted.rows, wanted.box[1:])
        return out[wanted.within]

    def read_direct(self, dest: Any, source_sel: Any = None, dest_sel: Any = None) -> None:
        """Read into an array."""
        args = () if source_sel is None else source_sel
        wanted = self._wanted_here(args) if dest_sel is None else None
        fits = wanted is not None and wanted.is_box and dest.shape == shape_of(wanted.box)
        if wanted is not None and fits and dest.dtype == self.dtype:
            self._unpack(wanted.box, dest)
            return
        self.check(*self._region(args))
        super().read_direct(dest, source_sel, dest_sel)

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read rows that exist into an array."""
        if self._is_unpacked_here():
            self._unpack([(start, stop), *((0, n) for n in self.shape[1:])], out)
            return
        self.check(start, stop)
        if out.dtype == self.dtype and out.flags.c_contiguous and self.ndim > 0:
            super().read_direct(out, np.s_[start:stop])
        else:
            out[...] = super().__getitem__(slice(start, stop))

    def check(
        self,
        start: int = 0,
        stop: int | None = None,
        rest: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """Look at the chunks that hold some rows; see `check_stored`."""
        if self.is_virtual and self.shape:
            self._check_sources(start, stop)
        if self._trusted or not self.chunks or not (pipeline := self._how()):
            return
        index = self._where()
        with _Bytes(self) as read:
            for offset in self._offsets(start, stop, rest):
                if offset in self._sound or (info := index.get(offset)) is None:
                    continue
                _, size, mask = info
                try:
                    needed = pipeline.needed(size, mask)
                    pipeline.check(read(info, offset, needed), size, mask)
                except ChunkError as err:
                    raise self._refused(offset, err) from None
                self._sound.add(offset)

    def _region(self, args: Any) -> tuple[int, int, list[tuple[int, int]] | None]:
        """Return first row, the one after the last, and the range of each further axis."""
        index = args if isinstance(args, tuple) else (args,)
        ranges = [self._range(one, n) for one, n in zip(index, self.shape or (), strict=False)]
        plain = all(isinstance(one, slice | int | np.integer) for one in index)
        start, stop = ranges[0] if ranges and plain else (0, self.shape[0] if self.shape else 0)
        if not plain:
            return start, stop, None
        return (
            start,
            stop,
            ranges[1:] + [(0, n) for n in (self.shape or ())[max(1, len(ranges)) :]],
        )

    @staticmethod
    def _range(one: Any, length: int) -> tuple[int, int]:
        if isinstance(one, slice):
            start, stop, step = one.indices(length)
            return (start, stop) if step > 0 else (0, length)
        if isinstance(one, int | np.integer) and -length <= one < length:
            return int(one) % length, int(one) % length + 1
        return 0, length

    def _how(self) -> Pipeline | Literal[False]:
        """Return the filters of the chunks; False where none are, or all are allowed."""
        if self._pipeline is None:
            try:
                found = Pipeline.of(self)
            except RefusedInputError:
                if not self.permissions.oversized:
                    raise
                self._pipeline = False
            else:
                self._pipeline = found if found.filters else False
        return self._pipeline

    def _where(self) -> dict[_Offset, _Info]:
        """Return where the chunks are; HDF5 would go through all of them for each."""
        if self._index is None:
            self._index = {
                tuple(info.chunk_offset): (info.byte_offset, info.size, info.filter_mask)
                for info in chunk_infos(self)
            }
        return self._index

    def _offsets(
        self, start: int, stop: int | None, rest: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[_Offset]:
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        box = [(start, stop), *([(0, n) for n in self.shape[1:]] if rest is None else rest)]
        steps = [range(a // c * c, b, c) for (a, b), c in zip(box, self.chunks, strict=True)]
        return itertools.product(*steps)

    # ----------------------------------------------------------- unpacking

    def _is_unpacked_here(self) -> bool:
        if self._here is None:
            how = not self._trusted and bool(self.chunks) and self._how()
            self._here = (
                bool(how and how.unpacks_here(0))
                and self.dtype.kind in "iufSV"
                and not (self.dtype.hasobject or self.dtype.subdtype)
                and self.id.get_type().equal(h5py.h5t.py_create(self.dtype, logical=True))
            )
        return self._here

    def _wanted_here(self, args: Any) -> Selection | None:
        """Return what an index asks for; None if HDF5 has to read it."""
        return Selection.of(args, self.shape) if self._is_unpacked_here() else None

    def _take(self, rows: npt.NDArray[np.int64], rest: Ranges) -> npt.NDArray[Any]:
        """Return rows in rising order, each chunk unpacked once."""
        out = np.empty((len(rows), *shape_of(rest)), self.dtype)
        borders = np.flatnonzero(np.diff(rows // self.chunks[0])) + 1
        for begin, end in itertools.pairwise([0, *borders, len(rows)] if len(rows) else []):
            low, high = int(rows[begin]), int(rows[end - 1]) + 1
            part = np.empty((high - low, *shape_of(rest)), self.dtype)
            self._unpack([(low, high), *rest], part)
            out[begin:end] = part[rows[begin:end] - low]
        return out

    def _unpack(self, box: Ranges, out: npt.NDArray[Any]) -> None:
        """Read a box without HDF5, which would unpack each chunk a second time."""
        index, origin = self._where(), tuple(a for a, _ in box)
        end = [b for _, b in box]
        with _Bytes(self) as read:
            for offset in self._offsets(*box[0], box[1:]):
                chunk = self._chunk(offset, index.get(offset), read)
                first = [max(a, b) for a, b in zip(offset, origin, strict=True)]
                last = [min(a + n, b) for a, n, b in zip(offset, self.chunks, end, strict=True)]
                part = self.fillvalue if chunk is None else chunk[_box(first, last, offset)]
                out[_box(first, last, origin)] = part

    def _chunk(
        self, offset: _Offset, info: _Info | None, read: Callable[[_Info, _Offset, int], bytes]
    ) -> npt.NDArray[Any] | None:
        """Return a chunk, unpacked; None if it was never written."""
        how = self._how()
        if info is None or not how:
            return None
        last = self._last
        if last is not None and last[0] == offset:
            return last[1]
        self._last = last = None  # there shall not be two at a time
        try:
            values = how.unpack(read(info, offset, info[1]), info[2])
        except ChunkError as err:
            raise self._refused(offset, err) from None
        chunk = values.view(self.dtype).reshape(self.chunks)
        self._last = offset, chunk
        self._sound.add(offset)
        return chunk

    # --------------------------------------------------------- other files

    def find_sources(self) -> list[tuple[VirtualPart, CheckedDataset]]:
        """Return the parts of a virtual dataset and what they are read from."""
        if self._sources is None:
            self._sources = list(self._open_sources())
        for part, source in self._sources:
            if part.file != "." and not Path(source.file.filename).exists():
                raise self._missing(part.file)
        return self._sources

    def _check_sources(self, start: int, stop: int | None) -> None:
        """Look at what rows of a virtual dataset are read from."""
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        for part, source in self.find_sources():
            if part.rows is None or part.source_rows is None:
                source.check()
                continue
            first, last = max(start, part.rows[0]), min(stop, part.rows[1])
            if first >= last:
                continue
            there = part.source_rows
            if there[1] - there[0] == part.rows[1] - part.rows[0]:
                shift = there[0] - part.rows[0]
                there = first + shift, last + shift
            source.check(*there)

    def _open_sources(self) -> Iterator[tuple[VirtualPart, CheckedDataset]]:
        parts = virtual_parts(self)
        may = self.permissions.within(*folders_of(self.file))
        sizes = [part.size for part in parts]
        if None not in sizes and sum(filter(None, sizes)) < self.size:
            raise self._damaged("is a view that leaves out some of its values")
        for part in parts:
            if part.is_pattern and may.external:
                continue
            file = self.file
            if part.file != ".":
                path = find_other(part.file, self.file, "view")
                if path is None:
                    raise self._missing(part.file)
                if part.is_pattern or not (may.external or may.is_allowed_place(path)):
                    raise RefusedInputError(
                        f"'{self.short_name}' is a view of the file {path}",
                        path=self.file.filename,
                        hint=may.hint_for("external"),
                    )
                file = self.files.open_other(path, growing=may.growing).h5
            source = file.get(part.dataset)
            if not isinstance(source, h5py.Dataset):
                raise self._damaged(f"is a view of '{part.dataset}', which {file.filename} lacks")
            short = len(part.stop) != source.ndim or any(
                stop > n for stop, n in zip(part.stop, source.shape, strict=False)
            )
            if part.stop and short:
                raise self._damaged(
                    f"is a view of more values than '{part.dataset}' in {file.filename} has"
                )
            yield part, checked(source, self.permissions, self.files)

    # -------------------------------------------------------------- errors

    @property
    def short_name(self) -> str:
        """Name for messages."""
        return str(self.name or "").lstrip("/").removeprefix("events/")[:80]

    def _missing(self, name: str) -> BasinNotFoundError:
        return BasinNotFoundError(
            f"'{self.short_name}' is kept in another file that cannot be found: {name}",
            path=self.file.filename,
            hint="bring that file back, or put it beside this one",
        )

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"'{self.short_name}' {what}",
            path=self.file.filename,
            hint="the file is damaged; get it again",
        )

    def _refused(self, offset: _Offset, err: ChunkError) -> RefusedInputError:
        return RefusedInputError(
            f"a chunk of '{self.short_name}' {err}",
            path=Path(self.file.filename),
            frame=int(offset[0]) if len(offset) == 3 else None,
            hint="the file is damaged; get it again",
        )


def _box(first: list[int], last: list[int], origin: _Offset) -> tuple[slice, ...]:
    parts = zip(first, last, origin, strict=True)
    return tuple(slice(a - zero, b - zero) for a, b, zero in parts)


class _Bytes:
    """Reads stored bytes, from the file itself where there is one."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._descriptor: int | None = None

    def __enter__(self) -> Callable[[_Info, _Offset, int], bytes]:
        file = self._dataset.file
        if file.driver != "fileobj" and not file.userblock_size:
            try:
                self._descriptor = os.open(file.filename, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError:
                self._descriptor = None  # moved away since it was opened
        return self._read

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _read(self, info: _Info, offset: _Offset, size: int) -> bytes:
        if not size:
            return b""
        if self._descriptor is None:
            return bytes(self._dataset.id.read_direct_chunk(offset)[1][:size])
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, info[0])
        os.lseek(self._descriptor, info[0], os.SEEK_SET)
        return os.read(self._descriptor, size)
