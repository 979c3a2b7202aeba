"""The labels of all blocks become those of one volume.

Each block brought labels 1 to n of its own. Counted through in the order of
the blocks they are nodes; evidence says which of them are one object. Objects
are numbered 1 to N in the order of their first node, so that the result
depends neither on who worked nor on who finished first.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError, UsageError
from ..kernels.faces import touching_pairs
from ..kernels.lattice import Int64s, connectivity_rank, crossing_offsets
from ..kernels.relabel import relabel
from ..kernels.union_find import find_roots, join_pairs, renumber
from .evidence_file import STITCH_MODES, StitchMode
from .grid import Grid
from .lookup import Lookup, SeamReport, as_lookup, scratch_array
from .votes import Load, Votes, block_votes, is_best, shared_labels

__all__ = ["Rule", "relabel_block", "report_again", "stitch"]

#: When two labels that share voxels are the same object; see `stitch`.
Rule = Literal["iou", "mutual"]

#: Votes this close to the threshold are reported as doubtful.
_CLOSE = 0.1


@dataclass(slots=True)
class _Stitcher:
    """One run of stitching: the forest of nodes and what is counted on the way."""

    grid: Grid
    load: Load
    offsets: Int64s
    parent: Int64s
    doubtful: int = 0
    owned: npt.NDArray[np.bool_] | None = None
    votes: Callable[[int], Votes] | None = None
    rule: Rule = "iou"
    threshold: float = 0.5
    min_voxels: int = 1
    rank: int = 1
    reach: tuple[int, ...] | None = None

    def touch(self, index: int) -> None:
        """Join what touches at faces, edges and corners."""
        evidence = self.load(index)
        for step, neighbour in self.grid.neighbours(self.grid[index].position, later=True):
            crossing = crossing_offsets(step, self.rank)
            if not len(crossing):
                continue
            other = self.load(neighbour.index)
            opposite = tuple(-at for at in step)
            pairs = touching_pairs(evidence.facing(step), other.facing(opposite), crossing)
            start = self.offsets[[index, neighbour.index]] - 1
            join_pairs(self.parent, pairs + start)

    def overlap(self, index: int) -> None:
        """Join what coincides in the shared context."""
        load = self.votes or (lambda at: block_votes(at, self.grid, self.load, self.reach))
        votes = load(index)
        if not votes.other.size:
            return
        share = self._share(votes)
        counts = np.diff(self.offsets)
        # A label that is only in the context of a block is not an object of it.
        real = (votes.a <= counts[index]) & (votes.b <= counts[votes.other])
        real &= votes.common >= self.min_voxels
        chosen = real & (share > self.threshold)
        self.doubtful += int(np.count_nonzero(real & (abs(share - self.threshold) <= _CLOSE)))
        a = self.offsets[index] - 1 + votes.a[chosen].astype(np.int64)
        b = self.offsets[votes.other[chosen]] - 1 + votes.b[chosen].astype(np.int64)
        join_pairs(self.parent, np.stack([a, b], axis=1))

    def _share(self, votes: Votes) -> npt.NDArray[np.float64]:
        """Return how much each two labels agree, from 0 to 1."""
        if self.rule == "iou":
            return votes.common / (votes.size_a + votes.size_b - votes.common)
        best = is_best(votes.other, votes.a, votes.b, votes.common)
        best &= is_best(votes.other, votes.b, votes.a, votes.common)
        smaller = np.minimum(votes.size_a, votes.size_b)
        share: npt.NDArray[np.float64] = np.where(best, votes.common / smaller, 0.0)
        return share

    def owner(self, index: int) -> None:
        """Join a label whose centre is in another block with the one it has there."""
        evidence = self.load(index)
        if evidence.centres is None or self.owned is None:
            raise UsageError(
                "the block did not keep the centres of its labels",
                block=index,
                hint="segment with stitch='owner'",
            )
        where = np.array([self.grid.owner(tuple(at)) for at in evidence.centres.tolist()], int)
        first = self.offsets[index]
        self.owned[first : first + evidence.count] = where == index
        for home in np.unique(where[where != index]):
            other = self.load(int(home))
            counted = shared_labels(evidence, other)
            if counted is None:
                continue
            a, b, common, size_a, size_b = counted
            share = common / np.minimum(size_a, size_b)
            away = np.zeros(int(a.max(initial=0)) + 1, np.bool_)
            away[1 + np.flatnonzero(where[: away.size - 1] == home)] = True
            block = np.zeros(a.size, np.int64)
            real = away[a] & (b <= other.count) & (common >= self.min_voxels)
            chosen = real & is_best(block, a, b, common) & (share > self.threshold)
            self.doubtful += int(np.count_nonzero(real & (abs(share - self.threshold) <= _CLOSE)))
            pairs = np.stack([a[chosen] - 1 + first, b[chosen] - 1 + self.offsets[home]], axis=1)
            join_pairs(self.parent, pairs.astype(np.int64))


def stitch(
    mode: StitchMode,
    load: Load,
    grid: Grid,
    *,
    connectivity: int | None = None,
    rule: Rule = "iou",
    threshold: float = 0.5,
    min_voxels: int = 1,
    reach: tuple[int, ...] | None = None,
    votes: Callable[[int], Votes] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Lookup:
    """Decide which labels of all blocks are one object."""
    _check_options(mode, rule, threshold, min_voxels)
    counts = np.fromiter((load(i).count for i in range(len(grid))), np.int64, len(grid))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    run = _Stitcher(
        grid,
        load,
        offsets,
        _forest(int(offsets[-1]), folder),
        owned=np.zeros(int(offsets[-1]), np.bool_) if mode == "owner" else None,
        votes=votes,
        rule=rule,
        threshold=threshold,
        min_voxels=min_voxels,
        reach=reach,
        rank=connectivity_rank(grid.ndim, connectivity),
    )
    step = {"touch": run.touch, "overlap": run.overlap, "owner": run.owner, "none": None}[mode]
    if step is not None:
        for index in range(len(grid)):
            step(index)
    find_roots(run.parent)
    lut, count = renumber(run.parent, run.owned)
    lookup = as_lookup(lut, offsets, count, folder)
    return lookup.with_report(_seams(mode, lookup, load, run.doubtful))


def _check_options(mode: str, rule: str, threshold: float, min_voxels: int) -> None:
    if mode not in STITCH_MODES:
        raise OptionError(f"unknown way to stitch '{mode}'", hint=f"one of {STITCH_MODES}")
    if rule not in ("iou", "mutual"):
        raise OptionError(f"unknown rule '{rule}'", hint="'iou' or 'mutual'")
    if not 0 <= threshold < 1:
        raise OptionError(f"the threshold is {threshold}", hint="it is from 0 to less than 1")
    if min_voxels < 1:
        raise OptionError(f"min_voxels is {min_voxels}", hint="labels share a voxel at least")


def _forest(size: int, folder: str | os.PathLike[str] | None) -> Int64s:
    if folder is None or size == 0:
        return np.arange(size, dtype=np.int64)
    parent = scratch_array(folder, "forest", np.int64, size)
    for start in range(0, size, 1 << 20):
        stop = min(start + (1 << 20), size)
        parent[start:stop] = np.arange(start, stop)
    return parent


def relabel_block(labels: npt.NDArray[Any], lut: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the final labels of a block."""
    return relabel(labels, lut)


