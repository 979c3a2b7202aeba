from __future__ import annotations

import functools
import io
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.errors import InputError
from cytovox.read import HDF5Data, HDF5ImageCache, ImageCorrCache
from cytovox.read.cache import EmptyDatasetWarning
from cytovox.read.mapped import get_mapped_object


def images_of(array: np.ndarray, mapping=None, **kwargs) -> HDF5ImageCache:
    h5 = h5py.File(io.BytesIO(), "w")
    h5["image"] = array
    return HDF5ImageCache(get_mapped_object(h5["image"], mapping), **kwargs)


ARRAY = np.random.default_rng(1).integers(0, 256, (11, 4, 6), dtype=np.uint8)


@pytest.mark.parametrize("chunk_size", [1, 3, 4, 11, 1000])
@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(5),
        slice(None),
        slice(0, 0),
        slice(-3, None),
        slice(None, -2),
        slice(2, 9),
        slice(9, 2),
        slice(9, 2, -2),
        slice(None, None, 3),
        [0, 10, 3, 3, -1],
        [],
        np.array([[1, 2], [3, 4]]),
        np.arange(11) % 2 == 0,
        (slice(2, 5), slice(None), 3),
        (4, slice(1, 3)),
        (4, 2, 1),
        ([1, 5], [0, 2]),
        Ellipsis,
        (Ellipsis, 2),
        (slice(1, 8, 2), np.array([True, False, True, False])),
    ],
)
def test_indexing_is_that_of_numpy(index, chunk_size):
    images = images_of(ARRAY, chunk_size=chunk_size)
    np.testing.assert_array_equal(images[index], ARRAY[index])
    # and once more from kept chunks
    np.testing.assert_array_equal(images[index], ARRAY[index])


@given(
    start=st.integers(-15, 15) | st.none(),
    stop=st.integers(-15, 15) | st.none(),
    step=st.integers(-4, 4).filter(bool) | st.none(),
    chunk_size=st.integers(1, 12),
    cache_size=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_slices_are_those_of_numpy(start, stop, step, chunk_size, cache_size):
    images = images_of(ARRAY, chunk_size=chunk_size, cache_size=cache_size)
    index = slice(start, stop, step)
    images.get_chunk(0)
    np.testing.assert_array_equal(images[index], ARRAY[index])


@pytest.mark.parametrize("index", [11, -12, [11], [0.5], np.ones(3, bool), None])
def test_bad_indices_raise_index_error(index):
    with pytest.raises(IndexError):
        images_of(ARRAY, chunk_size=4)[index]


def test_chunks_cover_everything_once():
    images = images_of(ARRAY, chunk_size=4)
    assert (images.num_chunks, images.chunk_size, images.image_shape) == (3, 4, (4, 6))
    assert [images.get_chunk_size(i) for i in images.iter_chunks()] == [4, 4, 3]
    assert images.get_chunk_slice(2) == slice(8, 11, None)
    joined = np.concatenate([images.get_chunk(i) for i in images.iter_chunks()])
    np.testing.assert_array_equal(joined, ARRAY)
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            images.get_chunk(wrong)


def test_only_some_chunks_are_kept():
    images = images_of(ARRAY, chunk_size=2, cache_size=2)
    for chunk in images.iter_chunks():
        images.get_chunk(chunk)
    assert list(images.cache) == [4, 5]
    assert images.get_chunk(4) is images.get_chunk(4)


@pytest.mark.parametrize("cache_size", [0, 2])
def test_read_into_fills_the_given_array(cache_size):
    images = images_of(ARRAY, chunk_size=4, cache_size=cache_size)
    out = np.zeros((5, 4, 6), np.uint8)
    images.read_into(3, out)
    np.testing.assert_array_equal(out, ARRAY[3:8])
    with pytest.raises(IndexError):
        images.read_into(8, out)


@pytest.mark.parametrize("mapping", [None, [2, 0, 1]])
@pytest.mark.parametrize("cache_size", [0, 2])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, ">u2", np.uint64])
def test_images_of_wider_types_are_read_as_they_are(dtype, cache_size, mapping):
    stored = np.arange(244, 256).reshape(3, 2, 2).astype(dtype)
    images = images_of(stored, cache_size=cache_size, mapping=mapping)
    expected = stored if mapping is None else stored[mapping]
    assert images.dtype == dtype
    np.testing.assert_array_equal(images[:], expected)
    out = np.zeros((2, 2, 2), np.uint8)
    images.read_into(1, out)
    np.testing.assert_array_equal(out, expected[1:])
    images.copy_span(1, 3, out)
    np.testing.assert_array_equal(out, expected[1:])


