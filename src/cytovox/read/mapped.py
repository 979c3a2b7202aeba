"""Rows of a dataset in any order: index mappings.

An index mapping names the rows of a file that a reader shows. It may be a
number (the first rows), a slice, or a list or array of row numbers in any
order and with repetitions.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .dataset import checked, read_checked
from .opening import read_errors

__all__ = [
    "IndexMapping",
    "IndexMappingError",
    "MappedHDF5Dataset",
    "check_mapping",
    "check_span",
    "get_mapped_object",
    "get_mapping_indices",
    "read_rows",
]

#: Which rows are taken: the first ones, a slice, their numbers, or all (None).
IndexMapping = int | slice | Sequence[int] | npt.NDArray[Any] | None


class IndexMappingError(UsageError, IndexError):
    """An index mapping names rows that do not exist."""


def get_mapping_indices(index_mapping: IndexMapping) -> npt.NDArray[Any]:
    """Return the row numbers that an index mapping stands for.

    Parameters
    ----------
    index_mapping
        Number of rows from the start; slice with start and stop; or row
        numbers in any order, integers of shape (n,) (truth values count as 0
        and 1).

    Returns
    -------
    ndarray of int64 or uint32
        Of shape (n,); uint32 if row numbers were given.

    Raises
    ------
    NotImplementedError
        If a slice lacks start or stop.
    IndexMappingError
        If a row number is negative or not a whole number.
    ValueError
        If this type cannot be a mapping.

    Examples
    --------
    >>> get_mapping_indices(slice(3, 10, 2))
    array([3, 5, 7, 9])
    """
    if isinstance(index_mapping, numbers.Integral):
        return np.arange(int(index_mapping))
    if isinstance(index_mapping, slice):
        if index_mapping.start is None or index_mapping.stop is None:
            raise NotImplementedError("Slices must have start and stop defined")
        indices = np.arange(index_mapping.start, index_mapping.stop, index_mapping.step)
        if indices.size and indices.min() < 0:
            raise IndexMappingError(f"the index mapping {index_mapping} has negative rows")
        return indices
    if isinstance(index_mapping, (list, np.ndarray)):
        given = np.asarray(index_mapping).ravel()
        indices = given.astype(np.uint32)
        if not np.array_equal(indices, given):
            raise IndexMappingError(
                "the index mapping has rows that are not whole numbers from 0 to 4294967295"
            )
        return indices
    raise UsageError(
        f"Invalid type for `index_mapping`: {type(index_mapping)} ({index_mapping})",
        hint="give a number, a slice or a list of row numbers",
    )


def check_mapping(
    indices: npt.NDArray[Any], length: int, what: str = "the file", path: Any = None
) -> None:
    """Make sure that all rows exist."""
    if indices.size:
        _check_ends(int(indices.min()), int(indices.max()), length, what, path)


def check_span(index_mapping: IndexMapping, length: int, what: str, path: Any) -> None:
    """Make sure of the same before the rows of a number or a slice are listed.

    There may be no memory for as many as it names.
    """
    rows = range(0)
    if isinstance(index_mapping, numbers.Integral):
        rows = range(int(index_mapping))
    elif isinstance(index_mapping, slice) and None not in (
        index_mapping.start,
        index_mapping.stop,
    ):
        rows = range(index_mapping.start, index_mapping.stop, index_mapping.step or 1)
    if rows:
        _check_ends(min(rows[0], rows[-1]), max(rows[0], rows[-1]), length, what, path)


def _check_ends(low: int, high: int, length: int, what: str, path: Any) -> None:
    if high >= length or low < 0:
        raise IndexMappingError(
            f"the index mapping asks for row {high if high >= length else low}, "
            f"but {what} has {length} rows",
            path=path,
            hint="limit the index mapping to the recorded frames",
        )


class MappedHDF5Dataset:
    """A dataset seen through an index mapping; reads only what is asked for.

    Parameters
    ----------
    h5ds
        Dataset of shape (N, ...).
    mapping_indices
        Row numbers below N, shape (n,), in any order.

    Raises
    ------
    IndexMappingError
        If a row does not exist.

    Examples
    --------
    >>> import io
    >>> h5 = h5py.File(io.BytesIO(), "w")
    >>> h5["deform"] = np.array([0.1, 0.2, 0.3])
    >>> MappedHDF5Dataset(h5["deform"], np.array([2, 0, 2]))[:]
    array([0.3, 0.1, 0.3])
    """

    def __init__(self, h5ds: h5py.Dataset, mapping_indices: npt.NDArray[Any]) -> None:
        self.h5ds = checked(h5ds)
        self.mapping_indices = np.asarray(mapping_indices)
        check_mapping(self.mapping_indices, len(h5ds), f"'{h5ds.name}'", h5ds.file.filename)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, ...) as seen through the mapping."""
        return (len(self.mapping_indices), *self.h5ds.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        dtype: np.dtype[Any] = self.h5ds.dtype
        return dtype

    @property
    def name(self) -> str:
        """Name of the dataset in its file."""
        return str(self.h5ds.name)

    @property
    def file(self) -> h5py.File:
        """File of the dataset."""
        return self.h5ds.file

    def __len__(self) -> int:
        return len(self.mapping_indices)

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, numbers.Integral):
            row = int(self.mapping_indices[int(idx)])
            return read_checked(self.h5ds, slice(row, row + 1))[0]
        if isinstance(idx, tuple):
            head, rest = idx[0], idx[1:]
            if isinstance(head, numbers.Integral):
                return self[head][rest]
            return self[head][(slice(None), *rest)]
        with read_errors(self.h5ds):
            return self.h5ds.take(np.atleast_1d(self.mapping_indices[idx]))

    def read_span(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows from `start` to `stop` of the mapping into `out`.

        Parameters
        ----------
        start, stop
            First row of the mapping, and the one after the last.
        out
            Where to write, of shape (stop - start, ...) and the type of the rows.
        """
        self.h5ds.take(self.mapping_indices[start:stop], out)


def get_mapped_object(obj: Any, index_mapping: IndexMapping = None) -> Any:
    """Return an array, dataset or mapped dataset as seen through a mapping.

    Parameters
    ----------
    obj
        Array or dataset, of shape (n, ...).
    index_mapping
        Rows to show: their number, a slice, or integers of shape (m,). If None,
        `obj` is returned as it is.

    Examples
    --------
    >>> get_mapped_object(np.array([5, 6, 7]), [2, 0])
    array([7, 5])
    """
    if index_mapping is None:
        return obj
    indices = get_mapping_indices(index_mapping)
    if isinstance(obj, h5py.Dataset):
        return MappedHDF5Dataset(obj, indices)
    check_mapping(indices, len(obj), "the data")
    if isinstance(obj, MappedHDF5Dataset):
        return MappedHDF5Dataset(obj.h5ds, obj.mapping_indices[indices])
    return obj[indices]


def read_rows(obj: Any, rows: Any) -> npt.NDArray[Any]:
    """Return rows of a dataset or mapped dataset; what is damaged is an `InputError`."""
    values: npt.NDArray[Any] = (
        read_checked(obj, rows) if isinstance(obj, h5py.Dataset) else obj[rows]
    )
    return values
