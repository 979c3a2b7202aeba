"""Stored chunks are unpacked once, and asked for once, however a dataset is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, chunks, filters, opening
from cytovox.read.cache import HDF5ImageCache
from cytovox.read.dataset import checked, read_lines
from cytovox.read.mapped import MappedHDF5Dataset
from cytovox.read.open_volume import open_volume
from cytovox.write import HDF5Writer, copy_features, copy_metadata

IMAGES = np.random.default_rng(0).integers(0, 200, (40, 12, 10), np.uint8)
#: Eight chunks of images.
CHUNKS = (5, 12, 10)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[h5py.File]:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as h5:
        kwds: dict[str, Any] = {"compression": "gzip", "shuffle": True}
        h5.create_dataset("events/image", data=IMAGES, chunks=CHUNKS, **kwds)
        h5.create_dataset("events/time", data=np.arange(40.0), chunks=(5,), **kwds)
        lines = np.array([f"line {number}" for number in range(40)], "S10")
        h5.create_dataset("logs/l", data=lines, chunks=(5,), **kwds)
        table = np.zeros(40, [("a", "f8"), ("b", "i4")])
        table["b"] = np.arange(40)
        h5.create_dataset("tables/t", data=table, chunks=(5,), **kwds)
        h5.create_dataset("volume", data=IMAGES, chunks=(5, 6, 5), **kwds)
    with h5py.File(path) as h5:
        yield h5


class Counts:
    """How often chunks were unpacked, here and by HDF5, and how many were listed."""

    def __init__(self) -> None:
        self.here = self.hdf5 = self.lists = self.listed = 0


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    found = Counts()

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            setattr(found, name, getattr(found, name) + 1)
            return function(*args, **kwargs)

        return counted

    def listing(dataset: h5py.h5d.DatasetID) -> list[Any]:
        infos = original(dataset)
        found.lists += 1
        found.listed += len(infos)
        return infos

    original = chunks.chunk_infos
    for module in (chunks, opening):
        monkeypatch.setattr(module, "chunk_infos", listing)
    monkeypatch.setattr(filters, "_unpacked", count("here", filters._unpacked))
    for name in ("__getitem__", "read_direct"):
        monkeypatch.setattr(h5py.Dataset, name, count("hdf5", getattr(h5py.Dataset, name)))
    return found


INDICES = [
    slice(None),
    (),
    Ellipsis,
    slice(3, 17),
    slice(17, 3),
    slice(-4, None),
    slice(2, 39, 9),
    7,
    -1,
    np.int64(12),
    (slice(None), 3),
    (7, slice(2, 9, 3), 4),
    (3, 4, 5),
    (Ellipsis, slice(1, 4)),
    (slice(4, 21, 8), slice(2, 5), -1),
    [0, 3, 4, 22, 39],
    np.array([8, 30], np.uint32),
    np.arange(40) % 7 == 2,
    np.zeros(40, bool),
    ([1, 20], slice(2, 4), 3),
]


@pytest.mark.parametrize("index", INDICES, ids=lambda one: " ".join(str(one).split())[:30])
@pytest.mark.parametrize("name", ["events/image", "volume"])
def test_any_index_unpacks_each_chunk_once(
    stored: h5py.File, counts: Counts, name: str, index: Any
) -> None:
    dataset = checked(stored[name])
    read = dataset[index]
    assert counts.here <= (8 if name == "events/image" else 32)
    assert (counts.hdf5, counts.lists) == (0, int(counts.here > 0))
    expected = IMAGES[index]
    assert type(read) is type(expected)
    np.testing.assert_array_equal(read, expected)
    if isinstance(index, int):
        assert counts.here == (1 if name == "events/image" else 4)


@pytest.mark.parametrize("index", [40, -41, [3, 2], [40], [-1, 2], [True], "a", (0, 0, 0, 0), 1.5])
def test_what_h5py_refuses_is_refused(stored: h5py.File, index: Any) -> None:
    plain = stored["events/image"]
    with pytest.raises(Exception) as expected:  # noqa: PT011  whatever h5py raises
        plain[index]
    with pytest.raises(expected.type):
        checked(plain)[index]


def test_arrays_are_filled_here(stored: h5py.File, counts: Counts) -> None:
    dataset = checked(stored["volume"])
    np.testing.assert_array_equal(np.asarray(dataset), IMAGES)
    out = np.zeros((3, 12, 2), np.uint8)
    dataset.read_direct(out, np.s_[4:7, :, 5:7])
    np.testing.assert_array_equal(out, IMAGES[4:7, :, 5:7])
    assert counts.hdf5 == 0
    wide = np.zeros((3, 12, 2))
    dataset.read_direct(wide, np.s_[4:7, :, 5:7])
    np.testing.assert_array_equal(wide, out)
    assert (counts.hdf5, counts.lists) == (1, 1)


def test_texts_and_tables(stored: h5py.File, counts: Counts, tmp_path: Path) -> None:
    assert read_lines(stored["logs/l"])[-1] == "line 39"
    assert (counts.here, counts.hdf5, counts.lists) == (8, 0, 1)
    with h5py.File(tmp_path / "out.h5", "w") as target:
        copy_metadata(stored, target)
        assert counts.here == 8 + 16
        assert counts.lists == 1 + 2
        assert target["tables/t"]["b"].tolist() == list(range(40))


def test_rows_in_any_order_and_images(stored: h5py.File, counts: Counts) -> None:
    rows = np.array([39, 3, 3, 17, 0])
    mapped = MappedHDF5Dataset(stored["events/image"], rows)
    images = HDF5ImageCache(mapped, chunk_size=2)
    for row, number in enumerate(rows):
        np.testing.assert_array_equal(mapped[row], IMAGES[number])
        np.testing.assert_array_equal(images[row], IMAGES[number])
    np.testing.assert_array_equal(mapped[:], IMAGES[rows])
    plain = HDF5ImageCache(stored["events/image"], chunk_size=2)
    np.testing.assert_array_equal(np.stack(list(plain)), IMAGES)
    assert (counts.hdf5, counts.lists) == (0, 2)


def test_volumes(stored: h5py.File, counts: Counts) -> None:
    with open_volume(f"{stored.filename}:/volume") as volume:
        counts.here = counts.hdf5 = counts.lists = 0
        np.testing.assert_array_equal(volume[:], IMAGES)
        assert (counts.here, counts.hdf5, counts.lists) == (8 * 4, 0, 1)
        counts.here = 0
        np.testing.assert_array_equal(volume[6:9, 2:5, 1:3], IMAGES[6:9, 2:5, 1:3])
        assert (counts.here, counts.hdf5, counts.lists) == (1, 0, 1)


def test_many_chunks_are_listed_a_few_times_however_often_they_are_read(
    make_recording: Callable[..., Path], counts: Counts, tmp_path: Path
) -> None:
    """HDF5 goes through all chunks to list them, so that once a read would be their square."""
    number = 1000
    path = make_recording(time=None)
    with h5py.File(path, "a") as h5:
        frames = len(h5["events/image"])
        for name in ("image", "time"):
            shape = h5[f"events/{name}"].shape[1:] if name in h5["events"] else ()
            if name in h5["events"]:
                del h5[f"events/{name}"]
            data = np.zeros((frames, *shape), np.uint8 if shape else float)
            h5.create_dataset(f"events/{name}", data=data, chunks=(1, *shape), compression="gzip")
        h5.create_dataset(
            "basin_events/many", data=np.arange(number), chunks=(1,), compression="lzf"
        )
    with h5py.File(path) as h5:
        dataset = checked(h5["basin_events/many"])
        counts.lists = counts.listed = 0
        assert [int(dataset[row]) for row in range(number)] == list(range(number))
        assert (counts.lists, counts.listed) == (1, number)
        mapped = MappedHDF5Dataset(h5["basin_events/many"], np.arange(number)[::-1])
        assert [int(mapped[row]) for row in range(number)] == list(range(number))[::-1]
        assert (counts.lists, counts.listed) == (2, 2 * number)
        with h5py.File(tmp_path / "copy.h5", "w") as target:
            HDF5Writer(target).store_rows("many", h5["basin_events/many"])
            assert (counts.lists, counts.listed) == (3, 3 * number)
            copy_features(h5, target, ["image", "time"])
        assert counts.listed <= 3 * number + 3 * 2 * frames
    counts.lists = counts.listed = 0
    with HDF5Data(path) as data:
        for row in range(frames):
            assert data.image[row].shape
            assert data.locate("time")[row] == 0
    # when the file is opened, and when it is read
    assert counts.listed <= 2 * (number + 2 * frames)
    counts.lists = counts.listed = 0
    assert not verify_recording(path).errors
    assert counts.listed <= 2 * (number + 3 * frames)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 17, 1000, 5_000_000])
def test_bytes_are_put_back_in_order_whatever_the_width(width: int) -> None:
    """A file can claim any; there must be no work for each byte of a number."""
    data = np.random.default_rng(0).integers(0, 256, 10_000_003, np.uint8)
    whole = len(data) // width * width
    sorted_ = np.concatenate([data[:whole].reshape(-1, width).T.ravel(), data[whole:]])
    pipeline = filters.Pipeline(((2, (width,)),), len(data))
    np.testing.assert_array_equal(pipeline.unpack(sorted_.tobytes()), data)
