"""The table of objects: the sums of all blocks, put together by the same lookup.

Sums of an object are added in the order of its blocks, from a corner of the
object itself, so that the numbers depend neither on the blocks' order of
arrival nor, but for rounding, on where the blocks were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels.block_sums import BlockSums, sketch_values, surface_directions
from ..kernels.faces import count_contacts
from ..kernels.lattice import Int64s
from .evidence import Evidence, Measures
from .grid import Grid
from .lookup import Lookup
from .object_table import ObjectTable, axis_names, join_tables
from .surface import faces_area, surface_weights

__all__ = ["iter_objects", "no_objects", "objects_table"]

#: Objects that are put together at once; 1 to 2 kB of memory each.
#: Objects in one part: their histograms may take 20 kB each.
_AT_ONCE = 20_000

Floats = npt.NDArray[np.float64]


def objects_table(
    grid: Grid,
    lookup: Lookup,
    sums: Callable[[int], BlockSums | None],
    *,
    evidence: Callable[[int], Evidence] | None = None,
    measure: Measures | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str = "voxel",
    axes: Sequence[str] | None = None,
) -> ObjectTable:
    """Measure all objects, in the order of their labels.

    The columns are described in `iter_objects`.
    """
    parts = list(
        iter_objects(
            grid,
            lookup,
            sums,
            evidence=evidence,
            measure=measure,
            voxel_size=voxel_size,
            offset=offset,
            unit=unit,
            axes=axes,
        )
    )
    return join_tables(parts)


def iter_objects(
    grid: Grid,
    lookup: Lookup,
    sums: Callable[[int], BlockSums | None],
    *,
    evidence: Callable[[int], Evidence] | None = None,
    measure: Measures | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str = "voxel",
    axes: Sequence[str] | None = None,
    at_once: int = _AT_ONCE,
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
    scale = _Scale(
        np.array(voxel_size if voxel_size is not None else (1,) * grid.ndim, np.float64),
        np.array(offset if offset is not None else (0,) * grid.ndim, np.float64),
        unit,
        tuple(axes) if axes is not None else axis_names(grid.ndim),
    )
    what = measure or Measures()
    # Whether there were intensities is the same for all blocks.
    measured = len(grid) > 0 and bool(_load(sums, 0).measured)
    reach = [_reach(lookup, index) for index in range(len(grid))]
    for start in range(1, max(lookup.count, 1) + 1, at_once):
        stop = min(start + at_once, lookup.count + 1)
        chosen = [
            i
            for i, (low, high) in enumerate(reach)
            if low < stop and high >= start and (_local(lookup, i, start, stop) >= 0).any()
        ]
        merged = _Merged.zero(grid.ndim, stop - start, measured)
        for index in chosen:
            merged.add_counts(_load(sums, index), _local(lookup, index, start, stop))
        for index in chosen:
            merged.add_moments(_load(sums, index), _local(lookup, index, start, stop))
        if what.surface and evidence is not None:
            for index in chosen:
                merged.add_contacts(index, grid, lookup, evidence, start, stop)
        yield _columns(merged, start, grid, what, scale, evidence is not None)


def no_objects(ndim: int, measured: bool, measure: Measures) -> ObjectTable:
    """Return the table of no objects, e.g. to see which columns a run will give."""
    one = (1,) * ndim
    scale = _Scale(np.ones(ndim), np.zeros(ndim), "voxel", axis_names(ndim))
    merged = _Merged.zero(ndim, 0, measured)
    return _columns(merged, 1, Grid(one, one, (0,) * ndim), measure, scale, True)


@dataclass(frozen=True, slots=True)
class _Scale:
    voxel_size: Floats
    offset: Floats
    unit: str
    axes: tuple[str, ...]


def _pairs(ndim: int) -> list[tuple[int, int]]:
    """Return the pairs of axes in the order of the sums of products."""
    return [(i, j) for i in range(ndim) for j in range(i, ndim)]


def _reach(lookup: Lookup, index: int) -> tuple[int, int]:
    """Return the smallest and largest object of a block; (1, 0) if there is none."""
    part = lookup.slice(index)
    part = part[part > 0]
    return (int(part.min()), int(part.max())) if part.size else (1, 0)


def _local(lookup: Lookup, index: int, start: int, stop: int) -> Int64s:
    """Return the place among the chosen objects of each label 1 to n; -1 if it is another."""
    final = lookup.slice(index)[1:].astype(np.int64)
    return np.where((final >= start) & (final < stop), final - start, -1)


def _load(sums: Callable[[int], BlockSums | None], index: int) -> BlockSums:
    found = sums(index)
    if found is None:
        raise InputError(
            "the block was not measured", block=index, hint="segment again, with objects"
        )
    return found


@dataclass(slots=True, eq=False)
class _Merged:
    """Sums over objects, coordinates counted from the corner of each object."""

    count: Int64s
    blocks: Int64s
    low: Int64s
    high: Int64s
    first: Floats
    second: Floats
    same: Floats
    total: Floats
    spread: Floats
    least: Floats
    most: Floats
    bins: list[tuple[Int64s, npt.NDArray[np.uint16], Int64s]]
    measured: bool

    @classmethod
    def zero(cls, ndim: int, n: int, measured: bool) -> _Merged:
        return cls(
            count=np.zeros(n, np.int64),
            blocks=np.zeros(n, np.int64),
            low=np.full((n, ndim), np.iinfo(np.int64).max),
            high=np.full((n, ndim), -1, np.int64),
            first=np.zeros((n, ndim)),
            second=np.zeros((n, ndim * (ndim + 1) // 2)),
            same=np.zeros((n, len(surface_directions(ndim)))),
            total=np.zeros(n),
            spread=np.zeros(n),
            least=np.full(n, np.inf),
            most=np.full(n, -np.inf),
            bins=[],
            measured=measured,
        )

    def add_counts(self, sums: BlockSums, place: Int64s) -> None:
        """Add what needs no reference."""
        here = place >= 0
        at = place[here]
        np.add.at(self.count, at, sums.count[here])
        self.blocks[np.unique(at)] += 1
        np.minimum.at(self.low, at, sums.low[here] + sums.origin)
        np.maximum.at(self.high, at, sums.high[here] + sums.origin)
        if sums.measured:
            with np.errstate(invalid="ignore"):  # these pass NaN on
                np.add.at(self.total, at, sums.total[here])
                np.minimum.at(self.least, at, sums.least[here])
                np.maximum.at(self.most, at, sums.most[here])

    def add_moments(self, sums: BlockSums, place: Int64s) -> None:
        """Add what is relative to the corner or the mean of an object."""
        here = place >= 0
        at = place[here]
        n = sums.count[here].astype(np.float64)
        first = sums.first[here].astype(np.float64)
        shift = (sums.origin - self.low[at]).astype(np.float64)
        np.add.at(self.first, at, first + n[:, None] * shift)
        second = sums.second[here].astype(np.float64)
        ndim = shift.shape[1]
        for p, (i, j) in enumerate(_pairs(ndim)):
            moved = shift[:, i] * first[:, j] + shift[:, j] * first[:, i]
            np.add.at(self.second[:, p], at, second[:, p] + moved + n * shift[:, i] * shift[:, j])
        if sums.same.shape[1] == self.same.shape[1]:
            np.add.at(self.same, at, sums.same[here])
        if sums.measured:
            with np.errstate(invalid="ignore"):  # infinity leaves a spread of NaN
                apart = sums.total[here] / n - self.total[at] / self.count[at]
                np.add.at(self.spread, at, sums.spread[here] + n * apart * apart)
        bins = place[sums.bin_label.astype(np.int64) - 1]
        kept = bins >= 0
        self.bins.append((bins[kept], sums.bin_key[kept], sums.bin_count[kept]))

    def add_contacts(
        self,
        index: int,
        grid: Grid,
        lookup: Lookup,
        evidence: Callable[[int], Evidence],
        start: int,
        stop: int,
    ) -> None:
        """Add neighbours of the same object that are on either side of a seam."""
        directions = surface_directions(grid.ndim)
        mine = evidence(index)
        lut = lookup.slice(index)
        for step, other in grid.neighbours(grid[index].position):
            axes = [i for i, at in enumerate(step) if at == 0]
            crossing = [
                d
                for d, direction in enumerate(directions)
                if all(direction[i] == at for i, at in enumerate(step) if at)
            ]
            if not crossing:
                continue
            final = lut[mine.facing(step)]
            facing = evidence(other.index).facing(tuple(-at for at in step))
            there = lookup.slice(other.index)[facing]
            wanted = ((final >= start) & (final < stop)).ravel()
            if not wanted.any():
                continue
            offsets = directions[crossing][:, axes]
            found = count_contacts(final, there, offsets)
            at = final.ravel()[wanted].astype(np.int64) - start
            for d, hits in zip(crossing, found, strict=True):
                self.same[:, d] += np.bincount(at, hits[wanted], len(self.count))


def _columns(
    merged: _Merged, start: int, grid: Grid, measure: Measures, scale: _Scale, seams: bool
) -> ObjectTable:
    """Turn sums into what people want to know."""
    ndim, n = grid.ndim, merged.count.astype(np.float64)
    size_name = {2: "area", 3: "volume"}.get(ndim, "extent")
    table = ObjectTable()
    table.add("label", np.arange(start, start + n.size, dtype=np.uint64), "1")
    table.add("voxels", merged.count, "voxel")
    table.add(size_name, n * scale.voxel_size.prod(), f"{scale.unit}^{ndim}")
    table.add("blocks", merged.blocks, "1")
    for i, axis in enumerate(scale.axes):
        table.add(f"{axis}_min", merged.low[:, i], "voxel")
    for i, axis in enumerate(scale.axes):
        table.add(f"{axis}_max", merged.high[:, i] + 1, "voxel")
    mean = merged.first / n[:, None]
    centroid = (merged.low + mean) * scale.voxel_size + scale.offset
    for i, axis in enumerate(scale.axes):
        table.add(f"centroid_{axis}", centroid[:, i], scale.unit)
    _add_axes(table, merged, mean, scale)
    if measure.surface and seams:
        _add_surface(table, merged, scale)
    if merged.measured:
        _add_intensities(table, merged, measure)
    ends = np.array(grid.shape) - 1
    border = ((merged.low == 0) | (merged.high == ends)).any(axis=1)
    table.add("touches_border", border, "1")
    return table


def _add_axes(table: ObjectTable, merged: _Merged, mean: Floats, scale: _Scale) -> None:
    n, ndim = mean.shape
    covariance = np.empty((n, ndim, ndim))
    size = scale.voxel_size
    for p, (i, j) in enumerate(_pairs(ndim)):
        value = merged.second[:, p] / merged.count - mean[:, i] * mean[:, j]
        covariance[:, i, j] = covariance[:, j, i] = value * size[i] * size[j]
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[:, ::-1], vectors[:, :, ::-1]
    lengths = 2 * np.sqrt((ndim + 2) * np.maximum(values, 0))
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.sign(np.take_along_axis(vectors, largest[:, None, :], axis=1))
    vectors = vectors * signs
    for k in range(ndim):
        table.add(f"axis{k + 1}_length", lengths[:, k], scale.unit)
    for k in range(ndim):
        for i, axis in enumerate(scale.axes):
            table.add(f"axis{k + 1}_{axis}", vectors[:, i, k], "1")


def _add_surface(table: ObjectTable, merged: _Merged, scale: _Scale) -> None:
    ndim = len(scale.axes)
    # Each voxel has two neighbours in a direction; those of another object
    # are where a line in this direction enters or leaves.
    crossings = 2 * (merged.count[:, None] - merged.same)
    unit = f"{scale.unit}^{ndim - 1}" if ndim != 2 else scale.unit
    name = "faces_length" if ndim == 2 else "faces_area"
    directions = surface_directions(ndim)
    table.add(name, crossings @ faces_area(directions, scale.voxel_size), unit)
    if ndim in (2, 3):
        weights = surface_weights(directions, scale.voxel_size)
        table.add("perimeter" if ndim == 2 else "surface", crossings @ weights, unit)


def _add_intensities(table: ObjectTable, merged: _Merged, measure: Measures) -> None:
    mean = merged.total / merged.count
    table.add("mean_intensity", mean, "intensity")
    table.add("sd_intensity", np.sqrt(merged.spread / merged.count), "intensity")
    table.add("min_intensity", merged.least, "intensity")
    table.add("max_intensity", merged.most, "intensity")
    if not measure.percentiles:
        return
    nothing = (np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.int64))
    bins = zip(nothing, *merged.bins, strict=True)
    at, key, count = (np.concatenate(part) for part in bins)
    order = np.lexsort((key, at))
    at, values, reached = at[order], sketch_values(key[order]), np.cumsum(count[order])
    objects = np.arange(merged.count.size)
    first = np.searchsorted(at, objects)
    last = np.searchsorted(at, objects, side="right")
    before = np.where(first > 0, reached[np.maximum(first, 1) - 1], 0) if at.size else first
    known = (last > first) & ~np.isnan(mean)
    for percent in measure.percentiles:
        found = np.full(objects.size, np.nan)
        if at.size:
            total = reached[np.maximum(last, 1) - 1] - before
            rank = np.maximum(np.ceil(total * (percent / 100)), 1)
            found[known] = values[np.searchsorted(reached, (before + rank)[known])]
        table.add(f"p{percent:02g}_intensity", found, "intensity")
