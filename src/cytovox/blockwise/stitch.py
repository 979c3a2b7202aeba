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
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, UsageError
from ..kernels.block_seams import Faces, Shells, Steps, count_votes, join_touching
from ..kernels.lattice import Int64s, connectivity_rank
from ..kernels.relabel import relabel
from ..kernels.union_find import find_roots, join_pairs, union_edges
from .block_tiles import Members, Run, Tile, Tiles, TileStore, run_here
from .evidence_file import STITCH_MODES, Evidence, StitchMode
from .grid import Grid
from .lookup import Lookup, label_dtype, scratch_array
from .seam_report import NODE, report_seams
from .votes import Load, is_best, shared_labels

__all__ = ["Rule", "StitchTile", "Stitcher", "block_offsets", "relabel_block", "stitch"]

#: When two labels that share voxels are the same object; see `stitch`.
Rule = Literal["iou", "mutual"]

#: Votes this close to the threshold are reported as doubtful.
_CLOSE = 0.1


@dataclass(frozen=True, slots=True)
class StitchTile:
    """Join the labels of a tile; keep what belongs to labels of other tiles.

    Parameters
    ----------
    tiles, load, store
        The tiles, the evidence of their blocks, and what takes the result.
    mode, rank, rule, threshold, min_voxels, reach
        How labels are joined; see `stitch`.
    """

    tiles: Tiles
    load: Load
    store: TileStore
    mode: StitchMode
    rank: int
    rule: Rule
    threshold: float
    min_voxels: int
    reach: tuple[int, ...]

    #: Most of it is compiled code that lets others work.
    uses_threads = True

    def __call__(self, tile: Tile) -> dict[str, Any]:
        """Do it; return the number of blocks and of pairs that are doubtful."""
        grid = self.tiles.grid
        rank = {"touch": self.rank, "overlap": grid.ndim}.get(self.mode, 0)
        steps = Steps.later(grid.ndim, rank)
        members = Members.of(self.tiles, tile, steps)
        evidences = [self.load(int(index)) for index in members.blocks]
        starts = np.array(self.store.get("offsets", 0)[members.blocks])
        counts = np.array([evidence.count for evidence in evidences], np.int64)
        own = np.where(members.own, np.cumsum(counts * members.own) - counts, -1)
        parent = np.arange(counts[members.own].sum(), dtype=np.int64)
        doubtful = 0
        outside = np.empty((0, 2), np.int64)
        owned = np.ones(parent.size, np.bool_)
        if self.mode == "touch":
            extents = members.high - members.low
            faces = Faces.of([evidence.faces for evidence in evidences], extents)
            outside = join_touching(faces, members.pairs, steps, own, starts, parent)
        elif self.mode == "overlap":
            pairs, doubtful = self._agreeing(members, evidences, counts)
            outside = _join(pairs, own, starts, parent)
        elif self.mode == "owner":
            pairs, owned, doubtful = self._owned(members, evidences, own, parent.size)
            inside = pairs[:, 2] >= 0
            join_pairs(parent, pairs[inside][:, [0, 2]])
            outside = pairs[~inside][:, :2]
        find_roots(parent)
        outside[:, 0] = parent[outside[:, 0]]
        self._keep(tile, [e for e, mine in zip(evidences, members.own, strict=True) if mine],
                   parent, owned, outside)  # fmt: skip
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
        order = np.lexsort((outside[:, 1], outside[:, 0]))
        outside = outside[order]
        new = np.ones(len(outside), np.bool_)
        new[1:] = (outside[1:] != outside[:-1]).any(axis=1)
        self.store.put("outside", tile.index, outside[new])

    def _agreeing(
        self, members: Members, evidences: list[Evidence], counts: Int64s
    ) -> tuple[Int64s, int]:
        """Return members and labels that coincide in the shared context."""
        for evidence in evidences:
            if evidence.shell is None:
                raise UsageError(
                    "the block did not keep what it saw in its context",
                    block=evidence.index,
                    hint="segment with stitch='overlap' or 'owner'",
                )
        shells = Shells.of([e.shell for e in evidences if e.shell], [e.box for e in evidences])
        pairs = members.pairs[(counts[members.pairs[:, :2]] > 0).all(axis=1)]
        a, b = pairs[:, 0], pairs[:, 1]
        reach = np.array(self.reach)
        level = members.low[a] == members.low[b]
        low = np.where(level, members.low[a], np.maximum(members.low[a], members.low[b]) - reach)
        high = np.where(level, members.high[a], np.maximum(members.low[a], members.low[b]) + reach)
        low = np.maximum(low, np.maximum(shells.box[a, :, 0], shells.box[b, :, 0]))
        high = np.minimum(high, np.minimum(shells.box[a, :, 1], shells.box[b, :, 1]))
        some = (low < high).all(axis=1)
        boxes = np.ascontiguousarray(np.stack([low, high], axis=2)[some])
        pairs = np.ascontiguousarray(pairs[some][:, :2])
        at, one, two, common, size_a, size_b = count_votes(shells, pairs, boxes)
        if self.rule == "iou":
            share = common / (size_a + size_b - common)
        else:
            best = is_best(at, one, two, common) & is_best(at, two, one, common)
            share = np.where(best, common / np.minimum(size_a, size_b), 0.0)
        # A label that is only in the context of a block is not an object of it.
        a, b = pairs[at, 0], pairs[at, 1]
        real = (one <= counts[a]) & (two <= counts[b]) & (common >= self.min_voxels)
        chosen = real & (share > self.threshold)
        doubtful = int(np.count_nonzero(real & (abs(share - self.threshold) <= _CLOSE)))
        return np.stack([a, one, b, two], axis=1)[chosen], doubtful

    def _owned(
        self, members: Members, evidences: list[Evidence], own: Int64s, size: int
    ) -> tuple[Int64s, npt.NDArray[np.bool_], int]:
        """Join labels whose centre is in another block with the one that they have there.

        Returned are pairs of a label here, that label anywhere, and the same
        label here or -1; and which labels have their centre in their own block.
        """
        grid = self.tiles.grid
        own_first = dict(zip(members.blocks.tolist(), own.tolist(), strict=True))
        offsets = self.store.get("offsets", 0)
        known = {evidence.index: evidence for evidence in evidences}
        owned = np.zeros(size, np.bool_)
        found = [np.empty((0, 3), np.int64)]
        doubtful = 0
        for evidence in evidences:
            if evidence.centres is None:
                raise UsageError(
                    "the block did not keep the centres of its labels",
                    block=evidence.index,
                    hint="segment with stitch='owner'",
                )
            where = _blocks_of(grid, evidence.centres)
            first = own_first[evidence.index]
            owned[first : first + evidence.count] = where == evidence.index
            for home in np.unique(where[where != evidence.index]).tolist():
                other = known.get(home) or self.load(home)
                a, b, close = self._known_at_home(evidence, other, where == home)
                doubtful += close
                inside = own_first.get(home, -1)
                local = np.full(a.size, -1) if inside < 0 else inside + b - 1
                found.append(np.stack([a - 1 + first, int(offsets[home]) + b - 1, local], axis=1))
        return np.concatenate(found).astype(np.int64), owned, doubtful

    def _known_at_home(
        self, evidence: Evidence, other: Evidence, away: npt.NDArray[np.bool_]
    ) -> tuple[Int64s, Int64s, int]:
        """Return labels that are away from their centre, and what the block there calls them."""
        counted = shared_labels(evidence, other)
        if counted is None:
            empty = np.empty(0, np.int64)
            return empty, empty, 0
        a, b, common, size_a, size_b = counted
        share = common / np.minimum(size_a, size_b)
        listed = np.zeros(int(a.max(initial=0)) + 1, np.bool_)
        listed[1 + np.flatnonzero(away[: listed.size - 1])] = True
        real = listed[a] & (b <= other.count) & (common >= self.min_voxels)
        best = is_best(np.zeros(a.size, np.int64), a, b, common)
        chosen = real & best & (share > self.threshold)
        doubtful = int(np.count_nonzero(real & (abs(share - self.threshold) <= _CLOSE)))
        return a[chosen].astype(np.int64), b[chosen].astype(np.int64), doubtful


