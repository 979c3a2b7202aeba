"""Votes: what two neighbouring blocks say about the voxels that both have seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..kernels.faces import count_overlap
from ..kernels.lattice import Int64s
from ..kernels.packed import unpack
from .evidence_file import Evidence
from .grid import Box, intersect

__all__ = ["Load", "is_best", "shared_labels"]

#: Returns the evidence of a block by its index.
Load = Callable[[int], Evidence]


def shared_labels(one: Evidence, two: Evidence, near: Box | None = None) -> tuple[Any, ...] | None:
    """Return which labels two blocks have at the same places."""
    common = intersect(one.box, two.box)
    if common is not None and near is not None:
        common = intersect(common, near)
    if common is None or one.count == 0 or two.count == 0:
        return None
    seen = []
    for evidence in (one, two):
        if evidence.shell is None:
            raise UsageError(
                "the block did not keep what it saw in its context",
                block=evidence.index,
                hint="segment with stitch='overlap' or 'owner'",
            )
        local = tuple(
            (start - low, stop - low)
            for (start, stop), (low, _) in zip(common, evidence.box, strict=True)
        )
        seen.append(unpack(evidence.shell, local))
    a, b, n = count_overlap(*seen)
    size_a = np.bincount(a, weights=n).astype(np.int64)[a]
    size_b = np.bincount(b, weights=n).astype(np.int64)[b]
    both = (a != 0) & (b != 0)
    return a[both], b[both], n[both], size_a[both], size_b[both]


def is_best(group: Int64s, of: Any, among: Any, common: Int64s) -> npt.NDArray[np.bool_]:
    """Tell which pair has the most in common for its first label; the smaller id wins a draw."""
    order = np.lexsort((among, -common, of, group))
    of, group = of[order], group[order]
    best = np.ones(order.size, np.bool_)
    best[1:] = (of[1:] != of[:-1]) | (group[1:] != group[:-1])
    out = np.empty(order.size, np.bool_)
    out[order] = best
    return out
