"""The labels of all blocks become those of one volume.

Each block brought labels 1 to n of its own. Counted through in the order of
the blocks they are nodes; evidence says which of them are one object. Objects
are numbered 1 to N in the order of their first node, so that the result
depends neither on who worked nor on who finished first.

Tiles of blocks are joined by themselves, by whomever. What is left to this
process are the sets of labels that touch another tile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, UsageError
from ..kernels.block_seams import Faces, Steps, join_touching
from ..kernels.lattice import Int64s, connectivity_rank
from ..kernels.packed import Shells, count_votes
from ..kernels.union_find import find_roots, join_pairs, union_edges
from .block_tiles import Members, Run, Tile, Tiles, TileStore, run_here
from .evidence_file import STITCH_MODES, Evidence, Load, StitchMode
from .grid import Grid
from .lookup import Lookup, label_dtype, label_numbers
from .seam_report import NODE, report_seams

__all__ = ["Rule", "StitchTile", "Stitcher", "Stitching", "block_offsets", "stitch"]

#: When two labels that share voxels are the same object.
Rule = Literal["iou", "mutual"]

#: Votes this close to the threshold are reported as doubtful.
_CLOSE = 0.1


@dataclass(frozen=True, slots=True)
class Stitching:
    """How labels of neighbouring blocks become one; see `cytovox.segment_volume`.

    Parameters
    ----------
    mode
        ``"touch"``, ``"overlap"``, ``"owner"`` or ``"none"``.
    connectivity
        For ``"touch"``.
    rule, threshold, min_voxels, reach
        For ``"overlap"`` and ``"owner"``.
    """

    mode: StitchMode = "overlap"
    connectivity: int | None = None
    rule: Rule = "iou"
    threshold: float = 0.5
    min_voxels: int = 1
    reach: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in STITCH_MODES:
            raise OptionError(
                f"there is no way to stitch '{self.mode}'",
                hint=f"choose one of {', '.join(STITCH_MODES)}",
            )
        if self.rule not in ("iou", "mutual"):
            raise OptionError(f"there is no rule '{self.rule}'", hint="choose iou or mutual")
        if not 0 <= self.threshold < 1 or self.min_voxels < 1:
            raise OptionError(
                f"labels cannot agree by more than {self.threshold} in {self.min_voxels} voxels",
                hint="the threshold is from 0 to less than 1, min_voxels 1 at least",
            )
        if self.reach is not None and self.reach < 1:
            raise OptionError(f"reach cannot be {self.reach} voxels", hint="give 1 or more")

    @property
    def keeps(self) -> StitchMode:
        """What evidence must be kept: that of ``"owner"`` does for all modes."""
        return "owner" if self.mode in ("overlap", "owner") else "touch"


@dataclass(frozen=True, slots=True)
class StitchTile:
    """Join the labels of a tile; keep what belongs to labels of other tiles."""

    tiles: Tiles
    load: Load
    store: TileStore
    how: Stitching

    #: Most of it is compiled code that lets others work.
    uses_threads = True

    def __call__(self, tile: Tile) -> dict[str, Any]:
        """Do it; return the number of blocks and of pairs that are doubtful."""
        grid, mode = self.tiles.grid, self.how.mode
        touch = connectivity_rank(grid.ndim, self.how.connectivity)
        steps = Steps.later(grid.ndim, {"touch": touch, "overlap": grid.ndim}.get(mode, 0))
        members = Members.of(self.tiles, tile, steps)
        evidences = [self.load(int(index)) for index in members.blocks]
        starts = np.array(self.store.get("offsets", 0)[members.blocks])
        counts = np.array([evidence.count for evidence in evidences], np.int64)
        own = np.where(members.own, np.cumsum(counts * members.own) - counts, -1)
        parent = np.arange(counts[members.own].sum(), dtype=np.int64)
        owned = np.ones(parent.size, np.bool_)
        outside, doubtful = np.empty((0, 2), np.int64), 0
        if mode == "touch":
            faces = Faces.of([e.faces for e in evidences], members.high - members.low)
            outside = join_touching(faces, members.pairs, steps, own, starts, parent)
        elif mode == "overlap":
            pairs, doubtful = self._agreeing(members, evidences, own, starts)
            outside = _join(parent, pairs)
        elif mode == "owner":
            pairs, doubtful, owned = self._owned(members, evidences, own)
            outside = _join(parent, pairs)
        find_roots(parent)
        outside[:, 0] = parent[outside[:, 0]]
        mine = [e for e, is_own in zip(evidences, members.own, strict=True) if is_own]
        self._keep(tile, mine, parent, owned, outside)
        return {"blocks": tile.blocks, "doubtful": doubtful}

    def _keep(
        self,
        tile: Tile,
        evidences: list[Evidence],
        parent: Int64s,
        owned: npt.NDArray[np.bool_],
        outside: Int64s,
    ) -> None:
        nodes = np.empty(parent.size, NODE)
        nodes["root"], nodes["owned"] = parent, owned
        for name, field in (("size", "sizes"), ("seam", "at_seam"), ("clipped", "clipped")):
            nodes[name] = np.concatenate([getattr(one, field) for one in evidences])
        self.store.put("nodes", tile.index, nodes)
        outside = outside[np.lexsort(outside.T[::-1])]
        new = np.ones(len(outside), np.bool_)
        new[1:] = (outside[1:] != outside[:-1]).any(axis=1)
        self.store.put("outside", tile.index, outside[new])

    def _agreeing(
        self, members: Members, evidences: list[Evidence], own: Int64s, starts: Int64s
    ) -> tuple[Int64s, int]:
        """Return labels that coincide in the shared context; see `_join`."""
        counts = np.array([evidence.count for evidence in evidences], np.int64)
        pairs = members.pairs[(counts[members.pairs[:, :2]] > 0).all(axis=1), :2]
        a, b = pairs.T
        reach = np.array(
            [-(-c // 8) for c in self.tiles.grid.context]
            if self.how.reach is None
            else [self.how.reach] * self.tiles.grid.ndim
        )
        level = members.low[a] == members.low[b]
        seam = np.maximum(members.low[a], members.low[b])
        low = np.where(level, members.low[a], seam - reach)
        high = np.where(level, members.high[a], seam + reach)
        at, one, two, common, size_a, size_b = _votes(evidences, pairs, low, high)
        if self.how.rule == "iou":
            share = common / (size_a + size_b - common)
        else:
            best = _is_best(at, one, two, common) & _is_best(at, two, one, common)
            share = np.where(best, common / np.minimum(size_a, size_b), 0.0)
        # A label that is only in the context of a block is not an object of it.
        a, b = pairs[at].T
        chosen, doubtful = self._agree(share, common, (one <= counts[a]) & (two <= counts[b]))
        return _pairs(own[a] + one, starts[b] + two, own[b], two)[chosen], doubtful

    def _owned(
        self, members: Members, evidences: list[Evidence], own: Int64s
    ) -> tuple[Int64s, int, npt.NDArray[np.bool_]]:
        """Return labels whose centre is in another block, and the one that they have there.

        Also returned is which labels have their centre in their own block.
        """
        homes = [self._homes(evidence) for evidence in evidences]
        wanted = np.unique(np.concatenate([members.blocks, *homes]))
        strange = np.setdiff1d(wanted, members.blocks)  # of other tiles
        seen = [*evidences, *(self.load(index) for index in strange.tolist())]
        blocks = np.concatenate([members.blocks, strange])
        # Of each label, the block that it is in, and the one that its centre is in.
        place = np.argsort(blocks)[np.searchsorted(wanted, np.concatenate(homes))]
        block = np.repeat(np.arange(len(evidences)), [evidence.count for evidence in evidences])
        pairs = np.unique(np.stack([block, place], axis=1)[block != place], axis=0)
        everywhere = np.broadcast_to(self.tiles.grid.shape, (len(pairs), self.tiles.grid.ndim))
        at, one, two, common, size_a, size_b = _votes(seen, pairs, 0 * everywhere, everywhere)
        a, b = pairs[at].T
        counts = np.array([evidence.count for evidence in seen], np.int64)
        real = (one <= counts[a]) & (two <= counts[b])
        real &= place[np.where(real, own[a] + one - 1, 0)] == b
        chosen, doubtful = self._agree(common / np.minimum(size_a, size_b), common, real)
        chosen &= _is_best(at, one, two, common)
        offsets = self.store.get("offsets", 0)
        there = np.append(own, np.full(strange.size, -1))[b]
        found = _pairs(own[a] + one, offsets[blocks[b]] + two, there, two)
        return found[chosen], doubtful, block == place

    def _homes(self, evidence: Evidence) -> Int64s:
        """Return the blocks that write the centres of the labels of a block."""
        if evidence.centres is None:
            raise UsageError(
                "the block did not keep the centres of its labels",
                block=evidence.index,
                hint="segment with stitch='owner'",
            )
        grid = self.tiles.grid
        at = tuple((evidence.centres // np.array(grid.block)).T)
        return np.asarray(np.ravel_multi_index(at, grid.counts), np.int64)

    def _agree(
        self, share: npt.NDArray[np.float64], common: Int64s, real: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.bool_], int]:
        """Return which labels are the same object, and how many may be or not."""
        real &= common >= self.how.min_voxels
        close = real & (abs(share - self.how.threshold) <= _CLOSE)
        return real & (share > self.how.threshold), int(np.count_nonzero(close))


def _votes(
    evidences: Sequence[Evidence], pairs: Int64s, low: Int64s, high: Int64s
) -> tuple[Int64s, ...]:
    """Return what `count_votes` does for pairs of blocks, in the part of boxes that both see."""
    for evidence in evidences:
        if evidence.shell is None:
            raise UsageError(
                "the block did not keep what it saw in its context",
                block=evidence.index,
                hint="segment with stitch='overlap' or 'owner'",
            )
    shells = Shells.of([e.shell for e in evidences if e.shell], [e.box for e in evidences])
    low = np.maximum(low, shells.box[pairs, :, 0].max(axis=1))
    high = np.minimum(high, shells.box[pairs, :, 1].min(axis=1))
    some = np.flatnonzero((low < high).all(axis=1))
    boxes = np.ascontiguousarray(np.stack([low, high], axis=2)[some])
    at, *votes = count_votes(shells, np.ascontiguousarray(pairs[some]), boxes)
    return some[at], *votes


def _is_best(group: Int64s, of: Int64s, among: Int64s, common: Int64s) -> npt.NDArray[np.bool_]:
    """Tell which pair has the most in common for its first label; the smaller id wins a draw."""
    order = np.lexsort((among, -common, of, group))
    of, group = of[order], group[order]
    best = np.ones(order.size, np.bool_)
    best[1:] = (of[1:] != of[:-1]) | (group[1:] != group[:-1])
    out = np.empty(order.size, np.bool_)
    out[order] = best
    return out


def _pairs(here: Int64s, anywhere: Int64s, own: Int64s, label: Int64s) -> Int64s:
    """Return pairs for `_join` of labels that count from 1; `own` is -1 outside of the tile."""
    local = np.where(own >= 0, own + label, 0)
    return np.asarray(np.stack([here, anywhere, local], axis=1) - 1, np.int64)


def _join(parent: Int64s, pairs: Int64s) -> Int64s:
    """Join labels of a tile; return those that are joined with labels of other tiles.

    Of a pair there are the label in the tile, the other one anywhere, and the
    other one in the tile, or -1.
    """
    inside = pairs[:, 2] >= 0
    join_pairs(parent, pairs[inside][:, [0, 2]])
    return pairs[~inside][:, :2]


def stitch(
    how: Stitching,
    load: Load,
    grid: Grid,
    *,
    folder: str | os.PathLike[str] | None = None,
    tiles: Tiles | None = None,
    run: Run = run_here,
) -> Lookup:
    """Decide which labels of all blocks are one object.

    With a `folder`, what tiles came to is kept there, and the table as well.
    """
    connectivity_rank(grid.ndim, how.connectivity)  # known before any work
    tiles = tiles or Tiles.of(grid)
    store = TileStore(folder)
    offsets = block_offsets(load, grid)
    store.put("offsets", 0, offsets)
    work = StitchTile(tiles, load, store, how)
    doubtful = sum(int(told["doubtful"]) for told in run(tiles, work))
    lookup = Stitcher(tiles, store, offsets).lookup()
    return lookup.with_report(report_seams(how.mode, lookup, tiles, store, doubtful))


def block_offsets(load: Load, grid: Grid) -> Int64s:
    """Return the number of the first label of each block, and of all labels."""
    counts = getattr(load, "counts", None)
    if counts is not None:
        found = counts(len(grid))
    else:
        found = np.fromiter((load(i).count for i in range(len(grid))), np.int64, len(grid))
    return np.concatenate([[0], np.cumsum(found)]).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The labels of a tile, and which of them are joined with those of other tiles."""

    block: Int64s  # of each label
    number: Int64s  # of each label in the whole, ascending
    chosen: npt.NDArray[np.intp]  # which of all that are joined across tiles are here
    local: Int64s  # their places here
    nodes: Any  # what is kept of the labels, see `NODE`

    def survivors(self, parent: Int64s, alive: npt.NDArray[np.bool_]) -> Int64s:
        """Return 1 for each label that is the first of a numbered object."""
        first = np.zeros(self.nodes.size, np.int64)
        first[self.nodes["root"][self.nodes["owned"]]] = 1
        first[self.local] = (parent[self.chosen] == self.chosen) & alive[self.chosen]
        return first

    def ranks(self, first: Int64s) -> Int64s:
        """Return how many survivors of the same block are in front of each label."""
        before = np.cumsum(first) - first
        return np.asarray(before - before[np.searchsorted(self.block, self.block)], np.int64)


