"""Seams of many blocks at once: what touches, what overlaps, what belongs together.

Faces and contexts of the blocks stand one after the other in flat arrays, so
that one call serves thousands of blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .hash_table import double, find, order
from .jit import kernel
from .lattice import Ids, Int64s, crossing_offsets
from .packed import Packed
from .union_find import join_one

__all__ = ["Faces", "Shells", "Steps", "count_contacts", "count_votes", "join_touching"]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Directions to neighbours, and the offsets that lead across in each of them.

    Parameters
    ----------
    step
        -1, 0 or 1 along each axis, int64 of shape (steps, ndim).
    first
        Where the offsets of each step begin, int64 of shape (steps + 1,).
    offset
        Offsets along all axes, 0 along those of the step, int64 of shape (n, ndim).
    """

    step: Int64s
    first: Int64s
    offset: Int64s

    @classmethod
    def later(cls, ndim: int, rank: int) -> Steps:
        """Return the steps to neighbours that come later in C order."""
        zero = (0,) * ndim
        steps = [step for step in itertools.product((-1, 0, 1), repeat=ndim) if step > zero]
        offsets = []
        for step in steps:
            inside = crossing_offsets(step, rank)
            wide = np.zeros((len(inside), ndim), np.int64)
            wide[:, [axis for axis, at in enumerate(step) if at == 0]] = inside
            offsets.append(wide)
        first = np.cumsum([0, *map(len, offsets)])
        return cls(np.array(steps, np.int64), first, np.concatenate(offsets))

    def directions(self, known: Int64s) -> Int64s:
        """Return which of half of all directions each offset is part of, or its opposite."""
        numbers = {tuple(one): n for n, one in enumerate(known.tolist())}
        steps = np.repeat(self.step, np.diff(self.first), axis=0)
        found = [
            numbers.get(tuple(way), numbers.get(tuple(-at for at in way), -1))
            for way in (steps + self.offset).tolist()
        ]
        return np.array(found, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """First and last plane of many blocks along each axis.

    Parameters
    ----------
    voxels
        Labels of all planes one after the other, uint32.
    at
        Where each plane begins, -1 if there is none, int64 of shape (blocks, ndim, 2).
    extents
        Shapes of the blocks, int64 of shape (blocks, ndim).
    """

    voxels: Ids
    at: Int64s
    extents: Int64s

    @classmethod
    def of(cls, faces: Sequence[Sequence[Sequence[Ids | None]]], extents: npt.ArrayLike) -> Faces:
        """Put the planes of blocks one after the other."""
        ndim = len(faces[0]) if faces else 0
        at = np.full((len(faces), ndim, 2), -1, np.int64)
        planes = []
        size = 0
        for block, pairs in enumerate(faces):
            for axis, pair in enumerate(pairs):
                for side, plane in enumerate(pair):
                    if plane is not None:
                        at[block, axis, side] = size
                        size += plane.size
                        planes.append(plane.reshape(-1))
        voxels = np.concatenate(planes) if planes else np.empty(0, np.uint32)
        return cls(voxels, at, np.array(extents, np.int64).reshape(len(faces), ndim))


@dataclass(frozen=True, slots=True, eq=False)
class Shells:
    """What many blocks have seen in their contexts, as runs; see `packed.Packed`.

    Parameters
    ----------
    box
        What each block has seen, int64 of shape (blocks, ndim, 2).
    first_at, run_at
        Where the rows and the runs of each block begin, int64 of shape (blocks,).
    first, begin, value
        Those of all blocks, one after the other.
    """

    box: Int64s
    first_at: Int64s
    run_at: Int64s
    first: Int64s
    begin: npt.NDArray[np.int32]
    value: Ids

    @classmethod
    def of(cls, shells: Sequence[Packed], boxes: Sequence[Any]) -> Shells:
        """Put the shells of blocks one after the other."""
        empty = Packed((0,), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint32))
        every = [empty, *shells]
        return cls(
            np.array(boxes, np.int64),
            np.cumsum([shell.first.size for shell in every[:-1]]),
            np.cumsum([shell.value.size for shell in every[:-1]]),
            np.concatenate([shell.first for shell in every]),
            np.concatenate([shell.begin for shell in every]),
            np.concatenate([shell.value for shell in every]),
        )


