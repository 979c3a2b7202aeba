"""Columns of the table of objects, from sums over their voxels.

Sums of an object are added in the order of its blocks, from a corner of the
object itself, so that the numbers depend neither on the blocks' order of
arrival nor, but for rounding, on where the blocks were.
"""

from __future__ import annotations

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
        add_counts(
            at, parts["block"], parts["count"], parts["low"], parts["high"],
            self.count, self.blocks, self.low, self.high,
        )  # fmt: skip
        if self.measured:
            with np.errstate(invalid="ignore"):  # these pass NaN on
                np.add.at(self.total, at, parts["total"])
                np.minimum.at(self.least, at, parts["least"])
                np.maximum.at(self.most, at, parts["most"])

    def add_moments(self, parts: npt.NDArray[Any], at: Int64s) -> None:
        """Add what is relative to the corner or the mean of an object."""
        add_moments(
            at, parts["count"], parts["origin"], parts["first"], parts["second"],
            self.low, self.first, self.second,
        )  # fmt: skip
        np.add.at(self.same, at, parts["same"])
        if self.measured:
            n = parts["count"].astype(np.float64)
            with np.errstate(invalid="ignore"):  # infinity leaves a spread of NaN
                apart = parts["total"] / n - self.total[at] / self.count[at]
                np.add.at(self.spread, at, parts["spread"] + n * apart * apart)

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
        add_surface(table, merged.count, merged.same, scale)
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


def add_surface(table: ObjectTable, count: Int64s, same: Floats, scale: Scale) -> None:
    """Add the columns of surfaces, or replace them."""
    ndim = len(scale.axes)
    # Each voxel has two neighbours in a direction; those of another object
    # are where a line in this direction enters or leaves.
    crossings = 2 * (count[:, None] - same)
    unit = f"{scale.unit}^{ndim - 1}" if ndim != 2 else scale.unit
    name = "faces_length" if ndim == 2 else "faces_area"
    directions = surface_directions(ndim)
    table.add(name, crossings @ faces_area(directions, scale.voxel_size), unit)
    if ndim in (2, 3):
        weights = surface_weights(directions, scale.voxel_size)
        table.add("perimeter" if ndim == 2 else "surface", crossings @ weights, unit)


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
        table.add(f"p{percent:02g}_intensity", found, "intensity")
