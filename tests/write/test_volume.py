"""Volumes that are made can be written by blocks, side by side, and read by others."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.errors import OptionError, OutputError, OutputExistsError, StorageError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.read.volume_address import Address
from cytovox.write.volume_creation import FORMATS, create_labels, create_volume
from cytovox.write.volume_metadata import VolumePlan

LABELS = np.random.default_rng(3).integers(0, 2**31, (50, 60, 70), dtype=np.uint32)
PLACE: dict[str, Any] = {
    "voxel_size": (40, 4, 4),
    "offset": (400, 40, 4),
    "units": "nanometer",
}


def boxes(shape: tuple[int, ...], block: tuple[int, ...]) -> list[tuple[tuple[int, int], ...]]:
    return [
        tuple((i * b, min(i * b + b, n)) for i, b, n in zip(at, block, shape, strict=True))
        for at in np.ndindex(*(-(-n // b) for n, b in zip(shape, block, strict=True)))
    ]


def fill(url: Path, block: tuple[int, ...], **kwargs: Any) -> None:
    with create_labels(url, shape=LABELS.shape, block=block, **PLACE, **kwargs) as volume:
        for box in boxes(LABELS.shape, block):
            volume.write(box, LABELS[tuple(slice(*b) for b in box)])


def python_reads(url: Path, form: str) -> np.ndarray:
    """Read with a library that did not write."""
    if form == "precomputed":
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{url}/"},
        }
        read = ts.open(spec).result()[..., 0].read().result()
        return np.asarray(read).transpose()
    return np.asarray(zarr.open_array(url if form == "zarr2" else url / "0", mode="r")[:])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("block", [(32, 32, 32), (25, 60, 100), (17, 80, 48)])
def test_round_trip(tmp_path: Path, form: str, block: tuple[int, ...]) -> None:
    fill(tmp_path / "a", block, format=form)
    with open_volume(tmp_path / "a") as volume:
        assert volume.format == form
        assert volume.dtype == np.uint32
        assert volume.voxel_size == (40, 4, 4)
        assert volume.offset == (400, 40, 4)
        assert volume.units == "nanometer"
        np.testing.assert_array_equal(volume[:], LABELS)
        assert all(
            b % u == 0 or b >= n
            for b, u, n in zip(block, volume.write_unit, LABELS.shape, strict=True)
        )
    np.testing.assert_array_equal(python_reads(tmp_path / "a", form), LABELS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 400)), min_size=2, max_size=3),
    st.booleans(),
)
def test_any_block_is_whole_units(sides: list[tuple[int, int]], shards: bool) -> None:
    shape, block = zip(*sides, strict=True)
    sizes = ((1.0,) * len(shape), (0.0,) * len(shape), "", block, None)
    axes = ("z", "y", "x")[-len(shape) :]
    plan = VolumePlan(Address("a"), shape, np.dtype("uint32"), axes, *sizes, labels=True)
    layout = plan.layout(shards=shards)
    for n, b, c, u in zip(shape, block, layout.chunk, layout.unit, strict=True):
        assert u % c == 0
        assert b % u == 0 or b >= n
        assert u < n + c


def test_one_voxel_blocks(tmp_path: Path) -> None:
    with create_labels(tmp_path / "a", shape=(2, 3, 4), block=(1, 1, 1)) as volume:
        for number, at in enumerate(np.ndindex(2, 3, 4)):
            volume.write([(i, i + 1) for i in at], np.full((1, 1, 1), number, np.uint32))
        np.testing.assert_array_equal(volume[:].ravel(), np.arange(24))


def test_unaligned_is_refused_with_what_would_do(tmp_path: Path) -> None:
    with create_labels(tmp_path / "a", shape=(50, 60, 70), block=(32, 32, 32)) as volume:
        data = np.ones((10, 32, 32), np.uint32)
        with pytest.raises(UsageError, match=r"write \(\(0, 32\), \(0, 32\), \(0, 32\)\)"):
            volume.write([(5, 15), (0, 32), (0, 32)], data)
        with pytest.raises(UsageError, match="outside"):
            volume.write([(32, 64), (0, 32), (0, 32)], np.ones((32,) * 3, np.uint32))
        with pytest.raises(UsageError, match="shape"):
            volume.write([(0, 32)] * 3, data)
        with pytest.raises(UsageError, match="uint64 do not fit"):
            volume.write([(0, 32)] * 3, np.ones((32,) * 3, np.uint64))
        assert not volume[:].any()
        # narrower integers and the end of the volume are fine
        volume.write([(32, 50), (32, 60), (64, 70)], np.ones((18, 28, 6), np.uint8))
        assert volume[:].sum() == 18 * 28 * 6
    with open_volume(tmp_path / "a") as volume, pytest.raises(UsageError, match="writable"):
        volume.write([(0, 32)] * 3, np.ones((32,) * 3, np.uint32))


def test_chunks_that_do_not_divide_a_block(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(64, 64, 64\) or \(128, 128, 128\) would do"):
        create_labels(
            tmp_path / "a", shape=(500, 500, 500), block=(100, 100, 100), chunk=(64, 64, 64)
        )
    assert not (tmp_path / "a").exists()
    with pytest.raises(UsageError, match="would do"):
        create_labels(
            tmp_path / "a", shape=(9000, 9000, 9000), block=(4001, 4001, 4001), dtype=np.uint64
        )


def test_existing_things_are_kept(tmp_path: Path) -> None:
    fill(tmp_path / "a", (64, 64, 64))
    with pytest.raises(OutputExistsError, match="overwrite"):
        create_labels(tmp_path / "a", shape=(4, 4))
    with create_labels(tmp_path / "a", shape=(4, 4), overwrite=True) as volume:
        assert volume.shape == (4, 4)
        assert not volume[:].any()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("x")
    for target in (tmp_path / "b", tmp_path / "b" / "thesis.txt"):
        with pytest.raises(OutputExistsError, match="not a volume"):
            create_labels(target, shape=(4, 4), overwrite=True)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize(
    "options",
    [
        {"format": "tiff"},
        {"dtype": "float32"},
        {"dtype": "O"},
        {"shape": (3,)},
        {"shape": (3, 0, 3)},
        {"shape": (2, 3, 4, 5)},
        {"voxel_size": (1, 1)},
        {"voxel_size": (1, 1, 0)},
        {"offset": (1, float("nan"), 0)},
        {"block": (4, 4)},
        {"block": (4, 4, 0)},
        {"format": "precomputed", "dtype": "int64"},
        {"format": "precomputed", "offset": (0.5, 0, 0)},
        {"format": "precomputed", "units": "second"},
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        create_labels(tmp_path / "a", **{"shape": (8, 8, 8), **options})
    with pytest.raises(OptionError):
        create_labels("a.h5:/labels", shape=(8, 8))


@pytest.mark.parametrize(
    "options",
    [
        {"format": "tiff"},
        {"format": "precomputed", "units": "second"},
        {"format": "precomputed", "offset": (0.5, 0, 0)},
        {"block": (4, 4, 0)},
        {"block": (6, 6, 6), "chunk": (4, 4, 4)},
    ],
)
def test_what_is_there_is_kept_if_an_option_is_bad(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with create_labels(tmp_path / "a", shape=(8, 8, 8)) as volume:
        volume.write([(0, 8)] * 3, np.full((8, 8, 8), 7, np.uint32))
    with pytest.raises(UsageError):
        create_labels(tmp_path / "a", shape=(8, 8, 8), overwrite=True, **options)
    with open_volume(tmp_path / "a") as volume:
        assert (volume[:] == 7).all()


def test_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StorageError, OutputError)):
        create_labels(tmp_path / "file" / "a", shape=(8, 8))


@pytest.mark.parametrize("form", ["ome-zarr-0.5", "ome-zarr-0.4", "precomputed"])
def test_channels_of_predictions(tmp_path: Path, form: str) -> None:
    voxels = np.random.default_rng(0).random((3, 20, 30, 40), dtype=np.float32)
    with create_volume(
        tmp_path / "a", shape=voxels.shape, dtype="float32", block=(10, 16, 16), format=form
    ) as volume:
        assert volume.axes == ("c", "z", "y", "x")
        for box in boxes((20, 30, 40), (10, 16, 16)):
            volume.write(box, voxels[(slice(None), *(slice(*b) for b in box))])
    with open_volume(tmp_path / "a") as volume:
        np.testing.assert_array_equal(volume[:], voxels)


WRITER = """
import sys, pickle, numpy as np
volume, rows = pickle.loads(sys.stdin.buffer.read())
for box in rows:
    shape = [b - a for a, b in box]
    value = 1 + box[0][0] * 10000 + box[1][0] * 100 + box[2][0]
    for _ in range(3):
        volume.write(box, np.full(shape, value, np.uint32))