def join_touching(
    faces: Faces, pairs: Int64s, steps: Steps, own: Int64s, nodes: Int64s, parent: Int64s
) -> Int64s:
    """Join labels that touch across the border of two blocks.

    Parameters
    ----------
    faces
        Those of the blocks.
    pairs
        Two blocks and the step that leads from one to the other, int64 of shape (m, 3).
    steps
        The steps.
    own
        Number of the first label of each block in `parent`, -1 if it is not there.
    nodes
        Its number anywhere.
    parent
        Forest of the labels of some blocks, changed in place.

    Returns
    -------
    numpy.ndarray
        Labels in `parent` and those elsewhere that touch them, by `nodes`, some
        of them repeatedly; int64 of shape (k, 2).
    """
    found = _join_touching(
        faces.voxels, faces.at, faces.extents, pairs, steps.step, steps.first, steps.offset,
        own, nodes, parent,
    )  # fmt: skip
    return np.asarray(found, np.int64)


def count_contacts(
    faces: Faces,
    pairs: Int64s,
    steps: Steps,
    directions: Int64s,
    starts: Int64s,
    final: Int64s,
    same: npt.NDArray[np.float64],
) -> None:
    """Count neighbours of one object on either side of a seam.

    `final` is the number of the object of each label of each block, -1 for none,
    those of a block from `starts` on. `same`, of shape (objects, directions), is
    added to.
    """
    _count_contacts(
        faces.voxels, faces.at, faces.extents, pairs, steps.step, steps.first, steps.offset,
        directions, starts, final, same,
    )  # fmt: skip


def count_votes(shells: Shells, pairs: Int64s, boxes: Int64s) -> tuple[Int64s, ...]:
    """Count in how many voxels of a box two labels of two blocks coincide.

    Parameters
    ----------
    shells
        What the blocks have seen.
    pairs
        Two blocks each, int64 of shape (m, 2).
    boxes
        Where they are compared, int64 of shape (m, ndim, 2).

    Returns
    -------
    tuple of numpy.ndarray
        Pair of blocks, label of the one and of the other, voxels of both, of the
        one and of the other; int64 of shape (k,) each.
    """
    found = _count_votes(
        shells.box, shells.first_at, shells.run_at, shells.first, shells.begin, shells.value,
        pairs, boxes,
    )  # fmt: skip
    return tuple(np.ascontiguousarray(found[:, i]) for i in range(6))


@kernel()
def _longer(rows: Int64s, n: int) -> Int64s:
    """Return an array of twice the length with the same first rows."""
    out = np.empty((2 * rows.shape[0], rows.shape[1]), np.int64)
    # Assigning an array to a slice would take seconds to compile.
    for i in range(n):
        for j in range(rows.shape[1]):
            out[i, j] = rows[i, j]
    return out


@kernel()
def _plane(step: Int64s, sign: int, extents: Int64s, at: Int64s, strides: Int64s) -> np.int64:
    """Return where the voxels that face a step begin, and set how far apart they are."""
    ndim = step.size
    axis = 0
    while step[axis] == 0:
        axis += 1
    base = at[axis, 1 if sign * step[axis] > 0 else 0]
    stride = np.int64(1)
    for a in range(ndim - 1, -1, -1):
        strides[a] = 0
        if a != axis:
            strides[a] = stride
            if sign * step[a] > 0:
                base += (extents[a] - 1) * stride
            stride *= extents[a]
    return np.int64(base)


@kernel()
def _free_axes(step: Int64s, extents: Int64s, lead: Int64s) -> tuple[np.int64, np.int64, np.int64]:
    """Return the last axis along which the blocks face each other, its length, and rows.

    The other such axes are put into `lead`, followed by -1.
    """
    last = np.int64(-1)
    for a in range(step.size):
        if step[a] == 0:
            last = np.int64(a)
    n = 0
    rows = np.int64(1)
    for a in range(step.size):
        if step[a] == 0 and a != last:
            lead[n] = a
            n += 1
            rows *= extents[a]
    lead[n] = -1
    return last, np.int64(1) if last < 0 else extents[last], rows


