"""The table that turns the labels of blocks into those of the volume."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StorageError
from ..kernels.lattice import Int64s
from ..run.folder_sync import replaced_file

__all__ = [
    "Lookup",
    "SeamReport",
    "drop_objects",
    "label_dtype",
    "label_numbers",
    "load_lookup",
    "load_mapped",
    "load_report",
    "places",
]

_CHUNK = 1 << 20
#: So many ids are written into the report of a volume.
_LISTED = 1000


@dataclass(frozen=True, slots=True, eq=False)
class SeamReport:
    """What can be said about the quality of stitching without knowing the truth.

    Parameters
    ----------
    mode
        How labels were joined.
    blocks, labels, objects
        How many there are.
    dropped
        Labels without an object: in mode ``"owner"``, those that the block of
        their centre does not know.
    doubtful
        Pairs of labels whose agreement is within 0.1 of the threshold.
    at_seam, spanning
        Objects that touch a seam, and those that are in several blocks.
    cut
        Ids of objects that touch a seam, but are in one block only: they end
        exactly there. int64 of shape (k,).
    contested
        Ids of objects made of several labels of the same block, which that
        block had told apart. This is right for a bent object, and wrong for
        two neighbours joined by a chain. int64 of shape (k,).
    exceeding
        Ids of objects that reach beyond what a block read: longer than its
        context. int64 of shape (k,).
    seam_median, interior_median
        Median voxels of objects that touch a seam, and of those that do not;
        NaN if there are none.
    """

    mode: str
    blocks: int
    labels: int
    objects: int
    dropped: int
    doubtful: int
    at_seam: int
    spanning: int
    cut: Int64s
    contested: Int64s
    exceeding: Int64s
    seam_median: float
    interior_median: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: of lists of ids, how many there are and the first 1000."""
        out: dict[str, Any] = {}
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            if isinstance(value, np.ndarray):
                out[part.name] = int(value.size)
                out[f"{part.name}_ids"] = value[:_LISTED].tolist()
            else:
                out[part.name] = None if value != value else value
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """Final label of each label of each block."""

    lut: npt.NDArray[Any]  # uint32 or uint64, of shape (labels,); may be a memory-mapped file
    offsets: Int64s  # where each block begins, of shape (blocks + 1,)
    count: int  # objects are 1 to this
    shared: Int64s  # those that are in several tiles, in ascending order
    edge: tuple[int, ...]  # blocks of a tile along each axis
    report: SeamReport | None = None  # how good it is

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type that holds all labels: uint32, or uint64 if there are too many."""
        return self.lut.dtype

    @property
    def stamp(self) -> str:
        """Text that tells tables apart."""
        check = 0
        for part in self._parts():
            check = zlib.crc32(part, check)
        return f"{check:08x}-{self.count}"

    def _parts(self) -> Iterator[Any]:
        """Yield the bytes of the table; a file is read and not mapped, which would keep all."""
        if isinstance(self.lut, np.memmap) and self.lut.filename is not None:
            with open(self.lut.filename, "rb") as file:
                file.seek(self.lut.offset)
                while part := file.read(_CHUNK):
                    yield part
        else:
            for start in range(0, self.lut.size, _CHUNK):
                yield np.ascontiguousarray(self.lut[start : start + _CHUNK]).view(np.uint8).data

    def slice(self, index: int) -> npt.NDArray[Any]:
        """Return the part of one block, with 0 for background in front."""
        part = self.lut[self.offsets[index] : self.offsets[index + 1]]
        return np.concatenate([np.zeros(1, self.dtype), part])

    def labels_of(self, blocks: Int64s) -> Int64s:
        """Return the final labels of some blocks, one after the other, for labels 1 to n."""
        _, number = label_numbers(blocks, self.offsets)
        return np.asarray(self.lut)[number].astype(np.int64)

    def with_report(self, report: SeamReport) -> Lookup:
        """Return the same table with a report."""
        return dataclasses.replace(self, report=report)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the table, the offsets and the report to a folder."""
        place = Path(folder)
        report = None if self.report is None else self.report.as_dict()
        text = json.dumps({"count": self.count, "tile": self.edge, "seams": report}, indent=1)
        try:
            arrays = {"lut": self.lut, "offsets": self.offsets, "shared": self.shared}
            for name, array in arrays.items():
                with replaced_file(place / f"{name}.npy") as file:
                    np.save(file, array)
            with replaced_file(place / "lookup.json") as file:
                file.write(text.encode())
        except OSError as err:
            raise StorageError(
                f"the table of labels cannot be written: {err}", path=place
            ) from err