class Stitcher:
    """Puts together what the tiles came to.

    Memory goes with the sets of labels that reach from one tile into another,
    and with the labels of one tile.
    """

    def __init__(self, tiles: Tiles, store: TileStore, offsets: Int64s) -> None:
        self.tiles = tiles
        self.store = store
        self.offsets = offsets

    def lookup(self) -> Lookup:
        """Return the number of the object of each label."""
        joined, parent = self._sets()
        alive = np.zeros(parent.size, np.bool_)  # sets with a label that is in its own block
        for part in self._parts(joined, crossing=True):
            here = np.zeros(part.nodes.size, np.bool_)
            here[part.nodes["root"][part.nodes["owned"]]] = True
            alive[parent[part.chosen[here[part.local]]]] = True
        begin = np.zeros(len(self.offsets), np.int64)  # objects that begin in each block
        numbers = np.zeros(parent.size, np.int64)
        for part in self._parts(joined):
            first = part.survivors(parent, alive)
            np.add.at(begin, part.block[first > 0] + 1, 1)
            numbers[part.chosen] = 1 + part.ranks(first)[part.local]
        base = np.cumsum(begin)
        count = int(base[-1])
        blocks = np.searchsorted(self.offsets, joined, side="right") - 1
        numbers = np.where(alive, base[blocks] + numbers, 0)[parent]
        lut = self.store.make("lut", label_dtype(count), int(self.offsets[-1]))
        for part in self._parts(joined):
            first = part.survivors(parent, alive)
            number = np.where(first > 0, base[part.block] + 1 + part.ranks(first), 0)
            number[part.local] = numbers[part.chosen]
            lut[part.number] = number[part.nodes["root"]]
        if isinstance(lut, np.memmap):
            lut.flush()
        return Lookup(lut, self.offsets, count, np.unique(numbers[numbers > 0]), self.tiles.edge)

    def _sets(self) -> tuple[Int64s, Int64s]:
        """Return the labels that are joined across tiles, and the first of each one's set."""
        one, two = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for tile in range(len(self.tiles)):
            outside = self.store.get("outside", tile)
            if len(outside):
                one.append(self._labels(tile)[1][outside[:, 0]])
                two.append(np.array(outside[:, 1]))
        a, b = np.concatenate(one), np.concatenate(two)
        for part in self._parts(b, crossing=True):  # roots in their tiles
            b[part.chosen] = part.number[part.nodes["root"][part.local]]
        joined = np.unique(np.concatenate([a, b]))
        edges = np.stack([np.searchsorted(joined, a), np.searchsorted(joined, b)], axis=1)
        return joined, union_edges(joined.size, edges)

    def _parts(self, labels: Int64s, *, crossing: bool = False) -> Iterator[_Part]:
        """Yield tiles with those of some labels that they have; `crossing` ones have any."""
        homes = self.tiles.home(np.searchsorted(self.offsets, labels, side="right") - 1)
        order = np.argsort(homes, kind="stable")
        ends = np.searchsorted(homes[order], np.arange(len(self.tiles) + 1))
        for tile in range(len(self.tiles)):
            chosen = order[ends[tile] : ends[tile + 1]]
            if crossing and not chosen.size:
                continue
            block, number = self._labels(tile)
            local = np.searchsorted(number, labels[chosen])
            yield _Part(block, number, chosen, local, np.array(self.store.get("nodes", tile)))

    def _labels(self, tile: int) -> tuple[Int64s, Int64s]:
        """Return the block of each label of a tile, and its number in the whole."""
        return label_numbers(self.tiles.own(self.tiles[tile]), self.offsets)
