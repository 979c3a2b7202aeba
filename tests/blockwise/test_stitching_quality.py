"""On real tissue, blocks come close to what the whole at once would have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cytovox.blockwise.blobs_function import blobs
from cytovox.blockwise.volumes import segment_volume
from cytovox.blockwise.watershed_function import watershed
from cytovox.recipe.python_file import load_python_file
from support.volumes import labels_of

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "stitching.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    return load_python_file(BENCHMARK)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("setting", [0, 1, 2])
@pytest.mark.parametrize(("context", "most"), [(16, 0.28), (32, 0.10)])
def test_a_brain_in_blocks_is_near_the_whole(
    shared_data: Path, bench: Any, setting: int, context: int, most: float
) -> None:
    tissue = bench.TISSUES[0]
    image, _ = tissue.load()
    assert image.shape == (192, 192, 192)

    def function(array: np.ndarray) -> np.ndarray:
        return watershed(array, **tissue.settings[setting])

    whole = function(image)
    grid, done = bench.segment(image, tissue.block, context, function)
    overlap = bench.error(whole, bench.stitched(grid, done, "overlap"))
    touch = bench.error(whole, bench.stitched(grid, done, "touch"))
    assert overlap <= most
    assert overlap < touch / 2


@pytest.mark.parametrize("setting", [0, 1])
@pytest.mark.parametrize("context", [16, 32])
def test_a_plant_in_blocks_is_nearly_the_whole(
    shared_data: Path, bench: Any, setting: int, context: int
) -> None:
    tissue = bench.TISSUES[1]
    image, _ = tissue.load()

    def function(array: np.ndarray) -> np.ndarray:
        return watershed(array, **tissue.settings[setting])

    whole = function(image)
    grid, done = bench.segment(image, tissue.block, context, function)
    assert len(grid) == 4
    assert bench.error(whole, bench.stitched(grid, done, "overlap")) <= 0.02
    assert bench.error(whole, bench.stitched(grid, done, "touch")) > 0.5


@pytest.mark.parametrize("context", [3, 40])
def test_one_block_is_the_whole(tmp_path: Path, context: int) -> None:
    """A function sees the end of a volume as such, not a border that was filled in."""
    rng = np.random.default_rng(4)
    image = (200 * ndimage.gaussian_filter(rng.random((20, 30, 25)), 2)).astype(np.float32)
    image -= image.min() - 1
    np.save(tmp_path / "image.npy", image)
    how: dict[str, Any] = {"threshold": float(np.median(image)), "sigma": 1, "seed_distance": 2}
    expected = watershed(image, **how)
    done = segment_volume(
        tmp_path / "image.npy",
        tmp_path / "labels.zarr",
        "watershed",
        block=32,
        context=context,
        parameters=how,
        workers=0,
    )
    assert done.objects == expected.max() > 5
    found = labels_of(done.output)
    np.testing.assert_array_equal(found > 0, expected > 0)
    assert np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1).shape[1] == (
        len(np.unique(expected))
    )
    filled = segment_volume(
        tmp_path / "image.npy",
        tmp_path / "filled.zarr",
        "watershed",
        block=32,
        context=context,
        parameters=how,
        workers=0,
        fill_value=0,
    )
    assert (labels_of(filled.output) != found).any()


def test_votes_count_where_blocks_meet(in_memory: Any) -> None:
    """What two blocks see beyond both of them is not theirs to judge."""
    image = np.zeros((20, 20), np.uint8)
    image[4, 8:12] = 1

    def beyond(array: np.ndarray) -> np.ndarray:
        labels = array.copy()
        labels[14:, :] = 1  # read from -4: below what the upper blocks write
        return labels

    calls = iter([beyond, np.copy, np.copy, np.copy])
    done = in_memory(image, lambda a: next(calls)(a), (10, 10), 4, reach=4)
    assert done.lookup.count == 1
    np.testing.assert_array_equal(done.labels, image)


def shuffled(array: np.ndarray) -> np.ndarray:
    """Labels under other names, which differ from block to block."""
    ids, places = np.unique(array, return_inverse=True)
    rng = np.random.default_rng([int(ids.sum()), array.size])
    names = np.zeros(ids.size, np.uint32)
    names[ids != 0] = rng.permutation(np.count_nonzero(ids)) + 1
    return names[places].reshape(array.shape)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_supervoxels_are_put_together(
    tmp_path: Path, shared_data: Path, same_partition: Callable[..., bool]
) -> None:
    """3051 supervoxels cut into 27 blocks and stitched are those that there were.

    Objects that hang together by faces, edges or corners are found again voxel
    by voxel, and no two are joined. Each of a few supervoxels that are in several
    pieces comes back as so many objects, since nothing leads from piece to piece.
    """
    import tifffile
    from skimage.measure import label

    true = tifffile.imread(shared_data / "volumes" / "fib25_250" / "overseg.tif")
    assert true.shape == (250, 250, 250)
    pieces = label(true, connectivity=3, background=0).astype(np.uint32)
    np.save(tmp_path / "pieces.npy", pieces)
    done = segment_volume(
        tmp_path / "pieces.npy",
        tmp_path / "out.zarr",
        shuffled,
        block=96,
        context=8,
        workers=0,
        objects=False,
    )
    found = labels_of(done.output)
    assert done.objects == pieces.max()
    assert same_partition(found, pieces)
    # Joined again by what the supervoxels were called, it is the original itself.
    names = np.zeros(done.objects + 1, true.dtype)
    names[found] = true
    np.testing.assert_array_equal(names[found], true)


@pytest.mark.parametrize("mode", ["owner", "overlap"])
@pytest.mark.parametrize(("threshold", "count"), [(4.0, 51), (10.0, 50)])
def test_nuclei_are_found_as_in_the_whole(
    mode: Any,
    threshold: float,
    count: int,
    tmp_path: Path,
    shared_data: Path,
    same_partition: Callable[..., bool],
) -> None:
    """Of 51 nuclei, blobs finds 50 or 51, whether or not there are blocks."""
    import tifffile

    folder = shared_data / "volumes" / "stardist3d"
    image = tifffile.imread(folder / "img3d.tif")
    true = tifffile.imread(folder / "mask3d.tif")
    assert np.count_nonzero(np.unique(true)) == 51
    whole = blobs(image, sigma=3, threshold=threshold)
    done = segment_volume(
        folder / "img3d.tif",
        tmp_path / "nuclei.zarr",
        "blobs",
        block=(16, 32, 32),
        context=20,
        stitch=mode,
        parameters={"sigma": 3.0, "threshold": threshold},
        workers=0,
    )
    found = labels_of(done.output)
    assert done.blocks == 8
    assert done.objects == whole.max() == count
    assert same_partition(found, whole)
    # Nearly all of them are nuclei of their own: most of a nucleus lies in each.
    kept = (found > 0) & (true > 0)
    pairs, common = np.unique(np.stack([true[kept], found[kept]]), axis=1, return_counts=True)
    sizes = np.bincount(true[true > 0])
    mostly = np.unique(pairs[0][common > 0.5 * sizes[pairs[0]]])
    alone = np.unique(pairs[1][common > 0.5 * sizes[pairs[0]]])
    assert min(mostly.size, alone.size) >= 45
