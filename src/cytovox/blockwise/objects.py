"""Columns of the table of objects, from sums over their voxels.

Sums of an object are added in the order of its blocks, from a corner of the
object itself, so that the numbers depend neither on the blocks' order of
arrival nor, but for rounding, on where the blocks were.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.block_sums import add_counts, add_moments, sketch_values, surface_directions
from ..kernels.lattice import Int64s
from .evidence import Measures
from .grid import Grid
from .object_table import ObjectTable, axis_names
from .surface import faces_area, surface_weights

__all__ = [
    "ObjectSums",
    "Scale",
    "add_surface",
    "axis_pairs",
    "columns",
    "no_objects",
    "part_type",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """What voxels are in units: their size, where the first one is, the unit, and the axes."""

    voxel_size: Floats
    offset: Floats
    unit: str
    axes: tuple[str, ...]


def axis_pairs(ndim: int) -> list[tuple[int, int]]:
    """Return the pairs of axes in the order of the sums of products."""
    return [(i, j) for i in range(ndim) for j in range(i, ndim)]


@dataclass(slots=True, eq=False)
class ObjectSums:
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
    def zero(cls, ndim: int, n: int, measured: bool) -> ObjectSums:
        """Return those of n objects without a voxel."""
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

    def add_counts(self, parts: npt.NDArray[Any], at: Int64s) -> None:
        """Add what needs no reference, of labels in the order of their blocks; see `part_type`."""
        names = ("block", "count", "low", "high", "total", "least", "most")
        given = tuple(parts[name] for name in names)
        add_counts(
            at, given, self.count, self.blocks, self.low, self.high,
            self.total, self.least, self.most,
        )  # fmt: skip

    def add_moments(self, parts: npt.NDArray[Any], at: Int64s) -> None:
        """Add what is relative to the corner or the mean of an object."""
        names = ("count", "origin", "first", "second", "same", "total", "spread")
        given = tuple(parts[name] for name in names)
        add_moments(
            at, given, self.count, self.low, self.total,
            self.first, self.second, self.same, self.spread,
        )  # fmt: skip

    def rows(self, chosen: npt.NDArray[np.bool_]) -> ObjectSums:
        """Return those of some objects."""
        place = np.where(chosen, np.cumsum(chosen) - 1, -1)
        bins = []
        for at, key, count in self.bins:
            kept = chosen[at]
            bins.append((place[at[kept]], key[kept], count[kept]))
        arrays: dict[str, Any] = {
            part.name: getattr(self, part.name)[chosen] for part in fields(self)[:-2]
        }
        return replace(self, **arrays, bins=bins)


def part_type(ndim: int) -> np.dtype[Any]:
    """Return the type of what one label of one block contributes to its object."""
    directions = len(surface_directions(ndim))
    vectors = [(name, "i8", ndim) for name in ("origin", "low", "high", "first")]
    numbers = [(name, "f8") for name in ("total", "spread", "least", "most")]
    return np.dtype(
        [
            ("id", "i8"),
            ("block", "i8"),
            ("count", "i8"),
            *vectors,
            ("second", "i8", ndim * (ndim + 1) // 2),
            ("same", "i8", directions),
            *numbers,
        ]
    )


def no_objects(ndim: int, measured: bool, measure: Measures) -> ObjectTable:
    """Return the table of no objects, e.g. to see which columns a run will give."""
    one = (1,) * ndim
    scale = Scale(np.ones(ndim), np.zeros(ndim), "voxel", axis_names(ndim))
    merged = ObjectSums.zero(ndim, 0, measured)
    return columns(
        merged, np.empty(0, np.int64), Grid(one, one, (0,) * ndim), measure, scale, True
    )


def columns(
    merged: ObjectSums,
    labels: Int64s,
    grid: Grid,
    measure: Measures,
    scale: Scale,
    seams: bool,
) -> ObjectTable:
    """Turn sums into what people want to know."""
    ndim, n = grid.ndim, merged.count.astype(np.float64)
    size_name = {2: "area", 3: "volume"}.get(ndim, "extent")
    table = ObjectTable()
    table.add("label", labels.astype(np.uint64), "1")
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
        for name in surface_names(ndim):
            table.add(name, np.zeros(n.size), "")  # see `add_surface`
    if merged.measured:
        _add_intensities(table, merged, measure)
    ends = np.array(grid.shape) - 1
    border = ((merged.low == 0) | (merged.high == ends)).any(axis=1)
    table.add("touches_border", border, "1")
    return table


def _add_axes(table: ObjectTable, merged: ObjectSums, mean: Floats, scale: Scale) -> None:
    n, ndim = mean.shape
    covariance = np.empty((n, ndim, ndim))
    size = scale.voxel_size
    for p, (i, j) in enumerate(axis_pairs(ndim)):
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


def surface_names(ndim: int) -> tuple[str, ...]:
    """Return the names of the columns of surfaces."""
    return {2: ("faces_length", "perimeter"), 3: ("faces_area", "surface")}.get(
        ndim, ("faces_area",)
    )


def add_surface(table: ObjectTable, same: Floats, scale: Scale) -> None:
    """Fill in the columns of surfaces, if there are any, from neighbours of the same object."""
    ndim = len(scale.axes)
    names = surface_names(ndim)
    if names[0] not in table.columns:
        return
    # Each voxel has two neighbours in a direction; those of another object
    # are where a line in this direction enters or leaves.
    crossings = 2 * (table["voxels"][:, None] - same)
    unit = f"{scale.unit}^{ndim - 1}" if ndim != 2 else scale.unit
    for name, weights in zip(names, _weights(ndim, tuple(scale.voxel_size.tolist())), strict=True):
        table.add(name, crossings @ weights, unit)


@functools.lru_cache(maxsize=1)
def _weights(ndim: int, voxel_size: tuple[float, ...]) -> tuple[Floats, ...]:
    directions, size = surface_directions(ndim), np.array(voxel_size)
    faces = faces_area(directions, size)
    return (faces, surface_weights(directions, size)) if ndim in (2, 3) else (faces,)


def _add_intensities(table: ObjectTable, merged: ObjectSums, measure: Measures) -> None:
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
    # Those of a block are in this order already, which a stable sort makes use of.
    order = np.argsort((at << 16) | key, kind="stable")
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
        found = np.clip(found, merged.least, merged.most)  # each is a bin's, of half a percent
        table.add(f"p{percent:02g}_intensity", found, "intensity")