def load_mapped(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Open an array in a file, of which only what is used is read."""
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except ValueError:  # an empty file cannot be mapped
        return np.load(path)  # type: ignore[no-any-return]


def load_lookup(folder: str | os.PathLike[str]) -> Lookup:
    """Open the table in a folder; only what is used of it is read.

    The report is not read back; it is in ``lookup.json``.
    """
    place = Path(folder)
    try:
        told = json.loads((place / "lookup.json").read_bytes())
        count, edge = int(told["count"]), tuple(map(int, told["tile"]))
        offsets, lut, shared = (
            load_mapped(place / f"{name}.npy") for name in ("offsets", "lut", "shared")
        )
    except Exception as err:
        # headers of arrays are parsed as Python, which fails in many ways
        raise StorageError(
            f"the table of labels cannot be read: {err}", path=place, hint="stitch again"
        ) from err
    return Lookup(lut, offsets, count, shared, edge)


def load_report(folder: str | os.PathLike[str]) -> SeamReport | None:
    """Return the report in a folder; None if there is none, or not all of its ids are there."""
    try:
        told = json.loads((Path(folder) / "lookup.json").read_bytes())["seams"]
        values: dict[str, Any] = {}
        for part in dataclasses.fields(SeamReport):
            values[part.name] = told[part.name]
            if (ids := told.get(f"{part.name}_ids")) is not None:
                if len(ids) != told[part.name]:
                    return None
                values[part.name] = np.asarray(ids, np.int64)
            elif told[part.name] is None:
                values[part.name] = math.nan
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SeamReport(**values)


def label_numbers(blocks: Int64s, offsets: Int64s) -> tuple[Int64s, Int64s]:
    """Return the block of each label of some blocks, and its number in the whole."""
    counts = offsets[blocks + 1] - offsets[blocks]
    first = np.cumsum(counts) - counts
    block = np.repeat(blocks, counts)
    return block, np.arange(block.size) + np.repeat(offsets[blocks] - first, counts)


def places(ids: Int64s, labels: Int64s) -> Int64s:
    """Return the place of each label among ids in ascending order, -1 if it is not one."""
    if not ids.size:
        return np.full(labels.size, -1, np.int64)
    place = np.minimum(np.searchsorted(ids, labels), ids.size - 1)
    return np.where(ids[place] == labels, place, -1)


def label_dtype(count: int) -> np.dtype[Any]:
    """Return the type of labels for so many objects."""
    return np.dtype(np.uint32 if count < 2**32 else np.uint64)


def drop_objects(lookup: Lookup, kept: npt.NDArray[np.bool_]) -> Lookup:
    """Return a table without some objects, numbered 1 to N anew; one in a file is changed."""
    count = int(np.count_nonzero(kept))
    numbers = np.zeros(lookup.count + 1, label_dtype(count))
    numbers[1:][kept] = np.arange(1, count + 1)
    old = lookup.lut
    new = old if isinstance(old, np.memmap) else np.empty(old.size, numbers.dtype)
    for start in range(0, old.size, _CHUNK):
        new[start : start + _CHUNK] = numbers[old[start : start + _CHUNK]]
    shared = numbers[lookup.shared].astype(np.int64)
    return Lookup(new, lookup.offsets, count, shared[shared > 0], lookup.edge)
