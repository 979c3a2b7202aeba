"""How often labels occur, and how often two of them do so at one place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .hash_table import count_keys
from .jit import kernel
from .lattice import Ids, Int64s

__all__ = ["count_overlap", "sizes"]


def count_overlap(a: Ids, b: Ids) -> tuple[Ids, Ids, Int64s]:
    """Count at how many places each two labels coincide.

    Returns labels of `a`, labels of `b` and the number of places, each of shape
    (k,), in ascending order of the labels; not where both are 0.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([0, 1, 1, 1], np.uint32), np.array([0, 7, 7, 0], np.uint32)
    >>> [part.tolist() for part in count_overlap(a, b)]
    [[1, 1], [0, 7], [1, 2]]
    """
    flat_a = np.ascontiguousarray(a, np.uint32).ravel()
    flat_b = np.ascontiguousarray(b, np.uint32).ravel()
    keys, counts = count_keys(flat_a, flat_b, 32)
    ids_a = (keys >> np.uint64(32)).astype(np.uint32)
    ids_b = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return ids_a, ids_b, counts


def sizes(labels: Ids, n: int) -> npt.NDArray[np.uint64]:
    """Return the number of voxels of the labels 1 to n, uint64 of shape (n,).

    Larger labels are not counted.

    Examples
    --------
    >>> import numpy as np
    >>> sizes(np.array([0, 2, 2, 3], np.uint32), 2).tolist()
    [0, 2]
    """
    out = np.zeros(n + 1, np.uint64)
    _sizes(np.ascontiguousarray(labels, np.uint32).ravel(), out)
    return out[1:]


@kernel()
def _sizes(labels: Ids, out: npt.NDArray[np.uint64]) -> None:
    for i in range(labels.size):
        if labels[i] < out.size:
            out[labels[i]] += np.uint64(1)
