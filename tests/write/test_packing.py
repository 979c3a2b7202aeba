"""Chunks that are packed outside of HDF5 read back like any others."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import zstandard

from cytovox.kernels import checksum
from cytovox.write import ChunkWriter, HDF5Writer
from cytovox.write.packing import PackedDataset, pack_chunk, suitable_packer


def fletcher32_slowly(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    low = high = 0
    for word in np.frombuffer(data, ">u2"):
        low = (low + int(word)) % 65535
        high = (high + low) % 65535
    return high << 16 | low


def both_ways(data) -> list[int]:
    """Return the checksum by the kernel, and by what stands in for it without numba."""
    values = np.frombuffer(data, np.uint8)
    return [int(checksum._fletcher32(values)), checksum._by_numpy(values)]


@pytest.mark.parametrize("size", [1, 2, 3, 719, 8191, 8192, 8193, 100_001])
def test_checksum(size):
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8).tobytes()
    slow = fletcher32_slowly(data)
    for value in both_ways(data):
        # 0 and 65535 are the same in one's complement.
        assert (value & 0xFFFF) % 65535 == slow & 0xFFFF
        assert (value >> 16) % 65535 == slow >> 16


def test_checksum_is_the_one_that_hdf5_stores(tmp_path):
    rng = np.random.default_rng(1)
    cases = [rng.integers(0, 256, size) for size in (10, 721, 8191, 8192, 8193, 300_001)]
    cases += [np.full(size, value) for size in (2, 8192, 100_001) for value in (0, 255)]
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        for number, case in enumerate(cases):
            data = case.astype(np.uint8)
            kwds = {"chunks": data.shape, "fletcher32": True}
            dataset = h5.create_dataset(str(number), data=data, **kwds)
            _, stored = dataset.id.read_direct_chunk((0,))
            assert {*both_ways(data)} == {int.from_bytes(stored[-4:], "little")}


@pytest.mark.parametrize("compression", ["zstd-5", "zstd-1", "none"])
@pytest.mark.parametrize("sizes", [[1], [32], [31, 1], [33], [5, 70, 0, 200, 3], [0]])
def test_images_read_back(tmp_path, compression, sizes):
    kwds = {"fletcher32": True, "compression": None, "compression_opts": None}
    if compression != "none":
        kwds |= {"compression": 32015, "compression_opts": (int(compression[-1]),)}
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 9, (n, 80, 400)).astype(np.uint8) for n in sizes]
    dq = deque(("image", part) for part in parts)
    dq.extend(("deform", np.arange(float(n))) for n in sizes)
    path = tmp_path / "out.rtdc"
    writer = ChunkWriter(path, dq, None, ds_kwds=kwds, mode="w")
    writer.start()
    writer.finished_when_queue_empty()
    writer.join(600)
    assert writer.error is None
    with HDF5Writer(tmp_path / "plain.rtdc", "w", ds_kwds=kwds) as plain:
        for part in parts:
            plain.store_feature_chunk("image", part)
    with h5py.File(path) as h5, h5py.File(tmp_path / "plain.rtdc") as plain:
        np.testing.assert_array_equal(h5["events/image"][:], np.concatenate(parts))
        one, other = h5["events/image"], plain["events/image"]
        assert one.chunks == other.chunks
        assert one._filters == other._filters
        assert one.id.get_num_chunks() == other.id.get_num_chunks()
    with HDF5Writer(path) as again:  # and can be resumed in the ordinary way
        again.store_feature_chunk("image", parts[0])
    with h5py.File(path) as h5:
        np.testing.assert_array_equal(h5["events/image"][:], np.concatenate([*parts, parts[0]]))


def test_a_writer_resumes_where_another_has_stopped(tmp_path):
    path = tmp_path / "out.rtdc"
    images = np.random.default_rng(0).integers(0, 9, (50, 80, 400)).astype(np.uint8)
    for part in (images[:20], images[20:]):
        writer = ChunkWriter(path, deque([("image", part)]), None)
        writer.start()
        writer.finished_when_queue_empty()
        writer.join(600)
        assert writer.error is None
    with h5py.File(path) as h5:
        np.testing.assert_array_equal(h5["events/image"][:], images)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "out.rtdc"
    images = np.random.default_rng(0).integers(0, 99, (32, 80, 400)).astype(np.uint8)
    writer = ChunkWriter(path, deque([("image", images)]), None)
    writer.start()
    writer.finished_when_queue_empty()
    writer.join(600)
    with h5py.File(path) as h5:
        place = h5["events/image"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 1000] ^= 1
    path.write_bytes(content)
    with h5py.File(path) as h5, pytest.raises(OSError, match="read"):
        h5["events/image"][:]


def stored_bytes(path, images, level):
    kwds = {"fletcher32": True, "compression": 32015, "compression_opts": (level,)}
    dq = deque([("image", images)])
    writer = ChunkWriter(path, dq, None, ds_kwds=kwds, mode="w")
    writer.start()
    writer.finished_when_queue_empty()
    writer.join(600)
    assert writer.error is None
    with h5py.File(path) as h5:
        dataset = h5["events/image"]
        np.testing.assert_array_equal(dataset[:], images)
        starts = range(0, len(dataset), dataset.chunks[0])
        return [dataset.id.read_direct_chunk((start, 0, 0))[1][:-4] for start in starts]


def level_5(images, rows=32):
    library = zstandard.ZstdCompressor(level=5)
    parts = [images[start : start + rows] for start in range(0, len(images), rows)]
    return [library.compress(part.tobytes()) for part in parts]


def noisy(walls):
    """Return images with camera noise, the stronger the brighter, as `walls` are."""
    rng = np.random.default_rng(0)
    light = 100 + walls * np.sin(np.arange(80.0) / 6)[:, np.newaxis]
    noise = rng.normal(size=(96, 80, 400)) * (1 + np.maximum(light - 100, 0) / 8)
    return (light + noise).clip(0, 255).astype(np.uint8)


def test_images_with_noise_are_packed_by_codes_and_as_small_as_by_level_5(tmp_path):
    ours, theirs = stored_bytes(tmp_path / "a.h5", noisy(60), 5), level_5(noisy(60))
    assert ours != theirs
    assert sum(map(len, ours)) <= 1.02 * sum(map(len, theirs))


def test_images_in_flickering_light_are_as_small_as_by_level_5(tmp_path):
    light = np.tile([0, 40, 15, 70], 24)[:, np.newaxis, np.newaxis]
    images = (noisy(60) + light).clip(0, 255).astype(np.uint8)
    ours, theirs = stored_bytes(tmp_path / "a.h5", images, 5), level_5(images)
    assert ours != theirs
    assert sum(map(len, ours)) <= 1.02 * sum(map(len, theirs))


def alike():
    """Return images of one textured scene, with a little noise."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (80, 400))
    return (scene + (rng.random((96, 80, 400)) < 0.01)).clip(0, 255).astype(np.uint8)


