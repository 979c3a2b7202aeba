"""Measuring objects: each tile sums up its blocks, and what is in several tiles is put together.

Objects that are in one tile are finished there. Of the others a tile keeps
what each label contributes, so that these are added in the order of the blocks
as if there were no tiles.
"""

from __future__ import annotations

import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels.block_seams import Faces, Steps, count_contacts
from ..kernels.block_sums import BlockSums, surface_directions
from ..kernels.lattice import Int64s
from .block_tiles import Members, Run, Tile, Tiles, TileStore, run_here
from .evidence import Measures
from .evidence_file import Load
from .grid import Grid
from .lookup import Lookup, places
from .object_table import ObjectTable, axis_names, join_tables
from .objects import ObjectSums, Scale, add_surface, columns, part_type

__all__ = ["MeasureTile", "iter_objects"]

#: Objects that are put together at once: their histograms may take 20 kB each.
_AT_ONCE = 20_000
_BIN = np.dtype([("id", "i8"), ("key", "u2"), ("count", "i8")])


@dataclass(frozen=True, slots=True)
class MeasureTile:
    """Measure the objects of a tile, and keep what it knows of those that are also in others.

    It keeps finished objects and, of those in several tiles, what labels contribute,
    voxels of the same object across seams, and histograms. Rows begin with the object.
    """

    tiles: Tiles
    store: TileStore
    lookup: Callable[[], Lookup]
    sums: Callable[[int], BlockSums | None]
    evidence: Load | None  # None for no surfaces across seams
    measure: Measures
    scale: Scale
    at_once: int  # objects that are put together at once

    #: Most of it is compiled code that lets others work.
    uses_threads = True

    def __call__(self, tile: Tile) -> dict[str, Any]:
        """Do it; return its blocks, and the parts of the table of which it has but a share."""
        grid, lookup = self.tiles.grid, self.lookup()
        directions = surface_directions(grid.ndim)
        steps = Steps.later(grid.ndim, grid.ndim if grid.ndim in (2, 3) else 1)
        members = Members.of(self.tiles, tile, steps)
        counts = np.asarray(lookup.offsets[members.blocks + 1] - lookup.offsets[members.blocks])
        final = lookup.labels_of(members.blocks)
        mine = np.repeat(members.own, counts)
        ids = np.unique(final[mine])
        ids = ids[ids > 0]
        place = places(ids, final)
        parts, bins, measured = self._parts(members, counts[members.own], place[mine])
        parts["id"] = final[mine]
        kept = place[mine] >= 0
        parts, at = parts[kept], place[mine][kept]
        found = ObjectSums.zero(grid.ndim, ids.size, measured)
        found.add_counts(parts, at)
        found.add_moments(parts, at)
        found.bins.append(bins)
        contacts = np.zeros((ids.size, len(directions)))
        if self.measure.surface and self.evidence is not None:
            load = self.evidence
            planes = [load(int(index)).faces for index in members.blocks]
            faces = Faces.of(planes, members.high - members.low)
            ways = steps.directions(directions)
            starts = np.cumsum(counts) - counts
            count_contacts(faces, members.pairs, steps, ways, starts, place, contacts)
        found.same += contacts
        across = places(lookup.shared, ids) >= 0
        self._keep(tile, found.rows(~across), ids[~across])
        chosen = parts[across[at]]
        self.store.put("parts", tile.index, chosen[np.argsort(chosen["id"], kind="stable")])
        known = np.empty(int(across.sum()), _contact_type(grid.ndim))
        known["id"], known["same"] = ids[across], contacts[across]
        self.store.put("contacts", tile.index, known)
        self.store.put("bins", tile.index, _summed(ids, across, bins))
        shares = np.unique((ids[across] - 1) // self.at_once)
        told = {"tile": tile.index, "blocks": tile.blocks}
        return {**told, "measured": measured, "shares": shares}

    def _keep(self, tile: Tile, found: ObjectSums, ids: Int64s) -> None:
        table = self.columns(found, ids)
        names = [(name, column.dtype, column.shape[1:]) for name, column in table.columns.items()]
        rows = np.empty(len(table), names)
        for name, column in table.columns.items():
            rows[name] = column
        self.store.put("objects", tile.index, rows)

    def columns(self, found: ObjectSums, ids: Int64s) -> ObjectTable:
        """Return the table of some objects, with what their surfaces are computed from."""
        seams = self.evidence is not None
        table = columns(found, ids, self.tiles.grid, self.measure, self.scale, seams)
        table.add("same", found.same, "1")
        return table

    def _parts(
        self, members: Members, counts: Int64s, place: Int64s
    ) -> tuple[npt.NDArray[Any], tuple[Any, Any, Any], bool]:
        """Return what labels contribute, their histograms, and whether there are any."""
        blocks = members.blocks[members.own]
        parts = np.zeros(int(counts.sum()), part_type(self.tiles.grid.ndim))
        parts["block"] = np.repeat(blocks, counts)
        bins = []
        stop, measured = 0, False
        for block, number in zip(blocks.tolist(), counts.tolist(), strict=True):
            start, stop = stop, stop + number
            sums = self.sums(block)
            if sums is None:
                raise InputError(
                    "the block was not measured",
                    block=block,
                    hint="segment again, with objects",
                )
            measured = bool(sums.measured)
            _fill(parts[start:stop], sums)
            at = place[start + sums.bin_label.astype(np.int64) - 1]
            kept = at >= 0
            bins.append((at[kept], sums.bin_key[kept], sums.bin_count[kept]))
        at, key, number_of = (np.concatenate(column) for column in zip(*bins, strict=True))
        return parts, (at, key, number_of), measured


def _fill(parts: npt.NDArray[Any], sums: BlockSums) -> None:
    """Write what the labels of a block contribute."""
    parts["origin"] = sums.origin
    for name in ("count", "first", "second"):
        parts[name] = getattr(sums, name)
    parts["low"] = sums.low + sums.origin
    parts["high"] = sums.high + sums.origin
    if sums.same.shape[1]:
        parts["same"] = sums.same
    if sums.measured:
        for name in ("total", "spread", "least", "most"):
            parts[name] = getattr(sums, name)


def _contact_type(ndim: int) -> np.dtype[Any]:
    return np.dtype([("id", "i8"), ("same", "f8", len(surface_directions(ndim)))])


def _summed(ids: Int64s, across: npt.NDArray[np.bool_], bins: tuple[Any, Any, Any]) -> Any:
    """Return the histograms of some objects, each value once."""
    at, key, count = (part[across[bins[0]]] for part in bins)
    pairs, where = np.unique((at << 16) | key, return_inverse=True)
    out = np.empty(pairs.size, _BIN)
    out["id"], out["key"] = ids[pairs >> 16], pairs & 0xFFFF
    total = np.zeros(pairs.size, np.int64)
    np.add.at(total, where, count)
    out["count"] = total
    return out


def iter_objects(
    grid: Grid,
    lookup: Lookup,
    sums: Callable[[int], BlockSums | None],
    *,
    evidence: Load | None = None,
    measure: Measures | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str = "voxel",
    axes: Sequence[str] | None = None,
    at_once: int = _AT_ONCE,
    store: TileStore | None = None,
    loaded: Callable[[], Lookup] | None = None,
    run: Run = run_here,
) -> Iterator[ObjectTable]:
    """Measure objects and return them in parts, so that memory is bounded.

    Columns, for axes z, y, x:

    - ``label``; ``voxels``; ``volume`` (in 2-D ``area``, else ``extent``);
      ``blocks``, the number of blocks that it is in;
    - ``z_min`` ... and ``z_max`` ..., the bounding box in voxels, `max` being
      the index after the last voxel;
    - ``centroid_z`` ... in units;
    - ``axis1_length`` ..., full lengths of the ellipsoid that has the same
      second moments, 2 * sqrt((ndim + 2) * eigenvalue), and ``axis1_z`` ...,
      unit vectors along them whose largest component is positive;
    - ``faces_area`` (in 2-D ``faces_length``), all exposed faces of voxels,
      which overestimates smooth surfaces by half; ``surface`` (in 2-D
      ``perimeter``), by Crofton's formula in 13 (4) directions weighted by
      their share of the sphere (circle): see
      `cytovox.blockwise.surface.surface_weights`. Outside the volume is
      background;
    - ``mean_intensity``, ``sd_intensity`` (of the population),
      ``min_intensity``, ``max_intensity``, and percentiles such as
      ``p50_intensity``: the smallest value that is not exceeded by less than
      that part of the voxels (NumPy's ``inverted_cdf``), rounded to 8
      significant bits. So it is exact for integers up to 256, and within
      0.4 % otherwise. All are NaN for an object with a NaN voxel, and
      ``sd_intensity`` for one with an infinite voxel;
    - ``touches_border``, whether the object touches the end of the volume.
    """
    scale = Scale(
        np.array(voxel_size if voxel_size is not None else (1,) * grid.ndim, np.float64),
        np.array(offset if offset is not None else (0,) * grid.ndim, np.float64),
        unit,
        tuple(axes) if axes is not None else axis_names(grid.ndim),
    )
    work = MeasureTile(
        Tiles(grid, lookup.edge),
        store or TileStore(),
        loaded or (lambda: lookup),
        sums,
        evidence,
        measure or Measures(),
        scale,
        at_once,
    )
    together = _Together(work, run(work.tiles, work))
    for start in range(1, max(lookup.count, 1) + 1, at_once):
        stop = min(start + at_once, lookup.count + 1)
        low, high = np.searchsorted(lookup.shared, [start, stop])
        yield together.table(start, stop, lookup.shared[low:high])


class _Together:
    """Puts together what the tiles know of their objects."""

    def __init__(self, work: MeasureTile, told: Sequence[Mapping[str, Any]]) -> None:
        self._work = work
        self._measured = any(one["measured"] for one in told)
        #: The first and the last object that is in one tile only, of each tile.
        self._own = np.array([self._ends(tile) for tile in range(len(work.tiles))]).T
        #: Tiles that have shares of objects in several tiles, by part of the table.
        self._sharing: dict[int, list[int]] = defaultdict(list)
        for one in sorted(told, key=operator.itemgetter("tile")):
            for number in one["shares"].tolist():
                self._sharing[number].append(one["tile"])
        nothing = ObjectSums.zero(work.tiles.grid.ndim, 0, self._measured)
        self.units = work.columns(nothing, np.empty(0, np.int64)).units

    def _ends(self, tile: int) -> tuple[int, int]:
        rows = self._work.store.get("objects", tile)
        return (int(rows[0][0]), int(rows[-1][0])) if len(rows) else (1, 0)

    def table(self, start: int, stop: int, shared: Int64s) -> ObjectTable:
        """Return the objects from one to before another, of which some are in several tiles."""
        tables = [self._work.columns(self._sums(shared), shared)]
        for _, rows in self._slices("objects", start, stop):
            tables.append(ObjectTable({name: rows[name] for name in tables[0]}, self.units))
        table = join_tables(tables)
        table = table.rows(np.argsort(table["label"], kind="stable"))
        same = table.columns.pop("same")
        del table.units["same"]
        # How a product of matrices is rounded depends on the number of its rows.
        add_surface(table, same, self._work.scale)
        return table

    def _slices(self, name: str, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """Yield the rows that each tile has of some objects, which are in their order."""
        if name == "objects":
            first, last = self._own
            tiles = np.flatnonzero((first < stop) & (last >= start)).tolist()
        else:
            tiles = self._sharing.get((start - 1) // self._work.at_once, [])
        for tile in tiles:
            rows = self._work.store.get(name, tile)
            low, high = np.searchsorted(rows[rows.dtype.names[0]], [start, stop])
            if high > low:
                yield tile, np.array(rows[low:high])

    def _sums(self, ids: Int64s) -> ObjectSums:
        """Add what the tiles know of objects that are in several, in the order of the blocks."""
        found = ObjectSums.zero(self._work.tiles.grid.ndim, ids.size, self._measured)
        if not ids.size:
            return found
        start, stop = int(ids[0]), int(ids[-1]) + 1
        for add in (found.add_counts, found.add_moments):
            for parts in self._layers(start, stop):
                add(parts, np.searchsorted(ids, parts["id"]))
        for _, rows in self._slices("contacts", start, stop):
            found.same[np.searchsorted(ids, rows["id"])] += rows["same"]
        for _, rows in self._slices("bins", start, stop):
            found.bins.append((np.searchsorted(ids, rows["id"]), rows["key"], rows["count"]))
        return found

    def _layers(self, start: int, stop: int) -> Iterator[npt.NDArray[Any]]:
        """Yield what labels contribute to objects in the order of the blocks.

        Tiles that follow each other along the first axis have no blocks in
        between, so that only those beside each other are needed at once.
        """
        tiles = self._work.tiles
        beside = len(tiles) // tiles.counts[0]
        found = self._slices("parts", start, stop)
        for _, layer in itertools.groupby(found, lambda part: part[0] // beside):
            rows = np.concatenate([rows for _, rows in layer])
            yield rows[np.argsort(rows["block"], kind="stable")]