@kernel()
def _row(
    row: int,
    lead: Int64s,
    last: np.int64,
    extents: Int64s,
    offset: Int64s,
    own: Int64s,
    other: Int64s,
) -> tuple[np.int64, np.int64, Any, Any, Any]:
    """Return how far a row is behind the first, and that to which an offset leads; -1 if none.

    Then come the offset along the rows, and the strides of either.
    """
    zero = np.int64(0)
    n = 0
    while lead[n] >= 0:
        n += 1
    here = np.int64(0)
    there = np.int64(0)
    for i in range(n - 1, -1, -1):
        axis = lead[i]
        at = row % extents[axis]
        row //= extents[axis]
        here += at * own[axis]
        moved = at + offset[axis]
        if moved < 0 or moved >= extents[axis]:
            return here, np.int64(-1), zero, zero, zero
        there += moved * other[axis]
    if last < 0:
        return here, there, zero, zero, zero
    return here, there, offset[last], own[last], other[last]


@kernel()
def _join_touching(
    voxels: Ids,
    at: Int64s,
    extents: Int64s,
    pairs: Int64s,
    step: Int64s,
    first: Int64s,
    offset: Int64s,
    own: Int64s,
    nodes: Int64s,
    parent: Int64s,
) -> Int64s:
    ndim = extents.shape[1]
    found = np.empty((256, 2), np.int64)
    n = 0
    one = np.zeros(ndim, np.int64)
    two = np.zeros(ndim, np.int64)
    lead = np.zeros(ndim + 1, np.int64)
    for p in range(pairs.shape[0]):
        a, b, s = pairs[p, 0], pairs[p, 1], pairs[p, 2]
        base_a = _plane(step[s], 1, extents[a], at[a], one)
        base_b = _plane(step[s], -1, extents[b], at[b], two)
        last, width, rows = _free_axes(step[s], extents[a], lead)
        for row in range(rows):
            for o in range(first[s], first[s + 1]):
                here, there, dx, stride_a, stride_b = _row(
                    row, lead, last, extents[a], offset[o], one, two
                )
                if there < 0:
                    continue
                here += base_a
                there += base_b
                seen_a = np.uint32(0)
                seen_b = np.uint32(0)
                for x in range(max(0, -dx), min(width, width - dx)):
                    label = voxels[here + x * stride_a]
                    other = voxels[there + (x + dx) * stride_b]
                    if label == 0 or other == 0 or (label == seen_a and other == seen_b):
                        continue
                    seen_a = label
                    seen_b = other
                    node = own[a] + np.int64(label) - 1
                    if own[b] >= 0:
                        join_one(parent, node, own[b] + np.int64(other) - 1)
                        continue
                    if n == found.shape[0]:
                        found = _longer(found, n)
                    found[n, 0] = node
                    found[n, 1] = nodes[b] + np.int64(other) - 1
                    n += 1
    return found[:n].copy()


@kernel()
def _count_contacts(
    voxels: Ids,
    at: Int64s,
    extents: Int64s,
    pairs: Int64s,
    step: Int64s,
    first: Int64s,
    offset: Int64s,
    directions: Int64s,
    starts: Int64s,
    final: Int64s,
    same: npt.NDArray[np.float64],
) -> None:
    ndim = extents.shape[1]
    one = np.zeros(ndim, np.int64)
    two = np.zeros(ndim, np.int64)
    lead = np.zeros(ndim + 1, np.int64)
    for p in range(pairs.shape[0]):
        a, b, s = pairs[p, 0], pairs[p, 1], pairs[p, 2]
        base_a = _plane(step[s], 1, extents[a], at[a], one)
        base_b = _plane(step[s], -1, extents[b], at[b], two)
        last, width, rows = _free_axes(step[s], extents[a], lead)
        for row in range(rows):
            for o in range(first[s], first[s + 1]):
                here, there, dx, stride_a, stride_b = _row(
                    row, lead, last, extents[a], offset[o], one, two
                )
                if there < 0:
                    continue
                here += base_a
                there += base_b
                for x in range(max(0, -dx), min(width, width - dx)):
                    label = np.int64(voxels[here + x * stride_a])
                    other = np.int64(voxels[there + (x + dx) * stride_b])
                    if label == 0 or other == 0:
                        continue
                    k = final[starts[a] + label - 1]
                    if k >= 0 and k == final[starts[b] + other - 1]:
                        same[k, directions[o]] += 1


