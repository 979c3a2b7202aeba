"""Give the labels of a volume other numbers, block by block."""

from __future__ import annotations

import csv
import functools
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError, OptionError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions, default_permissions
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from ..run.progress import Listener
from .grid import Block, Grid
from .kept_open import close_kept, keep_open
from .lookup import label_dtype
from .placement import Placement
from .recipe import fitting_sizes, side_folder
from .worker_file import ArrayWork

__all__ = ["MappedLabels", "keep_label_map", "read_label_map", "unique_labels"]

Labels = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class MappedLabels(ArrayWork):
    """Replace labels by those that stand beside them in a table.

    Labels that are not in the table become background, or are left as they are.
    """

    table: str  # file (.npy) of shape (n, 2): old labels in rising order, new ones
    others: Literal["drop", "keep"] = "drop"

    def compute(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the new labels."""
        table, _ = _load(self.table)
        old, new = table[:, 0], table[:, 1]
        given = unsigned(array)
        others = given if self.others == "keep" else np.zeros_like(given)
        found = others
        if old.size:
            place = np.minimum(np.searchsorted(old, given), old.size - 1)
            found = np.where(old[place] == given, new[place], others)
        return found.astype(self._dtype(array.dtype))

    def output_like(self, volume: Volume) -> dict[str, Any]:
        """Return the type of the output, which holds all labels."""
        if volume.dtype.kind not in "ui" or volume.ndim != len(volume.spatial_shape):
            raise InputError(f"{volume.dtype} {volume.axes} are not labels", path=volume.url)
        return {"dtype": self._dtype(volume.dtype), "channels": ()}

    def _dtype(self, given: np.dtype[Any]) -> np.dtype[Any]:
        most = label_dtype(_load(self.table)[1])
        return np.promote_types(most, f"u{given.itemsize}") if self.others == "keep" else most


def unsigned(labels: npt.NDArray[Any]) -> Labels:
    """Return labels as uint64; an error if one is below 0."""
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(f"the label {labels.min()} is below 0", hint="make it 0 or positive")
    return labels.astype(np.uint64)


@functools.lru_cache(maxsize=1)
def _load(path: str) -> tuple[Labels, int]:
    """Return the table, of which only what is used is read, and the largest new label."""
    table: Labels
    try:
        table = np.load(path, mmap_mode="r")
    except ValueError:  # an empty file cannot be mapped
        table = np.load(path)
    return table, int(table[:, 1].max(initial=0))


@dataclass(frozen=True)
class _Unique:
    """Return the labels of a block."""

    input: str
    permissions: Permissions

    def __call__(self, block: Block) -> dict[str, Any]:
        volume = keep_open(self.input, VolumeView(permissions=self.permissions))
        labels = np.unique(unsigned(volume.read(block.write)))
        return {"labels": labels[labels != 0]}


def unique_labels(
    input: str | os.PathLike[str],
    *,
    block: int | tuple[int, ...] | None = None,
    placement: Placement | None = None,
    on_event: Listener | None = None,
    permissions: Permissions | None = None,
) -> Labels:
    """Return all labels of a volume but 0, in rising order."""
    may = default_permissions() if permissions is None else permissions
    with open_volume(input, permissions=may) as volume:
        url, shape = volume.url, volume.spatial_shape
        if volume.dtype.kind not in "ui" or volume.ndim != len(shape):
            raise InputError(f"{volume.dtype} {volume.axes} are not labels", path=url)
    size = fitting_sizes("block", block, len(shape))
    grid = Grid(shape, size, (0,) * len(shape))
    found: list[Labels] = [np.empty(0, np.uint64)]

    def take(_block: Any, rows: dict[str, Any]) -> None:
        found.append(np.asarray(rows["labels"], np.uint64))
        if sum(map(len, found)) > 2 * len(found[0]) + (1 << 20):
            found[:] = [np.unique(np.concatenate(found))]

    try:
        done = (placement or Placement()).run(
            grid, _Unique(url, may), "look", on_event=on_event, on_rows=take
        )
    finally:
        close_kept()
    if not done:
        failure = done.failed[0]
        raise InputError(f"it cannot be read: {failure.error}", path=url, block=int(failure.block))  # type: ignore[arg-type]
    return np.unique(np.concatenate(found))


def read_label_map(path: str | os.PathLike[str]) -> Labels:
    """Read which labels become which: two columns, old and new.

    A first row of names may say which one is which.
    """
    file = Path(path)
    if not file.is_file():
        raise InputNotFoundError("there is no such file", path=file)
    try:
        if file.suffix.lower() == ".npy":
            table = np.load(file)
            if table.dtype.kind not in "ui":
                raise ValueError(f"its numbers are {table.dtype}")  # noqa: TRY301
            table = unsigned(table)
        else:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                rows = [row[:2] for row in csv.reader(lines) if row]
            names = [cell.strip().lower() for cell in rows[0]] if rows else []
            if names and not any(map(_is_number, names)):
                rows = [row[::-1] for row in rows[1:]] if names == ["new", "old"] else rows[1:]
            table = np.array([[int(a), int(b)] for a, b in rows], np.uint64).reshape(-1, 2)
        if table.ndim != 2 or table.shape[1] != 2:
            raise ValueError(f"it has the shape {table.shape}")  # noqa: TRY301
    except Exception as err:
        # headers of arrays are parsed as Python, which fails in many ways
        raise InputError(
            f"this is not a table of labels: {err}",
            path=file,
            hint="give two columns of whole numbers: old and new label",
        ) from err
    table = np.unique(table, axis=0)
    if np.unique(table[:, 0]).size != len(table):
        raise InputError("a label shall become two different ones", path=file)
    if np.any((table[:, 0] == 0) & (table[:, 1] != 0)):
        raise OptionError("background cannot become an object", path=file, hint="leave 0 out")
    return table


def _is_number(text: str) -> bool:
    """Return whether text begins as a number does."""
    return text[:1].isdigit() or text[:1] in ("+", "-", ".")


def keep_label_map(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    table: str | os.PathLike[str] | None,
    *,
    block: int | tuple[int, ...] | None = None,
    placement: Placement | None = None,
    on_event: Listener | None = None,
    permissions: Permissions | None = None,
) -> Path:
    """Put a table of labels beside an output, where all workers see it."""
    if table is not None:
        pairs = read_label_map(table)
    else:
        old = unique_labels(
            input, block=block, placement=placement, on_event=on_event, permissions=permissions
        )
        pairs = np.stack([old, np.arange(1, old.size + 1, dtype=np.uint64)], axis=1)
    path = side_folder(output) / f"map-{zlib.crc32(pairs.tobytes()):08x}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    # With one column after the other, a search needs no copy of the first.
    np.save(path, np.asfortranarray(pairs[np.argsort(pairs[:, 0])]))
    return path
