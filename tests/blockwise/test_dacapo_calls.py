"""Calls and files in the style of dacapo's own: arrays by identifier, workers as programs."""

from __future__ import annotations

import concurrent.futures
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from scipy import ndimage

from cytovox.blockwise import run_blockwise, segment_blockwise
from cytovox.blockwise.block_array import BlockArray
from cytovox.errors import StageError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.recipe.python_file import load_python_file
from cytovox.run.fingerprint import plain
from cytovox.write.volume_creation import create_volume

SHAPE = (12, 20, 28)
VOXEL = (8, 4, 4)
OFFSET = (16, 40, 0)


class Identifier:
    """Names an array, as dacapo's does: by the container and its name there."""

    def __init__(self, container: Path, dataset: str) -> None:
        self.container = container
        self.dataset = dataset


@dataclass
class World:
    """A container with arrays, and the regions of a run over them."""

    container: Path
    image: np.ndarray

    total = Roi(OFFSET, Coordinate(SHAPE) * Coordinate(VOXEL))
    block = Roi((0, 0, 0), Coordinate((6, 8, 8)) * Coordinate(VOXEL))

    def make(
        self, dataset: str, dtype: str, voxels: np.ndarray | None = None, channels: int = 0
    ) -> Identifier:
        shape = (channels, *SHAPE) if channels else SHAPE
        how: dict[str, Any] = {"voxel_size": VOXEL, "offset": OFFSET, "units": "nm"}
        how |= {"block": (6, 8, 8), "format": "zarr2"}
        with create_volume(self.container / dataset, shape=shape, dtype=dtype, **how) as volume:
            if voxels is not None:
                whole = tuple((0, n) for n in shape)
                volume.write(whole, voxels.astype(dtype))
        return Identifier(self.container, dataset)

    def read(self, dataset: str) -> np.ndarray:
        with open_volume(self.container / dataset) as volume:
            return volume[...]


@pytest.fixture
def world(tmp_path: Path) -> World:
    noise = ndimage.gaussian_filter(np.random.default_rng(3).random(SHAPE), 1.5)
    image = np.rint((noise - noise.min()) / np.ptp(noise) * 250)
    return World(tmp_path / "cells.zarr", image)


# A worker file as dacapo's argmax and threshold: a loop here, or a program that is started.
WORKER = """
import argparse
import subprocess
import sys
from pathlib import Path

import daisy
import numpy as np

from cytovox import open_volume

read_write_conflict = False
fit = "shrink"
path = __file__


def start_worker(input_container, input_dataset, output_container, output_dataset, return_io_loop):
    source = open_volume(f"{input_container}/{input_dataset}")
    target = open_volume(f"{output_container}/{output_dataset}", writable=True)

    def io_loop():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                target.write(block.write_roi, %s)

    if return_io_loop:
        return io_loop
    io_loop()


def spawn_worker(input_array_identifier, output_array_identifier, program=False):
    names = [str(input_array_identifier.container), input_array_identifier.dataset]
    names += [str(output_array_identifier.container), output_array_identifier.dataset]
    if not program:
        return start_worker(*names, return_io_loop=True)
    command = [sys.executable, path, "start-worker", *names]

    def run_worker():
        subprocess.run(command)  # what it returns, nobody looks at

    return run_worker


if __name__ == "__main__":
    start_worker(*sys.argv[2:], return_io_loop=False)
"""
ARGMAX = "np.argmax(source[block.write_roi], axis=source.axes.index('c')).astype('u1')"
THRESHOLD = "(source[block.write_roi] > 100).astype('u1')"


def worker_file(folder: Path, name: str, computed: str) -> Path:
    file = folder / f"{name}_worker.py"
    file.write_text(WORKER % computed)
    return file


@pytest.mark.parametrize(("workers", "program"), [(0, False), (2, False), (2, True)])
def test_an_argmax_worker(tmp_path: Path, world: World, workers: int, program: bool) -> None:
    channels = np.stack([world.image, 250 - world.image, np.full(SHAPE, 126)])
    result = run_blockwise(
        worker_file=str(worker_file(tmp_path, "argmax", ARGMAX)),
        total_roi=world.total,
        read_roi=world.block,
        write_roi=world.block,
        num_workers=workers,
        max_retries=2,
        timeout=None,
        input_array_identifier=world.make("scores", "u1", channels, 3),
        output_array_identifier=world.make("largest", "u1"),
        program=program,
    )
    assert result
    np.testing.assert_array_equal(world.read("largest"), channels.argmax(axis=0))


def test_a_program_needs_a_worker_and_the_run_says_so(tmp_path: Path, world: World) -> None:
    file = worker_file(tmp_path, "threshold", THRESHOLD)
    arrays = {
        "input_array_identifier": world.make("raw", "u1", world.image),
        "output_array_identifier": world.make("mask", "u1"),
    }
    rois = (world.total, world.block, world.block)
    with pytest.raises(StageError, match="without asking for a block.*num_workers=1"):
        run_blockwise(file, *rois, num_workers=0, program=True, **arrays)
    assert run_blockwise(file, *rois, num_workers=1, program=True, **arrays)
    np.testing.assert_array_equal(world.read("mask"), world.image > 100)