def test_images_that_are_alike_are_packed_by_the_library(tmp_path):
    assert stored_bytes(tmp_path / "a.h5", alike(), 5) == level_5(alike())


def test_the_first_chunk_decides_for_the_whole_dataset(tmp_path):
    images = np.concatenate([alike()[:32], noisy(60)[:64]])
    assert stored_bytes(tmp_path / "a.h5", images, 5) == level_5(images)


def test_images_of_two_events_of_a_frame_take_the_room_of_one(tmp_path):
    once, twice = noisy(60)[:48], np.repeat(noisy(60)[:48], 2, axis=0)
    assert suitable_packer(twice[:32], len(level_5(twice)[0])) is not None
    sizes = [sum(map(len, stored_bytes(tmp_path / "a.h5", i, 5))) for i in (once, twice)]
    assert sizes[1] < 1.1 * sizes[0]


def test_real_images_and_masks_are_never_much_larger_than_by_level_5(shared_data):
    ours = Counter()
    for path in sorted((shared_data / "recordings").glob("*.rtdc")):
        with h5py.File(path) as h5:
            for name in ("image", "image_bg", "mask"):
                if name in h5["events"] and len(h5["events"][name]):
                    images = h5["events"][name][:32]
                    by_level = len(level_5(images)[0])
                    packer = suitable_packer(images, by_level)
                    packed = pack_chunk(images, 5, checksum=False, packer=packer)
                    assert len(packed) <= (0.9 if name == "mask" else 1.02) * by_level, path.name
                    ours[name] += packer is not None
    assert ours["image"] >= 2
    assert ours["mask"] == 4


