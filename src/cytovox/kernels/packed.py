"""Labels as runs: small to keep, and any part can be had without the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel
from .lattice import Ids, Int64s, as_rows

__all__ = ["Packed", "pack", "unpack"]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Labels of a box, as runs of equal values along the last axis.

    Parameters
    ----------
    shape
        Shape of the box.
    first
        Where the runs of each row begin, int64 of shape (rows + 1,).
    begin
        Index along the last axis where each run begins, int32 of shape (n,).
    value
        Label of each run, uint32 of shape (n,).
    """

    shape: tuple[int, ...]
    first: Int64s
    begin: npt.NDArray[np.int32]
    value: Ids

    @property
    def nbytes(self) -> int:
        """Memory that the runs take."""
        return self.first.nbytes + self.begin.nbytes + self.value.nbytes


def pack(labels: Ids) -> Packed:
    """Turn labels, uint32 of any shape, into runs.

    Examples
    --------
    >>> import numpy as np
    >>> packed = pack(np.array([[0, 0, 4, 4], [4, 4, 4, 4]], np.uint32))
    >>> packed.begin.tolist(), packed.value.tolist()
    ([0, 2, 0], [0, 4, 4])
    """
    rows, _ = as_rows(np.asarray(labels, np.uint32))
    first, begin, value = _pack(rows)
    return Packed(tuple(labels.shape), first, begin, value)


def unpack(packed: Packed, box: tuple[tuple[int, int], ...] | None = None) -> Ids:
    """Turn runs into labels again, all or those within a box of (start, stop) pairs.

    Examples
    --------
    >>> import numpy as np
    >>> packed = pack(np.array([[0, 0, 4, 4], [4, 4, 4, 4]], np.uint32))
    >>> unpack(packed, ((0, 2), (1, 3))).tolist()
    [[0, 4], [4, 4]]
    """
    box = tuple((0, size) for size in packed.shape) if box is None else box
    out = np.empty([stop - start for start, stop in box], np.uint32)
    if out.size:
        numbers = np.arange(packed.first.size - 1, dtype=np.int64).reshape(packed.shape[:-1])
        wanted: Any = numbers[tuple(slice(*pair) for pair in box[:-1])]
        rows = out.reshape(-1, out.shape[-1])
        wanted = np.ascontiguousarray(wanted).reshape(-1)
        _unpack(packed.first, packed.begin, packed.value, wanted, box[-1][0], rows)
    return out


@kernel()
def _pack(rows: Ids) -> tuple[Int64s, npt.NDArray[np.int32], Ids]:
    height, width = rows.shape
    first = np.zeros(height + 1, np.int64)
    for y in range(height):
        runs = np.int64(1)
        for x in range(1, width):
            runs += rows[y, x] != rows[y, x - 1]
        first[y + 1] = first[y] + runs
    begin = np.empty(first[height], np.int32)
    value = np.empty(first[height], np.uint32)
    n = 0
    for y in range(height):
        for x in range(width):
            if x == 0 or rows[y, x] != rows[y, x - 1]:
                begin[n] = x
                value[n] = rows[y, x]
                n += 1
    return first, begin, value


@kernel()
def _unpack(
    first: Int64s,
    begin: npt.NDArray[np.int32],
    value: Ids,
    wanted: Int64s,
    left: int,
    out: Ids,
) -> None:
    width = out.shape[1]
    for i in range(wanted.size):
        last = first[wanted[i] + 1]
        run = first[wanted[i]]
        while run + 1 < last and begin[run + 1] <= left:
            run += 1
        x = 0
        while x < width:
            stop = width
            if run + 1 < last:
                stop = min(width, begin[run + 1] - left)
            out[i, x:stop] = value[run]
            x = stop
            run += 1