def _blocks_of(grid: Grid, voxels: Int64s) -> Int64s:
    """Return the blocks that write voxels."""
    at = tuple((voxels // np.array(grid.block)).T)
    return np.asarray(np.ravel_multi_index(at, grid.counts), np.int64)


def _join(pairs: Int64s, own: Int64s, starts: Int64s, parent: Int64s) -> Int64s:
    """Join labels of members; return those that are joined with labels of other tiles."""
    a, one, b, two = pairs.T
    here = own[a] + one - 1
    inside = own[b] >= 0
    join_pairs(parent, np.stack([here, own[b] + two - 1], axis=1)[inside])
    return np.asarray(np.stack([here, starts[b] + two - 1], axis=1)[~inside], np.int64)


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
    folder: str | os.PathLike[str] | None = None,
    tiles: Tiles | None = None,
    run: Run = run_here,
) -> Lookup:
    """Decide which labels of all blocks are one object.

    With a `folder`, what tiles came to is kept there, and the table as well.
    """
    _check_options(mode, rule, threshold, min_voxels)
    tiles = tiles or Tiles.of(grid)
    store = TileStore(folder)
    offsets = block_offsets(load, grid)
    store.put("offsets", 0, offsets)
    work = StitchTile(
        tiles,
        load,
        store,
        mode,
        connectivity_rank(grid.ndim, connectivity),
        rule,
        threshold,
        min_voxels,
        tuple(-(-c // 8) for c in grid.context) if reach is None else reach,
    )
    doubtful = sum(int(told["doubtful"]) for told in run(tiles, work))
    lookup = Stitcher(tiles, store, offsets).lookup(folder)
    return lookup.with_report(report_seams(mode, lookup, tiles, store, doubtful))


def block_offsets(load: Load, grid: Grid) -> Int64s:
    """Return the number of the first label of each block, and of all labels."""
    counts = getattr(load, "counts", None)
    if counts is not None:
        found = counts(len(grid))
    else:
        found = np.fromiter((load(i).count for i in range(len(grid))), np.int64, len(grid))
    return np.concatenate([[0], np.cumsum(found)]).astype(np.int64)


def _check_options(mode: str, rule: str, threshold: float, min_voxels: int) -> None:
    if mode not in STITCH_MODES:
        raise OptionError(f"unknown way to stitch '{mode}'", hint=f"one of {STITCH_MODES}")
    if rule not in ("iou", "mutual"):
        raise OptionError(f"unknown rule '{rule}'", hint="'iou' or 'mutual'")
    if not 0 <= threshold < 1:
        raise OptionError(f"the threshold is {threshold}", hint="it is from 0 to less than 1")
    if min_voxels < 1:
        raise OptionError(f"min_voxels is {min_voxels}", hint="labels share a voxel at least")


class Stitcher:
    """Puts together what the tiles came to.

    Memory goes with the sets of labels that reach from one tile into another,
    and with the labels of one tile.
    """

    def __init__(self, tiles: Tiles, store: TileStore, offsets: Int64s) -> None:
        self.tiles = tiles
        self.store = store
        self.offsets = offsets
        #: Roots in their tiles that are joined with others, in ascending order.
        self.nodes = np.empty(0, np.int64)
        self.blocks = np.empty(0, np.int64)
        self._order = np.empty(0, np.intp)
        self._ends = np.empty(0, np.intp)

    def lookup(self, folder: str | os.PathLike[str] | None) -> Lookup:
        """Return the number of the object of each label."""
        self.nodes, parent = self._sets()
        self.blocks = np.searchsorted(self.offsets, self.nodes, side="right") - 1
        homes = self.tiles.home(self.blocks)
        self._order = np.argsort(homes, kind="stable")
        self._ends = np.searchsorted(homes[self._order], np.arange(len(self.tiles) + 1))
        alive = self._alive(parent)
        base, rank = self._count(parent, alive)
        count = int(base[-1])
        numbers = np.where(alive, base[self.blocks] + 1 + rank, 0)[parent]
        dtype, size = label_dtype(count), int(self.offsets[-1])
        lut: npt.NDArray[Any] = (
            np.empty(size, dtype)
            if folder is None or not size
            else scratch_array(folder, "lut", dtype, size)
        )
        for tile, own, nodes in self._tiles():
            number = self._survivors(tile, nodes, parent, alive)
            found = np.flatnonzero(number)
            block = np.repeat(own, self._counts(own))[found]
            number[found] = base[block] + 1 + _ranks(block)
            chosen = self._of(tile)
            number[self._local(own, chosen)] = numbers[chosen]
            _scatter(lut, number[nodes["root"]], own, self.offsets)
        if isinstance(lut, np.memmap):
            lut.flush()
        return Lookup(lut, self.offsets, count, np.unique(numbers[numbers > 0]), self.tiles.edge)

    def _tiles(self) -> Any:
        for index in range(len(self.tiles)):
            own = self.tiles.own(self.tiles[index])
            yield index, own, np.array(self.store.get("nodes", index))

    def _counts(self, blocks: Int64s) -> Int64s:
        return np.asarray(self.offsets[blocks + 1] - self.offsets[blocks], np.int64)

    def _of(self, tile: int) -> npt.NDArray[np.intp]:
        """Return which nodes are in a tile."""
        return self._order[self._ends[tile] : self._ends[tile + 1]]

    def _local(self, own: Int64s, chosen: npt.NDArray[np.intp]) -> Int64s:
        """Return the places of nodes among the labels of their tile."""
        return self._places(own, self.nodes[chosen], self.blocks[chosen])

    def _places(self, own: Int64s, nodes: Int64s, blocks: Int64s) -> Int64s:
        starts = np.cumsum(self._counts(own)) - self._counts(own)
        at = np.searchsorted(own, blocks)
        return np.asarray(starts[at] + nodes - self.offsets[blocks], np.int64)

    def _sets(self) -> tuple[Int64s, Int64s]:
        """Return the nodes that are joined across tiles, and the first of each one's set."""
        one, two = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for index in range(len(self.tiles)):
            outside = self.store.get("outside", index)
            if len(outside):
                own = self.tiles.own(self.tiles[index])
                one.append(self._global(own, outside[:, 0]))
                two.append(np.array(outside[:, 1]))
        a, b = np.concatenate(one), np.concatenate(two)
        blocks = np.searchsorted(self.offsets, b, side="right") - 1
        homes = self.tiles.home(blocks)
        order = np.argsort(homes, kind="stable")
        ends = np.searchsorted(homes[order], np.arange(len(self.tiles) + 1))
        for index in np.unique(homes).tolist():
            chosen = order[ends[index] : ends[index + 1]]
            own = self.tiles.own(self.tiles[index])
            places = self._places(own, b[chosen], blocks[chosen])
            b[chosen] = self._global(own, np.array(self.store.get("nodes", index)["root"])[places])
        nodes = np.unique(np.concatenate([a, b]))
        edges = np.stack([np.searchsorted(nodes, a), np.searchsorted(nodes, b)], axis=1)
        return nodes, union_edges(nodes.size, edges)

    def _global(self, own: Int64s, places: Int64s) -> Int64s:
        """Return the nodes at places among the labels of a tile."""
        ends = np.cumsum(self._counts(own))
        at = np.searchsorted(ends, places, side="right")
        return np.asarray(places - (ends[at] - self._counts(own)[at]) + self.offsets[own[at]])

    def _alive(self, parent: Int64s) -> npt.NDArray[np.bool_]:
        """Return which sets across tiles have a label that is in its own block."""
        alive = np.zeros(parent.size, np.bool_)
        for tile in np.flatnonzero(np.diff(self._ends)).tolist():
            chosen = self._of(tile)
            own = self.tiles.own(self.tiles[tile])
            nodes = np.array(self.store.get("nodes", tile))
            here = np.zeros(nodes.size, np.bool_)
            here[nodes["root"][nodes["owned"]]] = True
            alive[parent[chosen[here[self._local(own, chosen)]]]] = True
        return alive

    def _survivors(
        self, tile: int, nodes: Any, parent: Int64s, alive: npt.NDArray[np.bool_]
    ) -> Int64s:
        """Return 1 for each label of a tile that is the first of a numbered object."""
        first = np.zeros(nodes.size, np.int64)
        first[nodes["root"][nodes["owned"]]] = 1
        chosen = self._of(tile)
        if chosen.size:
            own = self.tiles.own(self.tiles[tile])
            first[self._local(own, chosen)] = (parent[chosen] == chosen) & alive[chosen]
        return first

    def _count(self, parent: Int64s, alive: npt.NDArray[np.bool_]) -> tuple[Int64s, Int64s]:
        """Return how many objects begin before each block, and each node's rank in its block."""
        begin = np.zeros(len(self.offsets), np.int64)
        rank = np.zeros(parent.size, np.int64)
        for tile, own, nodes in self._tiles():
            first = self._survivors(tile, nodes, parent, alive)
            block = np.repeat(np.arange(own.size), self._counts(own))
            begin[own + 1] = np.bincount(block[first > 0], minlength=own.size)
            chosen = self._of(tile)
            local = self._local(own, chosen)
            before = np.cumsum(first) - first
            starts = np.cumsum(self._counts(own)) - self._counts(own)
            rank[chosen] = before[local] - before[starts[block[local]]]
        return np.cumsum(begin), rank


def _ranks(blocks: Int64s) -> Int64s:
    """Return the number of equal values in front of each, which follow each other."""
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    lengths = np.diff(np.append(starts, blocks.size))
    return np.asarray(np.arange(blocks.size) - np.repeat(starts, lengths), np.int64)


def _scatter(lut: npt.NDArray[Any], values: Int64s, own: Int64s, offsets: Int64s) -> None:
    """Write the numbers of the labels of a tile, whose blocks follow each other in rows."""
    at = 0
    first = np.flatnonzero(np.diff(own, prepend=-2) != 1)
    last = np.append(first[1:], own.size) - 1
    for start, stop in zip(offsets[own[first]], offsets[own[last] + 1], strict=True):
        lut[start:stop] = values[at : at + stop - start]
        at += stop - start


def relabel_block(labels: npt.NDArray[Any], lut: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the final labels of a block."""
    return relabel(labels, lut)
