"""Sums over the voxels of each object: those of two blocks add up to those of both.

Coordinates are summed as integers from the corner of the block, so that
nothing is rounded before the blocks come together.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .counting import count_keys
from .jit import kernel
from .lattice import Ids, Int64s, as_rows, half_offsets

__all__ = [
    "BlockSums",
    "add_counts",
    "add_moments",
    "block_sums",
    "sketch_values",
    "surface_directions",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BlockSums:
    """What a block contributes to its objects, of local labels 1 to n.

    Numbers of labels have the shape (n,); sums along axes have a second axis. Those of
    intensities have the shape (0,) if there were none.
    """

    origin: Int64s  # corner of the block in the volume
    count: Int64s  # voxels
    low: Int64s  # first and last index along each axis, from `origin`
    high: Int64s
    first: Int64s  # sums of the indices from `origin`
    second: Int64s  # sums of their products: z*z, z*y, z*x, y*y, ...
    same: Int64s  # voxels with one of the same object in each of `surface_directions`
    total: Floats  # of the intensities
    spread: Floats  # squared differences from the mean within the block
    least: Floats  # NaN if there is a NaN among the intensities
    most: Floats
    bin_label: Ids  # histogram: for this label,
    bin_key: npt.NDArray[np.uint16]  # the value that `sketch_values` gives for this key
    bin_count: Int64s  # occurs so many times
    measured: npt.NDArray[np.bool_]  # whether there were intensities, of shape ()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all parts by name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


def surface_directions(ndim: int) -> Int64s:
    """Return the directions in which neighbours are compared, int64 of shape (k, ndim).

    All directions to a neighbour in two and three dimensions (4 and 13), the
    axes otherwise.
    """
    return half_offsets(ndim, ndim if ndim in (2, 3) else 1)


def block_sums(
    labels: Ids,
    n: int,
    intensity: npt.NDArray[Any] | None = None,
    origin: tuple[int, ...] | None = None,
    *,
    histogram: bool = True,
    surface: bool = True,
) -> BlockSums:
    """Sum up the voxels of each label (0 for background, to n) of a block.

    `intensity` is of the same shape and of any real type; it is computed with as
    float32 or float64, whichever holds its values. `origin` is the corner of the
    block in the volume. Histograms, for percentiles, and comparisons of
    neighbours, for surfaces, can be left out.

    Examples
    --------
    >>> import numpy as np
    >>> sums = block_sums(np.array([[1, 1], [0, 2]], np.uint32), 2, np.array([[5., 7], [0, 1]]))
    >>> sums.count.tolist(), sums.first.tolist(), sums.total.tolist(), sums.spread.tolist()
    ([2, 1], [[0, 1], [1, 1]], [12.0, 1.0], [2.0, 0.0])
    """
    ndim = labels.ndim
    rows, lead = as_rows(np.asarray(labels, np.uint32))
    directions = surface_directions(ndim) if surface else np.empty((0, ndim), np.int64)
    pairs = np.array([(i, j) for i in range(ndim) for j in range(i, ndim)], np.int64)
    count = np.zeros(n, np.int64)
    low = np.full((n, ndim), np.iinfo(np.int64).max, np.int64)
    high = np.full((n, ndim), -1, np.int64)
    first = np.zeros((n, ndim), np.int64)
    second = np.zeros((n, len(pairs)), np.int64)
    same = np.zeros((n, len(directions)), np.int64)
    if rows.size:
        _shape_sums(rows, lead, pairs, directions, count, low, high, first, second, same)
    corner = np.zeros(ndim, np.int64) if origin is None else np.array(origin, np.int64)
    shape = (corner, count, low, high, first, second, same)
    return BlockSums(*shape, *_intensities(rows, n, intensity, histogram))


def _intensities(
    rows: Ids, n: int, intensity: npt.NDArray[Any] | None, histogram: bool
) -> tuple[Any, ...]:
    empty = (np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.int64))
    yes, no = np.array(True), np.array(False)
    if intensity is None:
        return (*(np.empty(0, np.float64) for _ in range(4)), *empty, no)
    dtype = np.float32 if np.can_cast(intensity.dtype, np.float32) else np.float64
    image = np.ascontiguousarray(intensity, dtype).reshape(rows.shape)
    total, spread = np.zeros(n), np.zeros(n)
    least, most = np.full(n, np.inf), np.full(n, -np.inf)
    _intensity_sums(rows.ravel(), image.ravel(), total, spread, least, most)
    if not histogram:
        return total, spread, least, most, *empty, yes
    with np.errstate(over="ignore", invalid="ignore"):
        bits = image.astype(np.float32, copy=False).view(np.uint32)
    inside, keys = _sketch_keys(rows.ravel(), bits.ravel())
    pairs, counts = count_keys(inside, keys, 16)
    label = (pairs >> np.uint64(16)).astype(np.uint32)
    key = (pairs & np.uint64(0xFFFF)).astype(np.uint16)
    return total, spread, least, most, label, key, counts, yes


def sketch_values(keys: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """Return the intensities (float64) that the keys of a histogram stand for.

    A value is rounded to 8 significant bits (as the type bfloat16 does), and
    keys are in the order of values. So integers up to 256 are kept exactly,
    and others change by at most 1/256 of themselves (0.4 %).

    Examples
    --------
    >>> import numpy as np
    >>> sums = block_sums(np.ones(3, np.uint32), 1, np.array([200, 256, 1001]))
    >>> sketch_values(sums.bin_key).tolist()
    [200.0, 256.0, 1000.0]
    """
    bits = np.asarray(keys, np.uint32)
    bits = np.where(bits & 0x8000, bits ^ 0x8000, bits ^ 0xFFFF).astype(np.uint32)
    return (bits << np.uint32(16)).view(np.float32).astype(np.float64)


@kernel()
def _sketch_keys(labels: Ids, bits: Ids) -> tuple[Ids, Ids]:
    """Round to the 16 upper bits (half to even) and put keys in the order of values."""
    inside = np.empty(labels.size, np.uint32)
    keys = np.empty(labels.size, np.uint32)
    n = 0
    for i in range(labels.size):
        b = np.int64(bits[i])
        if labels[i] == 0 or (b & 0x7FFFFFFF) > 0x7F800000:  # background, NaN
            continue
        key = (b + 0x7FFF + ((b >> 16) & 1)) >> 16
        keys[n] = key ^ 0xFFFF if key & 0x8000 else key | 0x8000
        inside[n] = labels[i]
        n += 1
    return inside[:n], keys[:n]


@kernel()
def _intensity_sums(
    labels: Ids,
    image: npt.NDArray[Any],
    total: Floats,
    spread: Floats,
    least: Floats,
    most: Floats,
) -> None:
    count = np.zeros(total.size, np.int64)
    bad = np.zeros(total.size, np.bool_)
    for i in range(labels.size):
        if labels[i] != 0:
            k = labels[i] - 1
            value = np.float64(image[i])
            count[k] += 1
            total[k] += value
            bad[k] |= value != value
            if value < least[k]:
                least[k] = value
            if value > most[k]:
                most[k] = value
    for i in range(labels.size):
        if labels[i] != 0:
            k = labels[i] - 1
            difference = np.float64(image[i]) - total[k] / count[k]
            spread[k] += difference * difference
    for k in range(total.size):
        if bad[k]:
            least[k] = np.nan
            most[k] = np.nan


@kernel()
def _shape_sums(
    rows: Ids,
    lead: Int64s,
    pairs: Int64s,
    directions: Int64s,
    count: Int64s,
    low: Int64s,
    high: Int64s,
    first: Int64s,
    second: Int64s,
    same: Int64s,
) -> None:
    height, width = rows.shape
    nlead = lead.size
    place = np.zeros(nlead, np.int64)
    other = np.empty(directions.shape[0], np.int64)
    for y in range(height):
        rest = y
        for axis in range(nlead - 1, -1, -1):
            place[axis] = rest % lead[axis]
            rest //= lead[axis]
        _neighbour_rows(place, lead, directions, other)
        x = 0
        while x < width:
            label = rows[y, x]
            start = x
            x += 1
            while x < width and rows[y, x] == label:
                x += 1
            if label == 0:
                continue
            k = np.int64(label) - 1
            length = x - start
            # The sums of the indices from start to x - 1, and of their squares.
            sum1 = (start + x - 1) * length // 2
            sum2 = (x - 1) * x * (2 * x - 1) // 6 - (start - 1) * start * (2 * start - 1) // 6
            count[k] += length
            for axis in range(nlead):
                low[k, axis] = min(low[k, axis], place[axis])
                high[k, axis] = max(high[k, axis], place[axis])
                first[k, axis] += place[axis] * length
            low[k, nlead] = min(low[k, nlead], start)
            high[k, nlead] = max(high[k, nlead], x - 1)
            first[k, nlead] += sum1
            for p in range(pairs.shape[0]):
                a, b = pairs[p, 0], pairs[p, 1]
                if a == nlead:
                    second[k, p] += sum2
                elif b == nlead:
                    second[k, p] += place[a] * sum1
                else:
                    second[k, p] += place[a] * place[b] * length
            for d in range(directions.shape[0]):
                dx = directions[d, nlead]
                if other[d] >= 0:
                    low_x, high_x = max(start + dx, 0), min(x + dx, width)
                    same[k, d] += _count_equal(rows[other[d]], low_x, high_x, label)


@kernel()
def _neighbour_rows(place: Int64s, lead: Int64s, directions: Int64s, other: Int64s) -> None:
    """Write which row a direction leads to from that at a place, -1 if to none."""
    for d in range(directions.shape[0]):
        row, is_inside = np.int64(0), True
        for axis in range(lead.size):
            at = place[axis] + directions[d, axis]
            is_inside &= 0 <= at < lead[axis]
            row = row * lead[axis] + at
        other[d] = row if is_inside else np.int64(-1)


@kernel()
def _count_equal(row: Ids, start: int, stop: int, label: np.uint32) -> np.int64:
    n = np.int64(0)
    for at in range(start, stop):
        n += row[at] == label
    return n


@kernel()
def add_counts(
    at: Int64s,
    parts: tuple[npt.NDArray[Any], ...],
    count: Int64s,
    blocks: Int64s,
    low: Int64s,
    high: Int64s,
    total: Floats,
    least: Floats,
    most: Floats,
) -> None:
    """Add what needs no reference of labels, in the order of their blocks, to objects.

    `at` is the object of each label; `parts` are its block, voxels, first and
    last index, total, least and largest intensity. The others are of the objects.
    """
    block, number, lower, upper, sums, smallest, largest = parts
    last = np.full(count.size, -1, np.int64)
    for i in range(at.size):
        k = at[i]
        count[k] += number[i]
        if last[k] != block[i]:
            last[k] = block[i]
            blocks[k] += 1
        for axis in range(low.shape[1]):
            low[k, axis] = min(low[k, axis], lower[i, axis])
            high[k, axis] = max(high[k, axis], upper[i, axis])
        total[k] += sums[i]
        # NaN is passed on.
        if not (least[k] < smallest[i] or least[k] != least[k]):
            least[k] = smallest[i]
        if not (most[k] > largest[i] or most[k] != most[k]):
            most[k] = largest[i]


@kernel(division="numpy")
def add_moments(
    at: Int64s,
    parts: tuple[npt.NDArray[Any], ...],
    count: Int64s,
    low: Int64s,
    total: Floats,
    first: Floats,
    second: Floats,
    same: Floats,
    spread: Floats,
) -> None:
    """Add what is relative to the corner or the mean of an object.

    `parts` are voxels, origin, first and second moments from it, neighbours of
    the same label, total intensity and its spread.
    """
    number, origin, part_first, part_second, part_same, part_total, part_spread = parts
    ndim = low.shape[1]
    shift = np.zeros(ndim, np.float64)
    for i in range(at.size):
        k = at[i]
        n = np.float64(number[i])
        for axis in range(ndim):
            shift[axis] = np.float64(origin[i, axis] - low[k, axis])
            first[k, axis] += np.float64(part_first[i, axis]) + n * shift[axis]
        p = 0
        for a in range(ndim):
            for b in range(a, ndim):
                one = np.float64(part_first[i, a])
                two = np.float64(part_first[i, b])
                moved = shift[a] * two + shift[b] * one
                second[k, p] += np.float64(part_second[i, p]) + moved + n * shift[a] * shift[b]
                p += 1
        for d in range(same.shape[1]):
            same[k, d] += part_same[i, d]
        apart = part_total[i] / n - total[k] / np.float64(count[k])
        spread[k] += part_spread[i] + n * apart * apart
