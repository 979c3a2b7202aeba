"""What an index of a dataset asks for, as far as it is read without HDF5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ranges", "Selection", "shape_of"]

#: First index along each axis and the one after the last.
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Selection:
    """What an index of an array asks for."""

    box: Ranges
    #: Rows within the first range of the box, in rising order; None for all.
    rows: npt.NDArray[np.int64] | None
    #: What is taken of the values of the box.
    within: tuple[slice | int, ...]

    @property
    def is_box(self) -> bool:
        """Whether it is all of the box."""
        return self.rows is None and all(one == slice(None) for one in self.within)

    @classmethod
    def of(cls, args: Any, shape: tuple[int, ...]) -> Selection | None:
        """Return what is asked for; None for what h5py has to judge."""
        index = list(args) if isinstance(args, tuple) else [args]
        if any(one is Ellipsis for one in index):
            at = next(i for i, one in enumerate(index) if one is Ellipsis)
            index[at : at + 1] = [slice(None)] * (len(shape) + 1 - len(index))
        if len(index) > len(shape):
            return None
        index += [slice(None)] * (len(shape) - len(index))
        rows: npt.NDArray[np.int64] | None = None
        box: list[tuple[int, int]] = []
        within: list[slice | int] = []
        for axis, (one, length) in enumerate(zip(index, shape, strict=True)):
            if axis == 0 and isinstance(one, list | np.ndarray | range):
                if (rows := _rising(one, length)) is None:
                    return None
            elif axis == 0 and isinstance(one, slice) and (one.step or 1) > 1:
                rows = np.arange(*one.indices(length))
            if axis == 0 and rows is not None:
                one = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
            if isinstance(one, slice) and (one.step or 1) > 0:
                start, stop, step = one.indices(length)
                box.append((start, max(start, stop)))
                within.append(slice(None) if step == 1 else slice(None, None, step))
            elif type(one) is not bool and isinstance(one, int | np.integer):
                if not -length <= one < length:
                    return None
                box.append((int(one) % length, int(one) % length + 1))
                within.append(0)
            else:
                return None
        return cls(box, rows, tuple(within))


def _rising(given: Any, length: int) -> npt.NDArray[np.int64] | None:
    """Return numbers of rows; None if they do not exist or do not rise."""
    rows = np.asarray(given)
    if rows.dtype == bool and rows.shape == (length,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        return None
    rows = rows.astype(np.int64)
    exist = not rows.size or (rows[0] >= 0 and rows[-1] < length)
    return rows if exist and (np.diff(rows) > 0).all() else None


def shape_of(box: Ranges) -> tuple[int, ...]:
    """Return the number of values along each axis."""
    return tuple(b - a for a, b in box)