@kernel()
def _run_at(begin: npt.NDArray[np.int32], start: int, stop: int, left: int) -> np.int64:
    """Return which run of a row holds a place."""
    low = np.int64(start)
    high = np.int64(stop)
    while high - low > 1:
        middle = (low + high) // 2
        if begin[middle] <= left:
            low = middle
        else:
            high = middle
    return low


@kernel()
def _count_votes(
    box: Int64s,
    first_at: Int64s,
    run_at: Int64s,
    first: Int64s,
    begin: npt.NDArray[np.int32],
    value: Ids,
    pairs: Int64s,
    boxes: Int64s,
) -> Int64s:
    ndim = box.shape[1]
    last = ndim - 1
    found = np.empty((1024, 6), np.int64)
    n = 0
    for p in range(pairs.shape[0]):
        a, b = pairs[p, 0], pairs[p, 1]
        keys = np.zeros(64, np.uint64)
        counts = np.zeros(64, np.int64)
        used = 0
        rows = np.int64(1)
        for axis in range(last):
            rows *= boxes[p, axis, 1] - boxes[p, axis, 0]
        left, right = boxes[p, last, 0], boxes[p, last, 1]
        for row in range(rows):
            row_a = np.int64(0)
            row_b = np.int64(0)
            scale_a = np.int64(1)
            scale_b = np.int64(1)
            rest = np.int64(row)
            for axis in range(last - 1, -1, -1):
                size = boxes[p, axis, 1] - boxes[p, axis, 0]
                place = boxes[p, axis, 0] + rest % size
                rest //= size
                row_a += (place - box[a, axis, 0]) * scale_a
                row_b += (place - box[b, axis, 0]) * scale_b
                scale_a *= box[a, axis, 1] - box[a, axis, 0]
                scale_b *= box[b, axis, 1] - box[b, axis, 0]
            end_a = run_at[a] + first[first_at[a] + row_a + 1]
            end_b = run_at[b] + first[first_at[b] + row_b + 1]
            from_a, from_b = box[a, last, 0], box[b, last, 0]
            i = _run_at(begin, run_at[a] + first[first_at[a] + row_a], end_a, left - from_a)
            j = _run_at(begin, run_at[b] + first[first_at[b] + row_b], end_b, left - from_b)
            x = left
            while x < right:
                stop_a = right if i + 1 >= end_a else min(right, from_a + begin[i + 1])
                stop_b = right if j + 1 >= end_b else min(right, from_b + begin[j + 1])
                stop = min(stop_a, stop_b)
                key = (np.uint64(value[i]) << np.uint64(32)) | np.uint64(value[j])
                if key != 0:
                    slot = find(keys, key)
                    if keys[slot] == 0:
                        keys[slot] = key
                        used += 1
                    counts[slot] += stop - x
                    if 2 * used > keys.size:
                        keys, counts = double(keys, counts)
                if stop == stop_a:
                    i += 1
                if stop == stop_b:
                    j += 1
                x = stop
        if used:
            sorted_keys, sorted_counts = order(keys, counts)
            while n + used > found.shape[0]:
                found = _longer(found, n)
            n += int(_add_votes(sorted_keys, sorted_counts, p, found[n:]))
    return found[:n].copy()


@kernel()
def _add_votes(keys: npt.NDArray[np.uint64], counts: Int64s, pair: int, out: Int64s) -> np.int64:
    """Write those pairs of labels of which none is background; return how many."""
    size = keys.size
    one = (keys >> np.uint64(32)).astype(np.int64)
    two = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    of_one = np.zeros(size, np.int64)
    of_two = np.zeros(size, np.int64)
    by_two = np.argsort(two)
    for way in range(2):
        start = 0
        while start < size:
            stop = start
            total = np.int64(0)
            if way == 0:
                while stop < size and one[stop] == one[start]:
                    total += counts[stop]
                    stop += 1
                for i in range(start, stop):
                    of_one[i] = total
            else:
                while stop < size and two[by_two[stop]] == two[by_two[start]]:
                    total += counts[by_two[stop]]
                    stop += 1
                for i in range(start, stop):
                    of_two[by_two[i]] = total
            start = stop
    n = np.int64(0)
    for i in range(size):
        if one[i] != 0 and two[i] != 0:
            out[n, 0] = pair
            out[n, 1] = one[i]
            out[n, 2] = two[i]
            out[n, 3] = counts[i]
            out[n, 4] = of_one[i]
            out[n, 5] = of_two[i]
            n += 1
    return n