def discs(count):
    """Return masks of as many images, each with some discs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :400]
    masks = np.zeros((count, 80, 400), np.uint8)
    for mask in masks:
        for _ in range(9):
            at_y, at_x, radius = rng.uniform(0, (80, 400, 30))
            mask[(y - at_y) ** 2 + (x - at_x) ** 2 < radius**2] = 255
    return masks


def test_masks_are_packed_smaller_once_there_are_many(tmp_path):
    masks = discs(352)
    theirs, ours = level_5(masks), stored_bytes(tmp_path / "a.h5", masks, 5)
    few = sum(1 for one, other in zip(ours, theirs, strict=True) if one == other)
    assert 2 <= few <= 9
    assert ours[:few] == theirs[:few]
    assert sum(map(len, ours[few:])) < 0.9 * sum(map(len, theirs[few:]))


def test_a_resumed_run_packs_masks_as_if_it_had_not_stopped(tmp_path):
    masks = discs(320)
    kwds = {"fletcher32": True, "compression": 32015, "compression_opts": (5,)}
    files = []
    for stop in (0, 32, 288):
        path = tmp_path / f"{stop}.h5"
        with HDF5Writer(path, "w", ds_kwds=kwds) as writer, ThreadPoolExecutor(2) as pool:
            dataset, _ = writer.require_feature("mask", (80, 400), np.dtype(np.uint8))
            for part in (masks[:stop], masks[stop:]):
                packed = PackedDataset(dataset, kwds, pool)
                packed.append(part)
                packed.settle()
            starts = range(0, len(masks), dataset.chunks[0])
            files.append([dataset.id.read_direct_chunk((start, 0, 0))[1] for start in starts])
            np.testing.assert_array_equal(dataset[:], masks)
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("level", [1, 4, 6, 9])
def test_other_levels_are_those_of_the_library(level):
    images = np.random.default_rng(0).integers(90, 110, (32, 80, 400)).astype(np.uint8)
    plain = zstandard.ZstdCompressor(level=level).compress(images.tobytes())
    assert pack_chunk(images, level, checksum=False) == plain


def test_numbers_are_packed_by_the_library():
    numbers = np.random.default_rng(0).normal(size=1000)
    plain = zstandard.ZstdCompressor(level=5).compress(numbers.tobytes())
    assert pack_chunk(numbers, 5, checksum=False) == plain


@pytest.mark.parametrize("first", ["<u2", ">u2", "<f8", "<i8"])
@pytest.mark.parametrize("then", ["|u1", "<u2", "<f4"])
def test_parts_of_other_types_are_stored_as_the_type_of_the_first(tmp_path, first, then):
    parts = [np.arange(6.0).reshape(3, 2).astype(dtype) for dtype in (first, then, first)]
    writer = ChunkWriter(tmp_path / "out.rtdc", deque(("x", part) for part in parts), None)
    writer.start()
    writer.finished_when_queue_empty()
    writer.join(600)
    assert writer.error is None
    with h5py.File(tmp_path / "out.rtdc") as h5:
        assert h5["events/x"].dtype == first
        np.testing.assert_array_equal(h5["events/x"][:], np.concatenate(parts))