@pytest.mark.parametrize("mapping", [None, [2, 0, 1]])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("value", [256, -1, 2500])
def test_grey_values_beyond_8_bit_are_never_wrapped(value, kept, mapping):
    stored = np.zeros((3, 2, 2), np.int16)
    stored[1, 1, 0] = value
    images = images_of(stored, chunk_size=3, mapping=mapping)
    out = np.zeros((3, 2, 2), np.uint8)
    read = functools.partial(images.read_into, 0, out)
    if kept:
        images.get_chunk(0)
        read = functools.partial(images.copy_span, 0, 3, out)
    with pytest.raises(InputError, match=f"frames 0 to 2 of 'image'.*{value}.*only.*0 to 255"):
        read()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_corrected_images_of_12_bit_are_the_signed_difference(dtype):
    stored, background = (np.array([[[v, 0]]], dtype) for v in (4095, 1000))
    corrected = ImageCorrCache(images_of(stored), images_of(background))
    assert corrected[:].tolist() == [[[3095, 0]]]
    far = ImageCorrCache(images_of(stored * 10), images_of(background))
    with pytest.raises(InputError, match="-32768 to 32767"):
        far[:]


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int16])
def test_masks_are_boolean(dtype):
    stored = (ARRAY > 100).astype(dtype) * (1 if dtype is bool else 7)
    masks = images_of(stored, chunk_size=4, boolean=True)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks[:], ARRAY > 100)
    out = np.zeros(ARRAY.shape, bool)
    masks.read_into(0, out)
    np.testing.assert_array_equal(out, ARRAY > 100)


def test_corrected_images_are_the_signed_difference():
    background = ARRAY[::-1].copy()
    corrected = ImageCorrCache(images_of(ARRAY, chunk_size=4), images_of(background, chunk_size=3))
    expected = ARRAY.astype(np.int16) - background
    assert corrected.dtype == np.int16
    np.testing.assert_array_equal(corrected[:], expected)
    np.testing.assert_array_equal(corrected.get_chunk(1), expected[4:8])
    out = np.empty((3, 4, 6), np.int16)
    corrected.read_into(2, out)
    np.testing.assert_array_equal(out, expected[2:5])
    with pytest.raises(InputError, match="background"):
        ImageCorrCache(images_of(ARRAY), images_of(ARRAY[1:]))


def test_empty_images_warn_and_can_be_sliced():
    with pytest.warns(EmptyDatasetWarning, match="has zero length"):
        images = images_of(np.zeros((0, 4, 6), np.uint8))
    assert images.num_chunks == 0
    assert images[:].shape == (0, 4, 6)
    with pytest.raises(IndexError):
        images[0]


def test_a_damaged_chunk_names_file_and_frames(make_recording):
    path: Path = make_recording(image=None)
    with h5py.File(path, "a") as h5:
        data = np.random.default_rng(0).integers(0, 256, (20, 8, 12), dtype=np.uint8)
        ds = h5.create_dataset("events/image", data=data, chunks=(5, 8, 12), fletcher32=True)
        offset = ds.id.get_chunk_info(2).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 20] ^= 255
    path.write_bytes(raw)
    with HDF5Data(path, image_chunk_size=5) as reader:
        np.testing.assert_array_equal(reader.image.get_chunk(1), data[5:10])
        with pytest.raises(InputError, match="frames 10 to 14") as info:
            reader.image.get_chunk(2)
    assert info.value.path == str(path)
    assert info.value.frame == 10


def test_threads_may_share_a_reader(make_recording):
    path = make_recording(frames=60)
    with h5py.File(path) as h5:
        expected = h5["events/image"][:].astype(np.int16) - h5["events/image_bg"][:]
    wrong = []

    def look(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for index in rng.integers(0, 60, 100):
            if not np.array_equal(data.image_corr[int(index)], expected[index]):
                wrong.append(index)

    with HDF5Data(path, image_chunk_size=5) as data:
        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
    assert not wrong