"""


@pytest.mark.parametrize("form", FORMATS)
def test_neighbours_written_by_two_processes(tmp_path: Path, form: str) -> None:
    """Blocks of two writers alternate, so that each has the other's as neighbours."""
    shape, block = (40, 40, 40), (8, 8, 16)
    with create_labels(tmp_path / "a", shape=shape, block=block, format=form) as volume:
        every = boxes(shape, block)
        children = []
        for number in range(2):
            child = subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE)
            assert child.stdin is not None
            child.stdin.write(pickle.dumps((volume, every[number::2])))
            child.stdin.close()
            children.append(child)
        for child in children:
            assert child.wait(600) == 0
        whole = volume[:]
    for box in every:
        part = whole[tuple(slice(*b) for b in box)]
        assert (part == 1 + box[0][0] * 10000 + box[1][0] * 100 + box[2][0]).all(), box


def test_memory_stays_with_the_block(tmp_path: Path) -> None:
    """Reading and writing a block of a volume of 4 GiB takes little more than the block."""
    code = """
import sys, resource, numpy as np
from cytovox.write.volume_creation import create_labels
v = create_labels(sys.argv[1], shape=(1024,) * 3, block=(64, 64, 64))
v.write([(0, 64)] * 3, np.ones((64,) * 3, np.uint32)); v.read([(0, 80)] * 3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for i in range(1, 9):
    v.write([(64 * i, 64 * i + 64)] * 3, np.full((64,) * 3, i, np.uint32))
    assert v.read([(64 * i - 32, 64 * i + 96)] * 3).any()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert float(done.stdout) < 60  # MB; a box read is 8 MB


def test_empty_blocks_take_no_room(tmp_path: Path) -> None:
    with create_labels(tmp_path / "a", shape=(64, 64, 64), block=(32, 32, 32)) as volume:
        volume.write([(0, 32)] * 3, np.ones((32,) * 3, np.uint32))
        volume.write([(0, 32)] * 3, np.zeros((32,) * 3, np.uint32))
        assert not volume[:].any()
    assert [p.name for p in (tmp_path / "a").rglob("*") if p.is_file()].count("zarr.json") == 2


def test_labels_of_an_image_are_entered_there(tmp_path: Path) -> None:
    for version in ("0.5", "0.4"):
        image = tmp_path / f"image-{version}.zarr"
        form = f"ome-zarr-{version}"
        create_volume(image, shape=(32, 32, 32), dtype="u1", format=form).close()
        for name in ("cells", "nuclei", "cells"):
            create_labels(
                image / "labels" / name, shape=(32, 32, 32), format=form, overwrite=True
            ).close()
        group = zarr.open_group(image / "labels", mode="r")
        block: Any = group.attrs["ome"] if version == "0.5" else group.attrs
        assert block["labels"] == ["cells", "nuclei"]
        inner = zarr.open_group(image / "labels" / "cells", mode="r")
        said: Any = inner.attrs["ome"] if version == "0.5" else inner.attrs
        assert said["image-label"]["source"] == {"image": "../../"}
    with pytest.raises(OptionError, match="0.4"):
        create_labels(image / "labels" / "other", shape=(32, 32, 32))


@pytest.mark.parametrize("odd", [{"ome": 3}, {"ome": {"labels": 3}}, {"ome": {"labels": [1]}}])
def test_labels_are_listed_whatever_was_listed(tmp_path: Path, odd: dict[str, Any]) -> None:
    create_volume(tmp_path / "a.zarr", shape=(8, 8, 8), dtype="u1").close()
    zarr.create_group(tmp_path / "a.zarr" / "labels", attributes=odd)
    create_labels(tmp_path / "a.zarr" / "labels" / "cells", shape=(8, 8, 8)).close()
    listed: Any = zarr.open_group(tmp_path / "a.zarr" / "labels", mode="r").attrs["ome"]
    assert listed["labels"] == ["cells"]


def check_ome_05(path: Path) -> dict[str, Any]:
    """Check what version 0.5 of the specification says that must be."""
    document = json.loads((path / "zarr.json").read_text())
    assert document["zarr_format"] == 3
    assert document["node_type"] == "group"
    ome: dict[str, Any] = document["attributes"]["ome"]
    assert ome["version"] == "0.5"
    for image in ome["multiscales"]:
        axes = image["axes"]
        assert 2 <= len(axes) <= 5
        assert len({a["name"] for a in axes}) == len(axes)
        kinds = [a["type"] for a in axes]
        assert kinds == sorted(kinds, key=["time", "channel", "space"].index)
        assert 2 <= kinds.count("space") <= 3
        assert [a["name"] for a in axes][-2:] == ["y", "x"]
        finest = 0.0
        for dataset in image["datasets"]:
            kinds = [t["type"] for t in dataset["coordinateTransformations"]]
            assert kinds in (["scale"], ["scale", "translation"])
            for step in dataset["coordinateTransformations"]:
                assert len(step[step["type"]]) == len(axes)
            size = sum(dataset["coordinateTransformations"][0]["scale"])
            assert size >= finest, "from fine to coarse"
            finest = size
            array = json.loads((path / dataset["path"] / "zarr.json").read_text())
            assert array["dimension_names"] == [a["name"] for a in axes]
            assert len(array["shape"]) == len(axes)
            dtype = array["data_type"]
    if "image-label" in ome:
        assert dtype.lstrip("u").startswith("int")
        for color in ome["image-label"]["colors"]:
            assert isinstance(color["label-value"], int)
            assert len(color["rgba"]) == 4
    return ome


def test_ome_05_says_what_it_must(tmp_path: Path) -> None:
    fill(tmp_path / "a.zarr", (32, 32, 32))
    ome = check_ome_05(tmp_path / "a.zarr")
    assert "image-label" in ome
    assert ome["multiscales"][0]["axes"][0] == {"name": "z", "type": "space", "unit": "nanometer"}
    create_volume(tmp_path / "b.zarr", shape=(2, 1, 8, 8), dtype="f4").close()
    assert "image-label" not in check_ome_05(tmp_path / "b.zarr")


def test_tensorstore_and_zarr_python_take_turns(tmp_path: Path) -> None:
    """Each writes into shards that the other made."""
    fill(tmp_path / "a.zarr", (40, 40, 40), chunk=(20, 20, 20))
    array: Any = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r+")
    assert array.shards == (40, 40, 40)
    assert array.chunks == (20, 20, 20)
    array[:40, :40, :40] = 5
    with open_volume(tmp_path / "a.zarr", writable=True) as volume:
        assert volume.chunk == (20, 20, 20)
        assert (volume[:40, :40, :40] == 5).all()
        volume.write([(0, 40)] * 3, np.full((40,) * 3, 6, np.uint32))
    assert (array[:40, :40, :40] == 6).all()
    np.testing.assert_array_equal(array[40:, 40:, 40:], LABELS[40:, 40:, 40:])
