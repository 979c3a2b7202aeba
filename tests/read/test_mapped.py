from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.read import MappedHDF5Dataset, get_mapped_object, get_mapping_indices
from cytovox.read import dataset as dataset_module
from cytovox.read.dataset import checked
from cytovox.read.mapped import IndexMappingError

ARRAY = np.random.default_rng(2).integers(0, 256, (40, 3, 5), dtype=np.uint8)


def dataset(array: np.ndarray = ARRAY, **kwargs) -> h5py.Dataset:
    return h5py.File(io.BytesIO(), "w").create_dataset("x", data=array, **kwargs)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (3, [0, 1, 2]),
        (np.uint8(2), [0, 1]),
        (slice(1, 8, 3), [1, 4, 7]),
        (slice(8, 2, -2), [8, 6, 4]),
        ([5, 2, 2], [5, 2, 2]),
        ([True, False], [1, 0]),
        (np.array([7, 1]), [7, 1]),
        ([], []),
    ],
)
def test_mappings(mapping, expected):
    assert get_mapping_indices(mapping).tolist() == expected


@pytest.mark.parametrize(
    ("mapping", "error"),
    [
        (slice(None, 3), NotImplementedError),
        (slice(3, None), NotImplementedError),
        ("5", ValueError),
        (1.5, ValueError),
        ([-1], IndexMappingError),
        ([1.5], IndexMappingError),
        (slice(-3, 2), IndexMappingError),
        ([2**32], IndexMappingError),
    ],
)
def test_bad_mappings(mapping, error):
    with pytest.raises(error):
        get_mapping_indices(mapping)


@given(
    indices=st.lists(st.integers(0, 39), max_size=60),
    chunks=st.sampled_from([None, 1, 7, 40]),
    block=st.sampled_from([1, 40, 2**22]),
)
@settings(max_examples=100, deadline=None)
def test_rows_in_any_order(indices, chunks, block):
    kwargs = {} if chunks is None else {"chunks": (chunks, 3, 5)}
    stored = dataset(**kwargs)
    wanted = np.array(indices, dtype=np.uint32)
    before, dataset_module._TAKEN_BYTES = dataset_module._TAKEN_BYTES, block
    try:
        np.testing.assert_array_equal(checked(stored).take(wanted), ARRAY[wanted])
    finally:
        dataset_module._TAKEN_BYTES = before


@given(
    indices=st.lists(st.integers(0, 39), min_size=1, max_size=30),
    key=st.slices(30) | st.integers(0, 0) | st.lists(st.integers(-1, 0), max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_a_mapped_dataset_looks_like_the_mapped_array(indices, key):
    seen = MappedHDF5Dataset(dataset(chunks=(7, 3, 5)), np.array(indices))
    expected = ARRAY[indices]
    assert (len(seen), seen.shape, seen.dtype) == (len(indices), expected.shape, ARRAY.dtype)
    np.testing.assert_array_equal(seen[key], expected[key])


def test_mapped_pixels():
    seen = MappedHDF5Dataset(dataset(), np.array([4, 2, 9]))
    np.testing.assert_array_equal(seen[1:, 2], ARRAY[[4, 2, 9]][1:, 2])
    np.testing.assert_array_equal(seen[1, 2], ARRAY[2, 2])


@pytest.mark.parametrize(
    "make", [np.asarray, dataset, lambda a: get_mapped_object(dataset(a), 40)]
)
@pytest.mark.parametrize("mapping", [None, 5, slice(3, 20, 4), [39, 0, 7], np.array([3, 3])])
def test_anything_can_be_mapped(make, mapping):
    expected = ARRAY if mapping is None else ARRAY[get_mapping_indices(mapping)]
    np.testing.assert_array_equal(get_mapped_object(make(ARRAY), mapping)[:], expected)


@pytest.mark.parametrize("make", [np.asarray, dataset])
def test_rows_that_do_not_exist_are_named(make):
    with pytest.raises(IndexMappingError, match="asks for row 40, but .* has 40 rows"):
        get_mapped_object(make(ARRAY), [0, 40])
