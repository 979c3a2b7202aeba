"""Arrays of any dimension as rows: which rows are neighbours of a row.

A kernel that walks along the last axis, and knows by how much each other row
is away, serves images, stacks and series alike, and is compiled only once.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError

__all__ = ["Int64s", "Ids", "as_rows", "connectivity_rank", "crossing_offsets", "half_offsets"]

#: Labels of objects in a block, uint32; 0 is background.
Ids = npt.NDArray[np.uint32]
#: Places and counts, int64.
Int64s = npt.NDArray[np.int64]


def connectivity_rank(ndim: int, connectivity: int | None) -> int:
    """Return along how many axes at once two neighbours may differ.

    `connectivity` is the number of neighbours of an element (4 or 8 in two
    dimensions, 6, 18 or 26 in three), or the rank itself, or None for 1.

    Examples
    --------
    >>> connectivity_rank(3, 18), connectivity_rank(2, 8), connectivity_rank(3, 3)
    (2, 2, 3)
    """
    if connectivity is None:
        return 1
    counts: dict[int, int] = {}
    total = 0
    for rank in range(1, ndim + 1):
        total += math.comb(ndim, rank) * 2**rank
        counts[total] = rank
    # In one dimension, two neighbours are rank one.
    if connectivity in counts:
        return counts[connectivity]
    if 1 <= connectivity <= ndim:
        return int(connectivity)
    known = ", ".join(str(count) for count in counts)
    raise OptionError(
        f"connectivity {connectivity} does not exist in {ndim} dimensions", hint=f"give {known}"
    )


def half_offsets(ndim: int, rank: int) -> Int64s:
    """Return one of each pair of opposite offsets to a neighbour, int64 of shape (k, ndim).

    These are the ones that come later in C order.

    Examples
    --------
    >>> half_offsets(2, 1).tolist()
    [[0, 1], [1, 0]]
    """
    found = [
        offset
        for offset in itertools.product((-1, 0, 1), repeat=ndim)
        if offset > (0,) * ndim and sum(map(abs, offset)) <= rank
    ]
    return np.array(found, np.int64).reshape(-1, ndim)


def crossing_offsets(direction: tuple[int, ...], rank: int) -> Int64s:
    """Return the offsets that lead from a block into its neighbour in a direction.

    `direction` is -1, 0 or 1 along each axis. Along the axes in which the
    neighbour lies an offset is fixed; along the others, which are the columns of
    the result, it takes **all** values that the rank leaves, not half of them.

    Examples
    --------
    >>> crossing_offsets((0, 1), 2).tolist(), crossing_offsets((1, 1), 1).tolist()
    ([[-1], [0], [1]], [])
    """
    free = direction.count(0)
    left = rank - (len(direction) - free)
    found = [
        offset
        for offset in itertools.product((-1, 0, 1), repeat=free)
        if sum(map(abs, offset)) <= left
    ]
    return np.array(found, np.int64).reshape(len(found), free)


def as_rows(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Int64s]:
    """Return an array as rows along its last axis, and the lengths of its other axes.

    Examples
    --------
    >>> import numpy as np
    >>> rows, lead = as_rows(np.zeros((4, 3, 5)))
    >>> rows.shape, lead.tolist()
    ((12, 5), [4, 3])
    """
    array = np.ascontiguousarray(array) if array.ndim else array.reshape(1)
    lead = np.array(array.shape[:-1], np.int64)
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1]), lead
