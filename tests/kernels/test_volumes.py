"""Kernels of volumes against SciPy and plain NumPy, in one to four dimensions."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cytovox.blockwise.block_tiles import Members, Tiles
from cytovox.blockwise.grid import Grid, box_shape
from cytovox.errors import InputError, OptionError
from cytovox.kernels.block_seams import Faces, Steps, count_contacts, join_touching
from cytovox.kernels.block_sums import block_sums
from cytovox.kernels.components import label_components
from cytovox.kernels.counting import count_overlap, sizes
from cytovox.kernels.lattice import connectivity_rank, crossing_offsets, half_offsets
from cytovox.kernels.packed import Shells, count_votes, pack
from cytovox.kernels.relabel import first_appearance, relabel
from cytovox.kernels.union_find import find_roots, join_pairs, union_edges

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9)
LABELS = hnp.arrays(np.uint32, SHAPES, elements=st.sampled_from([0, 0, 0, 1, 2, 2**31 + 5]))
QUICK = settings(max_examples=60, deadline=None)


@QUICK
@given(hnp.arrays(bool, SHAPES), st.integers(1, 4))
def test_components_are_scipys(mask: np.ndarray, rank: int) -> None:
    """Even their numbers: both count in raster order."""
    rank = min(rank, mask.ndim)
    expected, count = ndi.label(mask, ndi.generate_binary_structure(mask.ndim, rank))
    labels, n = label_components(mask, rank)
    assert (n, labels.dtype) == (count, np.uint32)
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_of_labels_keep_values_apart(dtype: type, connectivity: int) -> None:
    values = np.random.default_rng(1).integers(0, 4, (9, 10, 70)).astype(dtype)
    labels, n = label_components(values, connectivity)
    structure = ndi.generate_binary_structure(3, connectivity_rank(3, connectivity))
    counts = [ndi.label(values == value, structure)[1] for value in (1, 2, 3)]
    assert n == sum(counts)
    assert len(np.unique(np.stack([labels, values]).reshape(2, -1), axis=1).T) == n + 1
    first = [np.flatnonzero(labels == i + 1)[0] for i in range(n)]
    assert first == sorted(first)


def test_components_of_what_has_none() -> None:
    assert label_components(np.zeros((0, 3), bool))[1] == 0
    assert label_components(np.ones((), bool))[1] == 1
    assert label_components(np.asfortranarray(np.ones((4, 5), bool)).T[::2], 8)[1] == 1
    with pytest.raises(InputError, match="float64"):
        label_components(np.zeros(3))
    with pytest.raises(OptionError, match="give 6, 18, 26"):
        label_components(np.zeros((2, 2, 2), bool), 8)


@QUICK
@given(
    st.one_of(
        hnp.arrays(np.uint64, SHAPES, elements=st.sampled_from([0, 1, 7, 2**63 + 9, 2**32])),
        hnp.arrays(np.int16, SHAPES, elements=st.integers(0, 5)),
        LABELS.map(lambda labels: label_components(labels)[0]),
    ),
    st.booleans(),
)
def test_first_appearance(labels: np.ndarray, whole: bool) -> None:
    inner = tuple((0, size) if whole else (size // 3, size - size // 4) for size in labels.shape)
    out, count, seen = first_appearance(labels, inner)
    assert out.dtype == np.uint32
    within = labels[tuple(slice(*pair) for pair in inner)].ravel()
    order = dict.fromkeys(within[within > 0].tolist())
    assert count == len(order)
    order |= dict.fromkeys(labels[labels > 0].ravel().tolist())
    assert seen == len(order)
    names = {0: 0} | {label: i + 1 for i, label in enumerate(order)}
    assert out.ravel().tolist() == [names[label] for label in labels.ravel().tolist()]


def test_first_appearance_of_many() -> None:
    labels = np.random.default_rng(0).permutation(200_000).reshape(40, 50, 100) * 10**12
    out, count, _ = first_appearance(labels)
    assert count == 199_999
    np.testing.assert_array_equal(out[labels > 0], np.arange(1, 200_000))


def test_relabel_in_place() -> None:
    labels = np.array([[0, 1], [2, 1]], np.uint32)
    relabel(labels, np.array([0, 9, 4], np.uint32), out=labels)
    assert labels.tolist() == [[0, 9], [4, 9]]
    with pytest.raises(InputError, match="label 9"):
        relabel(labels, np.array([0, 1], np.uint32))


@QUICK
@given(LABELS, st.data())
def test_votes_of_two_blocks(labels: np.ndarray, data: st.DataObject) -> None:
    """Each has seen a box of a volume, and they are compared in a box that both have seen."""
    one = np.random.default_rng(0).permutation(labels.ravel()).reshape(labels.shape)
    part = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=4, max_size=4))) for n in one.shape
    ]
    boxes = np.array([[(a, d), (b, d), (b, c)] for a, b, c, d in part]).swapaxes(0, 1)
    seen, other, common = (tuple(slice(*pair) for pair in box) for box in boxes.tolist())
    shells = Shells.of([pack(one[seen]), pack(labels[other])], boxes[:2])
    some = (boxes[2, :, 0] < boxes[2, :, 1]).all()
    pairs = np.array([[0, 1]])[: int(some)]
    found = count_votes(shells, pairs, boxes[2:][: int(some)])
    a, b = one[common].ravel(), labels[common].ravel()
    expected = [
        (0, i, j, np.sum((a == i) & (b == j)), np.sum(a == i), np.sum(b == j))
        for i, j in sorted(set(zip(a.tolist(), b.tolist(), strict=True)))
        if i and j
    ]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@QUICK
@given(LABELS, st.integers(0, 99))
def test_overlap_counts(a: np.ndarray, seed: int) -> None:
    b = np.random.default_rng(seed).permutation(a.ravel()).reshape(a.shape)
    ids_a, ids_b, counts = count_overlap(a, b)
    pairs, expected = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1, return_counts=True)
    some = pairs.any(axis=0)
    assert ids_a.tolist() == pairs[0, some].tolist()
    assert ids_b.tolist() == pairs[1, some].tolist()
    assert counts.tolist() == expected[some].tolist()
    assert sizes(a, 2).tolist() == [np.count_nonzero(a == 1), np.count_nonzero(a == 2)]


@pytest.mark.parametrize(
    ("shape", "block"), [((7, 8, 9), (3, 4, 4)), ((12, 13), (5, 4)), ((20,), (3,))]
)
def test_what_touches_across_blocks(shape: tuple[int, ...], block: tuple[int, ...]) -> None:
    """All steps from a voxel of a block into another one, one by one."""
    rng = np.random.default_rng(3)
    ndim = len(shape)
    labels = rng.integers(1, 9, shape).astype(np.uint32) * (rng.random(shape) < 0.5)
    final = rng.permutation(8) // 2  # object of each label, in any block
    tiles = Tiles(Grid(shape, block, (0,) * ndim), (2,) * ndim)
    faces = Faces.of(
        [
            [
                [labels[box].take(side, axis).astype(np.uint32) for side in (0, -1)]
                for axis in range(ndim)
            ]
            for box in (tuple(slice(*pair) for pair in one.write) for one in tiles.grid)
        ],
        [box_shape(one.write) for one in tiles.grid],
    )
    owner = np.zeros(shape, np.int64)
    for one_block in tiles.grid:
        owner[tuple(slice(*pair) for pair in one_block.write)] = one_block.index
    for rank in range(1, ndim + 1):
        steps = Steps.later(ndim, rank)
        half = half_offsets(ndim, rank)
        touching, same = set(), np.zeros((4, len(half)))
        for at, (d, step) in itertools.product(np.ndindex(*shape), enumerate(half)):
            to = tuple(int(i + s) for i, s in zip(at, step, strict=True))
            if all(0 <= i < n for i, n in zip(to, shape, strict=True)):
                one, two = int(owner[at]), int(owner[to])
                if one != two and labels[at] and labels[to]:
                    nodes = (8 * one + int(labels[at]) - 1, 8 * two + int(labels[to]) - 1)
                    touching.add(tuple(sorted(nodes)))
                    same[final[labels[at] - 1], d] += (
                        final[labels[at] - 1] == final[labels[to] - 1]
                    )
        found, contacts = set(), np.zeros_like(same)
        parent = np.arange(8 * len(tiles.grid))
        for index in range(len(tiles)):
            members = Members.of(tiles, tiles[index], steps)
            some = Faces(faces.voxels, faces.at[members.blocks], faces.extents[members.blocks])
            nodes = 8 * members.blocks
            own = np.where(members.own, nodes, -1)
            outside = join_touching(some, members.pairs, steps, own, nodes, parent)
            found |= {tuple(sorted(pair)) for pair in outside.tolist()}
            starts = np.zeros(len(nodes), np.int64)
            ways = steps.directions(half)
            count_contacts(some, members.pairs, steps, ways, starts, final, contacts)
        np.testing.assert_array_equal(contacts, same)
        assert found <= touching
        for a, b in found:
            join_pairs(parent, np.array([[a, b]]))
        find_roots(parent)
        expected = union_edges(parent.size, np.array(sorted(touching)))
        np.testing.assert_array_equal(parent, expected)


def test_offsets_of_a_neighbourhood() -> None:
    for ndim, counts in ((2, (4, 8)), (3, (6, 18, 26)), (4, (8, 32, 64, 80))):
        for rank, count in enumerate(counts, 1):
            assert connectivity_rank(ndim, count) == rank
            assert len(half_offsets(ndim, rank)) == count // 2
    # Every step out of a block is counted with exactly one of its neighbours.
    directions = [d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)]
    assert sum(len(crossing_offsets(d, 3)) for d in directions) == 6 * 9 + 12 * 3 + 8


@QUICK
@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59))))
def test_union_find_is_scipys(n: int, edges: list[tuple[int, int]]) -> None:
    pairs = np.array(edges, np.int64).reshape(-1, 2) % n
    count, expected = connected_components(
        coo_matrix((np.ones(len(pairs)), pairs.T.tolist() if len(pairs) else ([], [])), (n, n))
    )
    roots = union_edges(n, pairs)
    assert all(root == np.flatnonzero(expected == expected[i])[0] for i, root in enumerate(roots))
    np.testing.assert_array_equal(roots, union_edges(n, pairs[::-1, ::-1]))
    assert np.unique(roots).size == count


def test_union_find_is_fast() -> None:
    """Where each step up costs a walk, this would take minutes."""
    n = 2_000_000
    union_edges(2, np.array([[0, 1]]))
    rng = np.random.default_rng(0)
    chain = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    for edges in (rng.integers(0, n, (n, 2)), chain, chain[::-1], rng.permutation(chain)):
        before = time.perf_counter()
        union_edges(n, edges)
        assert time.perf_counter() - before < 60
    with pytest.raises(IndexError):
        join_pairs(np.arange(3), np.array([[0, 3]]))


@QUICK
@given(hnp.arrays(np.uint32, SHAPES, elements=st.integers(0, 3)))
def test_sums_of_a_block(labels: np.ndarray) -> None:
    sums = block_sums(labels, 3, labels * 2.5)
    for k in range(3):
        at = np.argwhere(labels == k + 1)
        assert sums.count[k] == len(at)
        if not len(at):
            continue
        assert sums.low[k].tolist() == at.min(axis=0).tolist()
        assert sums.high[k].tolist() == at.max(axis=0).tolist()
        assert sums.first[k].tolist() == at.sum(axis=0).tolist()
        products = at.T @ at
        assert sums.second[k].tolist() == products[np.triu_indices(labels.ndim)].tolist()
        assert (sums.least[k], sums.most[k], sums.spread[k]) == (2.5 * k + 2.5,) * 2 + (0,)
        assert sums.total[k] == len(at) * (2.5 * k + 2.5)
