"""Sets of labels that turned out to be one object.

The root of a set is its smallest member, so that the result does not depend
on the order in which pairs arrive.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .lattice import Int64s

__all__ = ["find_roots", "join_one", "join_pairs", "union_edges"]


def union_edges(n: int, edges: Int64s) -> Int64s:
    """Return the smallest member of the set of each node.

    Parameters
    ----------
    n
        Number of nodes.
    edges
        Pairs of nodes (0-based) in any order, int64 of shape (m, 2).

    Returns
    -------
    numpy.ndarray
        int64 of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> union_edges(5, np.array([[4, 3], [3, 1]])).tolist()
    [0, 1, 2, 1, 1]
    """
    parent = np.arange(n, dtype=np.int64)
    join_pairs(parent, edges)
    find_roots(parent)
    return parent


def join_pairs(parent: Int64s, edges: Int64s) -> None:
    """Join the sets of each pair, in place.

    Parameters
    ----------
    parent
        The forest, ``arange(n)`` at first; int64 of shape (n,), which may be
        a memory-mapped file.
    edges
        Pairs of nodes, int64 of shape (m, 2).

    Raises
    ------
    IndexError
        If a node is not in the forest.
    """
    pairs = np.ascontiguousarray(edges, np.int64).reshape(-1, 2)
    if not pairs.size:
        return
    if pairs.min() < 0 or pairs.max() >= parent.size:
        raise IndexError(f"a pair names a node that is not one of {parent.size}")
    _join(np.asarray(parent), pairs)


def find_roots(parent: Int64s) -> None:
    """Let each node point to the root of its set, in place.

    Parameters
    ----------
    parent
        Parent of each node, int64 of shape (n,); a root is its own.
    """
    _flatten(np.asarray(parent))


@kernel()
def join_one(parent: Int64s, a: int, b: int) -> None:
    """Join the sets of two nodes, in place.

    Parameters
    ----------
    parent
        The forest, see `join_pairs`, int64 of shape (n,).
    a, b
        Nodes, which must be in the forest: that is not checked.
    """
    # Walk up from the larger node only: parents are always smaller.
    while parent[a] != parent[b]:
        if parent[a] < parent[b]:
            a, b = b, a
        up = parent[a]
        parent[a] = parent[b]
        if up == a:
            break
        a = up


@kernel()
def _join(parent: Int64s, pairs: Int64s) -> None:
    for i in range(pairs.shape[0]):
        join_one(parent, pairs[i, 0], pairs[i, 1])


@kernel()
def _flatten(parent: Int64s) -> None:
    for i in range(parent.size):
        parent[i] = parent[parent[i]]
