"""Seams of many blocks at once: which labels touch across them.

Faces of the blocks stand one after the other in a flat array, so that one call
serves thousands of blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .counting import longer
from .jit import kernel
from .lattice import Ids, Int64s, crossing_offsets
from .union_find import join_one

__all__ = ["Faces", "Steps", "count_contacts", "join_touching"]


class Steps(NamedTuple):
    """Directions to neighbours, and the offsets that lead across in each of them."""

    step: Int64s  # -1, 0 or 1 along each axis, of shape (steps, ndim)
    first: Int64s  # where the offsets of each step begin, of shape (steps + 1,)
    offset: Int64s  # along all axes, 0 along those of the step, of shape (n, ndim)

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


class Faces(NamedTuple):
    """First and last plane of many blocks along each axis."""

    voxels: Ids  # of all planes one after the other
    at: Int64s  # where each plane begins, -1 if there is none, of shape (blocks, ndim, 2)
    extents: Int64s  # shapes of the blocks, of shape (blocks, ndim)

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
        if a != axis:
            strides[a] = stride
            if sign * step[a] > 0:
                base += (extents[a] - 1) * stride
            stride *= extents[a]
    return np.int64(base)


@kernel()
def _rows(faces: Faces, pair: Int64s, steps: Steps, rows: Int64s) -> tuple[Int64s, int]:
    """Return rows of voxels of two blocks that are neighbours across the seam, and how many.

    Of a row: its first voxel in either block, how far apart the others are in
    either, how many there are, and the number of the offset.
    """
    at, extents = faces.at, faces.extents
    step, first, offset = steps.step, steps.first, steps.offset
    a, b, s = pair
    ndim = extents.shape[1]
    strides = np.zeros((2, ndim), np.int64)
    begin_a = _plane(step[s], 1, extents[a], at[a], strides[0])
    begin_b = _plane(step[s], -1, extents[b], at[b], strides[1])
    sizes = np.ones(ndim, np.int64)
    count, last = 1, -1  # last: the axis of the rows
    for axis in range(ndim):
        if step[s, axis] == 0:
            if last >= 0:
                sizes[last] = extents[a, last]
                count *= sizes[last]
            last = axis
    width = np.int64(1) if last < 0 else extents[a, last]
    n = 0
    for row in range(count):
        for o in range(first[s], first[s + 1]):
            here, there = begin_a, begin_b
            rest, is_inside = row, True
            for axis in range(ndim - 1, -1, -1):
                place = rest % sizes[axis]
                rest //= sizes[axis]
                moved = place + offset[o, axis]
                is_inside &= axis == last or 0 <= moved < sizes[axis]
                here += place * strides[0, axis]
                there += moved * strides[1, axis]
            if not is_inside:
                continue
            shift = np.int64(0) if last < 0 else offset[o, last]
            if n == rows.shape[0]:
                rows = longer(rows, n)
            rows[n, 0] = here + max(0, -shift) * strides[0, last]
            rows[n, 1] = there + max(0, -shift) * strides[1, last]
            rows[n, 2], rows[n, 3] = strides[0, last], strides[1, last]
            rows[n, 4], rows[n, 5] = width - abs(shift), o
            n += 1
    return rows, n


@kernel()
def join_touching(
    faces: Faces, pairs: Int64s, steps: Steps, own: Int64s, nodes: Int64s, parent: Int64s
) -> Int64s:
    """Join labels that touch across the border of two blocks, in the forest `parent`.

    `pairs` are two blocks and the step that leads from one to the other, of shape
    (m, 3). `own` is the number of the first label of each block in the forest, -1
    if it is not there; `nodes` is its number anywhere. Labels of the forest and
    those elsewhere that touch them are returned by these numbers, some of them
    repeatedly, of shape (k, 2).
    """
    found = np.empty((256, 2), np.int64)
    n = 0
    rows = np.empty((256, 6), np.int64)
    for p in range(pairs.shape[0]):
        a, b = pairs[p, 0], pairs[p, 1]
        rows, count = _rows(faces, pairs[p], steps, rows)
        for row in range(count):
            here, there = rows[row, 0], rows[row, 1]
            stride_a, stride_b = rows[row, 2], rows[row, 3]
            seen_a, seen_b = np.uint32(0), np.uint32(0)
            for x in range(rows[row, 4]):
                label = faces.voxels[here + x * stride_a]
                other = faces.voxels[there + x * stride_b]
                if label == 0 or other == 0 or (label == seen_a and other == seen_b):
                    continue
                seen_a, seen_b = label, other
                node = own[a] + np.int64(label) - 1
                if own[b] >= 0:
                    join_one(parent, node, own[b] + np.int64(other) - 1)
                    continue
                if n == found.shape[0]:
                    found = longer(found, n)
                found[n, 0] = node
                found[n, 1] = nodes[b] + np.int64(other) - 1
                n += 1
    return found[:n].copy()


@kernel()
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
    rows = np.empty((256, 6), np.int64)
    for p in range(pairs.shape[0]):
        a, b = pairs[p, 0], pairs[p, 1]
        rows, count = _rows(faces, pairs[p], steps, rows)
        for row in range(count):
            here, there = rows[row, 0], rows[row, 1]
            stride_a, stride_b = rows[row, 2], rows[row, 3]
            direction = directions[rows[row, 5]]
            for x in range(rows[row, 4]):
                label = np.int64(faces.voxels[here + x * stride_a])
                other = np.int64(faces.voxels[there + x * stride_b])
                if label == 0 or other == 0:
                    continue
                k = final[starts[a] + label - 1]
                if k >= 0 and k == final[starts[b] + other - 1]:
                    same[k, direction] += 1