@pytest.mark.parametrize("name", ["threshold", "argmax"])
def test_the_files_that_ship_take_identifiers(world: World, name: str) -> None:
    channels = np.stack([world.image, 250 - world.image])
    shipped = Path(run_blockwise.__code__.co_filename).with_name(f"{name}_worker.py")
    scores = world.make("scores", "u1", channels, 2)
    raw = world.make("raw", "u1", world.image)
    more = {"threshold": 100} if name == "threshold" else {}
    assert run_blockwise(
        shipped, world.total, world.block, world.block, 0,
        input_array_identifier=raw if more else scores,
        output_array_identifier=world.make("made", "u1"), **more,
    )  # fmt: skip
    expected = world.image > 100 if more else channels.argmax(axis=0)
    np.testing.assert_array_equal(world.read("made"), expected)


# Segment functions as dacapo's: they take what they need of the array, by region.
SEGMENT = """
import numpy as np
from scipy import ndimage

default_parameters = {"level": 90}


def segment_function(input_array, block, level):
    voxels = %s
    assert voxels.shape == tuple(s // v for s, v in zip(block.read_roi.shape, (8, 4, 4)))
    return ndimage.label(voxels > level)[0].astype(np.uint64)
"""


@pytest.mark.parametrize(("voxels", "workers"), [
    ("input_array[block.read_roi]", 0),
    ("input_array.to_ndarray(block.read_roi)", 0),
    ("input_array.to_ndarray(roi=block.read_roi, fill_value=0)", 1),
    ("np.asarray(input_array)", 0),
])  # fmt: skip
def test_a_segment_function_asks_for_regions(
    tmp_path: Path, world: World, same_partition: Any, voxels: str, workers: int
) -> None:
    file = tmp_path / "bright_function.py"
    file.write_text(SEGMENT % voxels)
    context = Coordinate((16, 8, 8))
    result = segment_blockwise(
        segment_function_file=str(file),
        context=context,
        total_roi=world.total,
        read_roi=world.block.grow(context, context),  # it has the context already
        write_roi=world.block,
        num_workers=workers,
        max_retries=2,
        timeout=None,
        input_array_identifier=world.make("raw", "u1", world.image),
        output_array_identifier=world.make("labels", "uint64"),
        parameters={"level": 100, "context": context},
        stitch="touch",
        keep_tmpdir=True,
    )
    assert result, result.failed
    expected, count = ndimage.label(world.image > 100)
    assert result.objects == count
    labels = world.read("labels")
    assert labels.dtype == np.uint64  # the array that was there
    assert same_partition(labels, expected)


def test_labels_of_a_part_leave_the_rest_of_the_array(
    tmp_path: Path, world: World, same_partition: Any
) -> None:
    file = tmp_path / "bright_function.py"
    file.write_text(SEGMENT % "input_array[block.read_roi]")
    part = Roi((24, 48, 8), (64, 40, 60))  # cuts chunks of the output
    before = np.full(SHAPE, 77)
    output = world.make("labels", "uint64", before)
    how: dict[str, Any] = {
        "input_array_identifier": world.make("raw", "u1", world.image),
        "num_workers": 0,
        "stitch": "touch",
    }
    for _ in range(2):  # the second time there is an array with labels
        assert segment_blockwise(
            file, None, part, world.block, world.block, output_array_identifier=output, **how
        )
    labels = world.read("labels")
    box = np.s_[1:9, 2:12, 2:17]
    assert same_partition(labels[box], ndimage.label(world.image[box] > 90)[0])
    labels[box] = 77
    np.testing.assert_array_equal(labels, before)
    with pytest.raises(UsageError, match="cannot hold the labels"):
        segment_blockwise(
            file, None, part, world.block, world.block,
            output_array_identifier=world.make("wrong", "float32"), **how,
        )  # fmt: skip


WATERSHED = """
import mwatershed
import numpy as np


def segment_function(input_array, block, offsets, bias):
    affinities = input_array[block.read_roi][: len(offsets)].astype(np.float64) / 255
    labels = mwatershed.agglom(affinities - bias, offsets)
    mean = affinities.mean(axis=0)
    weak = [i for i in np.unique(labels) if mean[labels == i].mean() < bias]
    labels[np.isin(labels, weak)] = 0
    return labels
"""


