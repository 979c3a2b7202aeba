"""Reading stored values: chunks are looked at first, and other files must be there.

HDF5 passes a chunk to a filter that takes as much memory as the chunk asks for;
12 kB can ask for gigabytes. It reads what happens to be in memory where a chunk
unpacks to less than a chunk, and zeros where another file is missing.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import BasinNotFoundError, InputError
from .chunks import ChunkBytes, ChunkIndex, Offset, Ranges, Selection, shape_of
from .const import MAX_TEXT_BYTES
from .filters import ChunkError, Pipeline
from .following import VirtualPart, find_other, folders_of, virtual_parts
from .members import as_text
from .opening import OpenedFiles, read_errors
from .permissions import Permissions, RefusedInputError, default_permissions

__all__ = ["CheckedDataset", "checked", "read_checked", "read_lines"]

#: Rows in any order are read in blocks of at least this [bytes].
_TAKEN_BYTES = 1 << 22
#: Lines of variable length that are read at once take no more than this [bytes].
_BLOCK = 1 << 26
#: All lines together, each as long as the longest, take no more than this [bytes].
_WIDE = 1 << 28
_MOST_LINES = 1000


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


def read_lines(dataset: h5py.Dataset, limit: int | None = None) -> list[str]:
    """Return the lines of a log, decoded.

    Lines of variable length are kept apart from the dataset, and many may be
    the same one: a few bytes can claim any number. They are read few at a time.
    """
    with read_errors(dataset):
        if not dataset.size:
            return []
        dataset = checked(dataset)
        if not dataset.dtype.hasobject or dataset.ndim != 1:
            return [str(as_text(line)) for line in np.ravel(dataset[()])]
        most = MAX_TEXT_BYTES["logs"] if limit is None else limit
        # no line is longer than the file that holds it
        step = min(_MOST_LINES, max(1, _BLOCK // max(1, dataset.file.id.get_filesize())))
        lines: list[str] = []
        total = longest = 0
        for start in range(0, len(dataset), step):
            block = [str(as_text(line)) for line in dataset[start : start + step]]
            total += sum(map(len, block))
            longest = max(longest, *map(len, block))
            # wherever they are copied to, all lines are as long as the longest
            too_much = total > most or longest * len(dataset) > _WIDE
            if too_much and not dataset.permissions.oversized:
                raise RefusedInputError(
                    f"'{str(dataset.name).lstrip('/')}' has more than {most / 1e6:.3g} MB of text",
                    path=dataset.file.filename,
                    hint="if you trust the file: --allow-oversized",
                )
            lines += block
        return lines


class CheckedDataset(h5py.Dataset):  # type: ignore[misc]
    """A dataset of an input; it holds the index of its chunks."""

    def __init__(
        self,
        dataset: h5py.Dataset,
        permissions: Permissions | None = None,
        files: OpenedFiles | None = None,
        index: ChunkIndex | None = None,
    ) -> None:
        h5 = dataset.file  # h5py makes it anew each time
        # what this process is writing may not have reached the file
        self._trusted = h5.mode != "r"
        super().__init__(dataset.id, readonly=not self._trusted)
        self.permissions = default_permissions() if permissions is None else permissions
        self.files = OpenedFiles() if files is None else files
        self.index = index or self._find_index(dataset, h5.filename)

    def _find_index(self, dataset: h5py.Dataset, name: str | bytes) -> ChunkIndex:
        """Return the index that all readers of this file share."""
        file = self.files.find(Path(name).absolute()) if isinstance(name, str) else None
        return ChunkIndex(dataset) if file is None else file.index_of(dataset)

    def __getitem__(self, args: Any, **kwargs: Any) -> Any:
        wanted = Selection.of(args, self.shape or ())
        if wanted is None or kwargs or not self._is_unpacked_here:
            self._check_wanted(wanted)
            return super().__getitem__(args, **kwargs)
        if wanted.rows is None:
            out = np.empty(shape_of(wanted.box), self.dtype)
            self._unpack(wanted.box, out)
        else:
            out = self.take(wanted.rows, rest=wanted.box[1:])
        return out[wanted.within]

    def read_direct(self, dest: Any, source_sel: Any = None, dest_sel: Any = None) -> None:
        """Read into an array."""
        wanted = Selection.of(() if source_sel is None else source_sel, self.shape or ())
        fits = wanted is not None and wanted.is_box and dest.shape == shape_of(wanted.box)
        plain = dest_sel is None and dest.dtype == self.dtype
        if wanted is not None and fits and plain and self._is_unpacked_here:
            self._unpack(wanted.box, dest)
            return
        self._check_wanted(wanted)
        super().read_direct(dest, source_sel, dest_sel)

    def read_rows(
        self, start: int, stop: int, out: npt.NDArray[Any], rest: Ranges | None = None
    ) -> None:
        """Read rows that exist into an array; of the other axes, all or some ranges."""
        if stop <= start:
            return
        box = [(start, stop), *(((0, n) for n in self.shape[1:]) if rest is None else rest)]
        if self._is_unpacked_here:
            self._unpack(box, out)
            return
        self.check(start, stop, box[1:])
        wanted = tuple(slice(*one) for one in box)
        if out.dtype == self.dtype and out.flags.c_contiguous and self.ndim > 0:
            super().read_direct(out, wanted)
        else:
            out[...] = super().__getitem__(wanted)

    def take(
        self,
        indices: npt.NDArray[Any],
        out: npt.NDArray[Any] | None = None,
        rest: Ranges | None = None,
    ) -> npt.NDArray[Any]:
        """Return rows in any order, each stored chunk read only once."""
        size = len(indices)
        item = self.shape[1:] if rest is None else shape_of(rest)
        if out is None:
            out = np.empty((size, *item), self.dtype)
        if not size:
            return out
        ordered = indices.astype(np.int64)
        steps = np.diff(ordered)
        if np.all(steps == 1):
            self.read_rows(int(ordered[0]), int(ordered[-1]) + 1, out, rest)
            return out
        order = None if np.all(steps >= 0) else np.argsort(ordered, kind="stable")
        if order is not None:
            ordered = ordered[order]
        borders = np.flatnonzero(np.diff(ordered // self._block_rows)) + 1
        for begin, end in itertools.pairwise([0, *borders, size]):
            wanted = ordered[begin:end]
            low, high = int(wanted[0]), int(wanted[-1]) + 1
            buffer = np.empty((high - low, *item), self.dtype)
            self.read_rows(low, high, buffer, rest)
            if order is None:
                # "clip" spares numpy a second buffer; nothing is out of range here
                np.take(buffer, wanted - low, axis=0, out=out[begin:end], mode="clip")
            else:
                out[order[begin:end]] = buffer[wanted - low]
        return out

    @functools.cached_property
    def _block_rows(self) -> int:
        """Number of rows that `take` reads at a time: whole chunks."""
        rows = int(self.chunks[0]) if self.chunks else 1
        row_bytes = max(1, int(np.prod(self.shape[1:])) * self.dtype.itemsize)
        return int(rows * max(1, _TAKEN_BYTES // (rows * row_bytes)))

    def check(
        self,
        start: int = 0,
        stop: int | None = None,
        rest: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """Look at the chunks that hold some rows; each is looked at once."""
        if self.is_virtual and self.shape:
            self._check_sources(start, stop)
        if self._trusted or not self.chunks or self._pipeline is None:
            return
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        rest = [(0, n) for n in self.shape[1:]] if rest is None else rest
        with ChunkBytes(self.index) as read:
            for chunk in self.index.stored([(start, stop), *rest]):
                try:
                    self.index.require_sound(chunk, read)
                except ChunkError as err:
                    raise self._refused(chunk.start, err) from None

    def _check_wanted(self, wanted: Selection | None) -> None:
        """Look at the chunks that hold what is asked for; at all, if only HDF5 knows which."""
        if wanted is not None and wanted.box:
            self.check(*wanted.box[0], wanted.box[1:])
        else:
            self.check()

    @functools.cached_property
    def _pipeline(self) -> Pipeline | None:
        """The filters of the chunks; None where all are allowed."""
        try:
            return self.index.pipeline
        except RefusedInputError:
            if not self.permissions.oversized:
                raise
            return None

    # ----------------------------------------------------------- unpacking

    @functools.cached_property
    def _is_unpacked_here(self) -> bool:
        if self._trusted or not self.chunks or self._pipeline is None:
            return False
        return bool(
            self._pipeline.unpacks_here(0)
            and self.dtype.kind in "iufSV"
            and not (self.dtype.hasobject or self.dtype.subdtype)
            and self.id.get_type().equal(h5py.h5t.py_create(self.dtype, logical=True))
        )

    def _unpack(self, box: Ranges, out: npt.NDArray[Any]) -> None:
        """Read a box without HDF5, which would unpack each chunk a second time."""
        origin, end = tuple(a for a, _ in box), [b for _, b in box]
        with ChunkBytes(self.index) as read:
            for offset in self.index.offsets(box):
                first = [max(a, b) for a, b in zip(offset, origin, strict=True)]
                last = [min(a + n, b) for a, n, b in zip(offset, self.chunks, end, strict=True)]
                part = out[_box(first, last, origin)]
                chunk = self.index.find(offset)
                if chunk is None:
                    part[...] = self.fillvalue  # it was never written
                    continue
                try:
                    if part.shape == self.chunks and self._holds(part):
                        self.index.unpack_into(chunk, read, part.reshape(-1).view(np.uint8))
                        continue
                    values = self.index.unpack(chunk, read)
                except ChunkError as err:
                    raise self._refused(offset, err) from None
                whole = values.view(self.dtype).reshape(self.chunks)
                part[...] = whole[_box(first, last, offset)]

    def _holds(self, part: npt.NDArray[Any]) -> bool:
        """Return whether bytes of a chunk are those of an array."""
        return part.dtype == self.dtype and part.flags.c_contiguous

    # --------------------------------------------------------- other files

    def find_sources(self) -> list[tuple[VirtualPart, CheckedDataset]]:
        """Return the parts of a virtual dataset and what they are read from."""
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

    @functools.cached_property
    def _sources(self) -> list[tuple[VirtualPart, CheckedDataset]]:
        return list(self._open_sources())

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
                file = self.files.open_other(path, may).h5
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

    def _refused(self, offset: Offset, err: ChunkError) -> RefusedInputError:
        return RefusedInputError(
            f"a chunk of '{self.short_name}' {err}",
            path=Path(self.file.filename),
            frame=int(offset[0]) if len(offset) == 3 else None,
            hint="the file is damaged; get it again",
        )


def _box(first: list[int], last: list[int], origin: Offset) -> tuple[slice, ...]:
    parts = zip(first, last, origin, strict=True)
    return tuple(slice(a - zero, b - zero) for a, b, zero in parts)