def _seams(mode: StitchMode, lookup: Lookup, load: Load, doubtful: int) -> SeamReport:
    """Count what can be said about the quality of stitching without knowing the truth."""
    n = lookup.count + 1
    sizes = np.zeros(n, np.uint64)
    blocks = np.zeros(n, np.int64)
    touches, contested, exceeding = (np.zeros(n, np.bool_) for _ in range(3))
    dropped = 0
    for index, final in _slices(lookup):
        evidence = load(index)
        if evidence.count != final.size:
            raise InputError("the evidence of the block has changed meanwhile", block=index)
        np.add.at(sizes, final, evidence.sizes)
        touches[final[evidence.at_seam]] = True
        exceeding[final[evidence.clipped]] = True
        ids, times = np.unique(final, return_counts=True)
        blocks[ids] += 1
        contested[ids[times > 1]] = True
        dropped += int(np.count_nonzero(final == 0))
    for flags in (touches, contested, exceeding):
        flags[0] = False
    inside = ~touches
    inside[0] = False
    return SeamReport(
        mode=mode,
        blocks=len(lookup.offsets) - 1,
        labels=int(lookup.offsets[-1]),
        objects=lookup.count,
        dropped=dropped,
        doubtful=doubtful,
        at_seam=int(np.count_nonzero(touches)),
        spanning=int(np.count_nonzero(blocks[1:] > 1)),
        cut=_ids(touches & (blocks == 1)),
        contested=_ids(contested),
        exceeding=_ids(exceeding) if mode in ("overlap", "owner") else np.empty(0, np.int64),
        seam_median=_median(sizes[touches]),
        interior_median=_median(sizes[inside]),
    )


def report_again(report: SeamReport, lookup: Lookup, load: Load) -> SeamReport:
    """Return the report for the objects that a gate has left."""
    left = _seams(cast("StitchMode", report.mode), lookup, load, report.doubtful)
    # Labels of objects that did not pass were dropped for another reason.
    return dataclasses.replace(left, dropped=report.dropped)


def _slices(lookup: Lookup) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    for index in range(len(lookup.offsets) - 1):
        yield index, lookup.slice(index)[1:]


def _ids(flags: npt.NDArray[np.bool_]) -> Int64s:
    return np.flatnonzero(flags).astype(np.int64)


def _median(values: npt.NDArray[Any]) -> float:
    return float(np.median(values)) if values.size else float("nan")