def test_a_watershed_function(tmp_path: Path, world: World, same_partition: Any) -> None:
    pytest.importorskip("mwatershed")
    inside = np.ones(SHAPE, bool)
    inside[:, 9:11], inside[:, :, 13:15] = False, False
    # Nothing reaches out of the volume, where blocks see zeros.
    inside[-1:], inside[:, -1:], inside[:, :, -1:] = False, False, False
    affinities = np.stack([np.where(inside, 250, 100)] * 3)
    file = tmp_path / "watershed_function.py"
    file.write_text(WATERSHED)
    raw = world.make("affinities", "u1", affinities, 3)
    parameters = {"offsets": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "bias": 0.5}
    assert segment_blockwise(
        file, Coordinate((16, 16, 16)), world.total, world.block, world.block, num_workers=0,
        input_array_identifier=raw, parameters=parameters,
        output_array_identifier=Identifier(world.container, "cells"),
    )  # fmt: skip
    with open_volume(raw.container / "affinities") as volume:
        whole = SimpleNamespace(read_roi=volume.roi)
        expected = load_python_file(file).segment_function(volume, whole, **parameters)
    assert len(np.unique(expected)) > 4
    with open_volume(world.container / "cells") as volume:  # there was none, so it is made
        assert volume.format == "ome-zarr-0.5"
        assert same_partition(volume[...], expected)


def test_an_array_is_named_once(world: World) -> None:
    rois = (world.total, world.block, world.block)
    with pytest.raises(UsageError, match="the output is given not at all"):
        segment_blockwise("label", None, *rois, input="a.zarr")
    with pytest.raises(UsageError, match="the input is given twice"):
        segment_blockwise(
            "label", None, *rois, input="a.zarr", output="b.zarr",
            input_array_identifier=Identifier(world.container, "raw"),
        )  # fmt: skip
    # What names an array is told by what it says, not by where it is in memory.
    one, other = (plain(Identifier(world.container, "raw")) for _ in range(2))
    assert one == other != plain(Identifier(world.container, "mask"))


def test_an_array_of_a_block_is_an_array(world: World) -> None:
    raw = world.make("raw", "u1", world.image)
    with open_volume(raw.container / "raw", fill_value=9) as volume:
        roi = Roi((32, 48, 8), (16, 8, 12))
        block = BlockArray.of(volume[roi], volume, roi)
        assert block.shape == (2, 2, 3)
        assert type(block[0]) is type(block + 1) is type(block.mean(axis=0)) is np.ndarray
        assert float(block.mean()) == world.image[2:4, 2:4, 2:5].mean()
        np.testing.assert_array_equal(block[...], world.image[2:4, 2:4, 2:5])
        np.testing.assert_array_equal(
            block.astype("f4")[Roi((32, 48, 8), (16, 4, 4))], world.image[2:4, 2:3, 2:3]
        )
        assert block.voxel_size == Coordinate(VOXEL)
        assert block.axis_names == ["z", "y", "x"]
        beyond = Roi((8, 40, 0), (16, 4, 4))  # a voxel before the volume, and its first one
        assert block[beyond].ravel().tolist() == [9, world.image[0, 0, 0]]
        assert block.to_ndarray(beyond, fill_value=3).ravel().tolist() == [3, world.image[0, 0, 0]]
        with pytest.raises(UsageError, match="does not know its region"):
            block.reshape(4, 3)[roi]


LOOP = """
import threading
from pathlib import Path

import daisy

read_write_conflict = False
met = threading.Barrier(2, timeout=60)


def spawn_worker(folder, meet=False):
    def worker():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                if meet:  # both runs are in the middle of a block
                    met.wait()
                number = block.write_roi.begin[0] // 10
                if number == 3:
                    raise ValueError(f"bad in {Path(folder).name}")
                Path(folder, str(number)).touch(exist_ok=False)

    return worker
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_two_runs_in_two_threads_do_not_disturb_each_other(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "loop.py"
    file.write_text(LOOP)
    block = Roi((0,), (10,))
    begin = threading.Barrier(2, timeout=60)

    def run(name: str) -> Any:
        (tmp_path / name).mkdir()
        begin.wait()
        return run_blockwise(
            file, Roi((0,), (80,)), block, block, workers, 0,
            folder=str(tmp_path / name), meet=workers == 0,
        )  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = dict(zip("ab", pool.map(run, "ab"), strict=True))
    for name, result in results.items():
        assert (result.total, result.done) == (8, 7)
        assert [failure.block for failure in result.failed] == [(30,)]
        assert result.failed[0].error == f"ValueError: bad in {name}"
        assert {p.name for p in (tmp_path / name).iterdir()} == set("0124567")


def test_two_segmentations_in_two_threads(
    tmp_path: Path, world: World, same_partition: Any
) -> None:
    file = tmp_path / "bright_function.py"
    file.write_text(SEGMENT % "input_array[block.read_roi]")
    raw = world.make("raw", "u1", world.image)
    begin = threading.Barrier(2, timeout=60)

    def run(level: int) -> Any:
        begin.wait()
        return segment_blockwise(
            file, None, world.total, world.block, world.block, num_workers=0, stitch="touch",
            input_array_identifier=raw, output=tmp_path / f"labels-{level}.zarr",
            parameters={"level": level},
        )  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, (80, 120)))
    for level, result in zip((80, 120), results, strict=True):
        assert result, result.failed
        with open_volume(tmp_path / f"labels-{level}.zarr") as volume:
            assert same_partition(volume[...], ndimage.label(world.image > level)[0])
