"""Blocks tile a volume, whatever their size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.blockwise.grid import Grid

SIZES = st.integers(1, 3).flatmap(
    lambda ndim: st.tuples(
        st.tuples(*[st.integers(0, 9)] * ndim),
        st.tuples(*[st.integers(1, 12)] * ndim),
        st.tuples(*[st.integers(0, 7)] * ndim),
    )
)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_each_voxel_belongs_to_one_block(sizes: tuple[tuple[int, ...], ...]) -> None:
    shape, block, context = sizes
    grid = Grid(shape, block, context)
    owner = np.full(shape, -1)
    for index, one in enumerate(grid):
        assert one.index == index
        assert grid[index] == one == grid.at(one.position)
        where = tuple(slice(*pair) for pair in one.write)
        assert (owner[where] == -1).all()
        owner[where] = index
        for (read, write), margin in zip(
            zip(one.read, one.write, strict=True), context, strict=True
        ):
            assert (write[0] - read[0], read[1] - write[1]) == (margin, margin)
    assert (owner >= 0).all()
