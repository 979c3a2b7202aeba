"""A stored chunk that unpacks to anything but a chunk is refused, and never shows memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import zstandard

from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, Permissions, RefusedInputError
from cytovox.read.dataset import checked, read_checked
from support.hostile_recordings import FRAMES, SHAPE, plain_recording

CONTENT = 5 * SHAPE[0] * SHAPE[1]
SHORT = bytes(range(100))
NOISE = np.random.default_rng(0).integers(0, 256, CONTENT, np.uint8).tobytes()
CASES = {
    "shuffle": ([(2, (1,))], SHORT, 0),
    "plain bitshuffle": ([(32008, ())], SHORT, 0),
    "gzip of little": ([(1, (1,))], zlib.compress(SHORT), 0),
    "gzip of much": ([(1, (1,))], zlib.compress(bytes(CONTENT + 1)), 0),
    "gzip cut short": ([(1, (1,))], zlib.compress(bytes(CONTENT))[:-6], 0),
    "gzip left out": ([(1, (1,))], SHORT, 1),
    "zstd left out": ([(32015, (3,))], SHORT, 1),
    "zstd cut short": ([(32015, (3,))], zstandard.compress(NOISE)[:-1], 0),
    "zstd without all of its checksum": (
        [(32015, (3,))], zstandard.ZstdCompressor(write_checksum=True).compress(NOISE)[:-1], 0
    ),
    "lz4 without its block": (
        [(32004, (0,))], CONTENT.to_bytes(8, "big") + 2 * CONTENT.to_bytes(4, "big"), 0
    ),
    "blosc that ends later": (
        [(32001, (2, 2, 1, CONTENT, 5, 0, 1))],
        bytes((2, 1, 2, 1))
        + b"".join(n.to_bytes(4, "little") for n in (CONTENT, CONTENT, CONTENT + 16)),
        0,
    ),
}  # fmt: skip


def stored(path: Path, filters, data: bytes, mask: int) -> Path:
    """Write a recording whose chunks of images are given bytes."""
    plain_recording(path)
    with h5py.File(path, "a", libver="latest") as h5:
        del h5["events/image"]
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((5, *SHAPE))
        for number, values in filters:
            made.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
        space = h5py.h5s.create_simple((FRAMES, *SHAPE))
        image = h5py.h5d.create(h5["events"].id, b"image", h5py.h5t.NATIVE_UINT8, space, made)
        for start in range(0, FRAMES, 5):
            image.write_direct_chunk((start, 0, 0), data, mask)
    return path


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_by_readers_and_found_by_verify(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path / "a.rtdc", *CASES[name])
    with HDF5Data(path) as data:
        for read in (lambda: data.image[:], lambda: data.locate("image")[3, 2:4]):
            with pytest.raises(RefusedInputError, match="a chunk of 'image'"):
                read()
    found = verify_recording(path)
    assert any("chunk at" in error.where for error in found.errors), found.findings


@pytest.mark.parametrize("compression", ["lzf", "gzip", "szip"])
@pytest.mark.parametrize("more", [{}, {"shuffle": True}, {"fletcher32": True}])
def test_large_chunks_are_read(tmp_path: Path, compression: str, more) -> None:
    """Also those of filters that do not say what they unpack to."""
    if not h5py.h5z.filter_avail({"szip": 4, "gzip": 1, "lzf": 32000}[compression]):
        pytest.skip(f"HDF5 has no {compression} here")
    path = plain_recording(tmp_path / "a.rtdc")
    image = np.random.default_rng(0).integers(0, 200, (FRAMES, 96, 128), np.uint8)
    with h5py.File(path, "a") as h5:
        del h5["events/image"]
        h5.create_dataset(
            "events/image", data=image, chunks=image.shape, compression=compression, **more
        )
    with HDF5Data(path) as data:
        np.testing.assert_array_equal(data.image[:], image)
        np.testing.assert_array_equal(data.locate("image")[7, 3:9], image[7, 3:9])
    assert not verify_recording(path).errors


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}, hdf5plugin.Zstd(3)])
def test_texts_of_any_length_are_read(tmp_path: Path, filters) -> None:
    path = plain_recording(tmp_path / "a.rtdc")
    with h5py.File(path, "a") as h5:
        kind = h5py.string_dtype()
        h5.create_dataset("logs/b", data=["one", "three"], dtype=kind, chunks=(10,),
                          maxshape=(None,), **filters)  # fmt: skip
    with HDF5Data(path) as data:
        assert data.logs["b"] == ["one", "three"]
    assert not verify_recording(path).errors


def test_a_permission_ends_with_its_reader(make_recording: Callable[..., Path]) -> None:
    path = make_recording(time=None)
    with h5py.File(path, "a") as h5:
        options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        options.set_chunk((23,))
        options.set_deflate(4)
        options.set_filter(h5py.h5z.FILTER_LZF)  # packed twice, which only a permission reads
        space = h5py.h5s.create_simple((23,))
        made = h5py.h5d.create(
            h5["events"].id, b"time", h5py.h5t.NATIVE_DOUBLE, space, dcpl=options
        )
        h5py.Dataset(made)[:] = np.arange(23)
    with HDF5Data(path, permissions=Permissions(oversized=True)) as data:
        assert data["time"].tolist() == list(range(23))
        with pytest.raises(RefusedInputError, match="packed twice"), HDF5Data(path) as other:
            other.check()
        with h5py.File(path) as h5, pytest.raises(RefusedInputError, match="packed twice"):
            read_checked(h5["events/time"])
    with pytest.raises(RefusedInputError, match="packed twice"), HDF5Data(path) as other:
        other.check()


@pytest.mark.parametrize("filters", [{"compression": "gzip"}, hdf5plugin.Zstd(3)])
def test_only_the_chunks_that_are_asked_for_are_looked_at(tmp_path: Path, filters) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, *SHAPE), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        made = h5.create_dataset("image", data=image, chunks=(5, *SHAPE), **filters)
        made.id.write_direct_chunk((10, 0, 0), b"nothing that a filter wrote")
    with h5py.File(tmp_path / "a.h5", "r") as h5:
        for index in (
            np.s_[:10], np.s_[2], np.s_[0:9:4], np.s_[[1, 3, 8]], np.s_[:3, ...],
            np.s_[-1], np.s_[15:, 3], np.s_[np.arange(20) < 4], np.s_[4:4],
        ):  # fmt: skip
            np.testing.assert_array_equal(checked(h5["image"])[index], image[index])
        for index in (
            np.s_[:], np.s_[12], np.s_[0:20:4], np.s_[[1, 11]], np.s_[..., :2], np.s_[:, [0, 2]],
            np.s_[np.arange(20) > 12],
        ):  # fmt: skip
            with pytest.raises(RefusedInputError, match="a chunk of 'image'"):
                checked(h5["image"])[index]


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}, {"shuffle": True}])
def test_of_a_dataset_that_claims_many_chunks_those_in_the_file_are_looked_at(
    tmp_path: Path, filters
) -> None:
    with h5py.File(tmp_path / "a.rtdc", "w") as h5:
        h5.create_dataset("few", (2**40, 3), "u1", chunks=(100, 3), **filters)[250:350] = 5
        dataset = checked(h5["few"], Permissions(oversized=True))
        dataset.check()
        assert dataset[249:251, 0].tolist() == [0, 5]
    if filters:
        with h5py.File(tmp_path / "a.rtdc", "r+") as h5:
            h5["few"].id.write_direct_chunk((300, 0), b"short", 0)
        with (
            h5py.File(tmp_path / "a.rtdc") as h5,
            pytest.raises(RefusedInputError, match="a chunk of 'few'"),
        ):
            checked(h5["few"], Permissions(oversized=True)).check()
