"""Labels do not know where the blocks were."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from cytovox.blockwise.evidence import segment_block
from cytovox.blockwise.evidence_file import EvidenceFolder
from cytovox.blockwise.grid import Grid
from cytovox.blockwise.lookup import load_lookup
from cytovox.blockwise.stitch import Stitching, stitch
from cytovox.errors import InputError, OptionError, StageError, StorageError, UsageError
from cytovox.kernels.components import label_components
from cytovox.kernels.relabel import relabel
from support.volumes import components

SLOW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Enough voxels for several blocks, few enough for many examples.
LONGEST = {1: 40, 2: 13, 3: 7, 4: 4}


@st.composite
def geometries(draw: st.DrawFn, ndims: tuple[int, ...] = (2, 3)) -> dict[str, Any]:
    """A volume, blocks of any size, context of any size, a connectivity, an order."""
    ndim = draw(st.sampled_from(ndims))
    longest = LONGEST[ndim]

    def sizes(low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
        return st.tuples(*[st.integers(low, high)] * ndim)

    return {
        "shape": draw(sizes(1, longest)),
        "block": draw(st.one_of(st.just((1,) * ndim), sizes(1, longest + 2))),
        "context": draw(sizes(1, 5)),
        "rank": draw(st.integers(1, ndim)),
        "seed": draw(st.integers(0, 2**16)),
    }


def noise(geometry: dict[str, Any]) -> np.ndarray:
    return np.random.default_rng(geometry["seed"]).random(geometry["shape"]) < 0.3


def shuffled_order(geometry: dict[str, Any]) -> list[int]:
    grid = Grid(geometry["shape"], geometry["block"], geometry["context"])
    return np.random.default_rng(geometry["seed"] + 1).permutation(len(grid)).tolist()


def renaming(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that gives what it sees other ids, each time others."""
    rng = np.random.default_rng(seed)

    def rename(labels: np.ndarray) -> np.ndarray:
        ids = np.unique(labels[labels > 0])
        names = rng.choice(2**40, len(ids), replace=False) + 1
        lut = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
        lut[ids] = names
        return lut[labels]

    return rename


@SLOW
@given(geometry=geometries((1, 2, 3, 4)))
def test_touch_equals_the_whole(geometry: Any, in_memory: Any, same_partition: Any) -> None:
    mask = noise(geometry)
    rank = geometry["rank"]
    expected, count = components(mask, rank)
    plain = {"block": geometry["block"], "mode": "touch", "connectivity": rank}
    done = in_memory(mask, lambda a: a, context=geometry["context"], **plain)
    assert same_partition(done.labels, expected)
    assert done.lookup.count == count
    assert sorted(np.unique(done.labels[done.labels > 0])) == list(range(1, count + 1))
    # Neither the order nor the context nor a second attempt changes a single id.
    other = in_memory(mask, lambda a: a, order=shuffled_order(geometry), **plain)
    np.testing.assert_array_equal(other.labels, done.labels)


@SLOW
@given(geometry=geometries())
def test_overlap_puts_a_truth_together(geometry: Any, in_memory: Any, same_partition: Any) -> None:
    truth, count = components(noise(geometry), geometry["rank"])
    done = in_memory(
        truth,
        renaming(geometry["seed"]),
        geometry["block"],
        geometry["context"],
        order=shuffled_order(geometry),
    )
    assert same_partition(done.labels, truth)
    assert done.lookup.count == count
    assert same_partition(done.again("overlap", rule="mutual", threshold=0.9).labels, truth)


@SLOW
@given(geometry=geometries())
def test_none_never_joins(geometry: Any, in_memory: Any) -> None:
    mask = noise(geometry)
    done = in_memory(mask, lambda a: a, geometry["block"], mode="none")
    labels = done.labels
    np.testing.assert_array_equal(labels > 0, mask)
    ids = [
        set(np.unique(labels[tuple(slice(*pair) for pair in block.write)])) - {0}
        for block in done.grid
    ]
    assert all(not a & b for a, b in itertools.combinations(ids, 2))
    assert sum(map(len, ids)) == done.lookup.count


@SLOW
@given(geometry=geometries())
def test_a_mirrored_volume_differs_in_names_only(
    geometry: Any, in_memory: Any, same_partition: Any
) -> None:
    """Blocks fit into the volume here, so that the mirror image has the same seams."""
    shape = tuple(2 * block for block in geometry["block"])
    smooth = ndi.uniform_filter(np.random.default_rng(geometry["seed"]).random(shape), 3)
    mask = smooth > 0.5
    for mode in ("touch", "overlap"):
        how = {"block": geometry["block"], "context": geometry["context"], "mode": mode}
        straight = in_memory(mask, lambda a: a, connectivity=geometry["rank"], **how)
        mirrored = in_memory(np.flip(mask), lambda a: a, connectivity=geometry["rank"], **how)
        assert same_partition(straight.labels, np.flip(mirrored.labels))


def balls(shape: tuple[int, ...], radius: float, spacing: int, seed: int) -> np.ndarray:
    """Balls that nearly touch, each with its own label."""
    rng = np.random.default_rng(seed)
    corner = [range(spacing // 2, size - spacing // 2 + 1, spacing) for size in shape]
    labels = np.zeros(shape, np.int32)
    places = np.indices(shape)
    for number, centre in enumerate(itertools.product(*corner), 1):
        at = np.array(centre) + rng.uniform(-0.5, 0.5, len(shape))
        distance = sum((p - a) ** 2 for p, a in zip(places, at, strict=True))
        labels[distance < radius**2] = number
    return labels


@pytest.mark.parametrize("shape", [(60, 70), (30, 34, 38)])
@pytest.mark.parametrize("block", [7, 16, 99])
@pytest.mark.parametrize("mode", ["owner", "overlap"])
def test_compact_objects_are_found_once(
    shape: tuple[int, ...], block: int, mode: str, in_memory: Any, same_partition: Any
) -> None:
    truth = balls(shape, 4.2, 9, 3)
    done = in_memory(truth, renaming(1), (block,) * len(shape), 10, mode)
    assert same_partition(done.labels, truth)
    assert done.lookup.report.dropped == 0
    assert done.lookup.report.exceeding.size == 0


def test_owner_drops_what_its_block_does_not_know(in_memory: Any) -> None:
    image = np.zeros((1, 20), np.uint8)
    image[0, 7:12] = 1  # centre 9, in the first block

    calls = iter([np.zeros_like, np.copy])
    done = in_memory(image, lambda a: next(calls)(a), (1, 10), (0, 6), "owner")
    assert (done.lookup.count, done.lookup.report.dropped) == (0, 1)
    assert not done.labels.any()


def test_other_thresholds_without_segmenting_again(in_memory: Any, tmp_path: Path) -> None:
    """The right block sees its object twice as large as the left one does."""
    image = np.zeros((1, 20), np.uint8)

    def left(array: np.ndarray) -> np.ndarray:
        array[0, 12:16] = 1  # read from -4: 8 to 12 in the volume
        return array

    def right(array: np.ndarray) -> np.ndarray:
        array[0, :8] = 1  # read from 6: 6 to 14 in the volume
        return array

    calls = iter([left, right])
    done = in_memory(image, lambda a: next(calls)(a), (1, 10), (0, 4), reach=4)
    assert done.lookup.count == 2  # 4 of 8 voxels are not more than one half
    assert done.again("overlap", reach=4, threshold=0.45).lookup.count == 1
    assert done.again("overlap", reach=4, threshold=0.45, min_voxels=5).lookup.count == 2
    assert done.again("overlap", reach=1, threshold=0.9).lookup.count == 1
    assert done.again("overlap", reach=4, rule="mutual").lookup.count == 1
    assert done.lookup.report.doubtful == 1
    assert done.again("overlap", reach=4, threshold=0.4).lookup.count == 1


def test_evidence_survives_files(tmp_path: Path, in_memory: Any) -> None:
    rng = np.random.default_rng(5)
    truth, _ = components(rng.random((12, 13, 14)) < 0.3, 2)
    done = in_memory(truth, renaming(2), (5, 6, 7), 2, "owner")
    for result in done.done:
        EvidenceFolder(tmp_path).add(result.evidence, result.sums)
    assert len(list(tmp_path.iterdir())) == 1
    folder = EvidenceFolder(tmp_path)
    for mode in ("touch", "overlap", "owner", "none"):
        memory = done.again(mode)
        lookup = stitch(Stitching(mode), folder, done.grid, folder=tmp_path)
        lookup.save(tmp_path)
        stored = load_lookup(tmp_path)
        assert stored.count == memory.lookup.count
        assert stored.dtype == np.uint32
        np.testing.assert_array_equal(stored.lut, memory.lookup.lut)


def test_damaged_evidence_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="block 3.*segment the block again"):
        EvidenceFolder(tmp_path)(3)
    with pytest.raises(StorageError, match=r"block 0: .*it is not there"):
        EvidenceFolder(tmp_path).counts(4)
    with pytest.raises(StorageError, match="stitch again"):
        load_lookup(tmp_path)


def test_fib_supervoxels_are_put_together(
    shared_data: Path, in_memory: Any, same_partition: Any
) -> None:
    """A real, dense segmentation, cut into blocks whose ids say nothing."""
    tifffile = pytest.importorskip("tifffile")
    truth = tifffile.imread(shared_data / "volumes" / "fib25_250" / "overseg.tif").astype(np.int32)
    # A supervoxel in several pieces could not be joined through any overlap.
    truth = label_components(truth, 26)[0].astype(np.int32)
    done = in_memory(truth, renaming(3), (96, 96, 96), 4)
    assert same_partition(done.labels, truth)
    assert done.lookup.count == truth.max()
    assert done.lookup.report.contested.size >= 0


@pytest.mark.parametrize("mode", ["owner", "overlap"])
def test_nuclei_are_counted_right(
    mode: str, shared_data: Path, in_memory: Any, same_partition: Any
) -> None:
    tifffile = pytest.importorskip("tifffile")
    truth = tifffile.imread(shared_data / "volumes" / "stardist3d" / "mask3d.tif").astype(np.int32)
    extent = max(stop.stop - stop.start for box in ndi.find_objects(truth) if box for stop in box)
    done = in_memory(truth, renaming(4), (16, 24, 24), extent + 1, mode)
    assert done.lookup.count == len(np.unique(truth)) - 1
    assert same_partition(done.labels, truth)


def test_seam_report() -> None:
    """A U across the seam, one object cut at it, one inside."""
    image = np.zeros((9, 10), bool)
    image[0, 2:8] = image[4, 2:8] = True
    image[0:5, 7] = True
    image[7, 3:5] = True
    image[8, 0] = image[6, 9] = True
    grid = Grid(image.shape, (9, 5), (0, 0))
    done = [
        segment_block(image[:, slice(*b.write[1])], b, np.array, {}, grid, stitch="touch")
        for b in grid
    ]
    load = [d.evidence for d in done].__getitem__
    report = stitch(Stitching("touch"), load, grid).report
    assert report is not None
    assert (report.blocks, report.labels, report.objects) == (2, 6, 4)
    assert (report.at_seam, report.spanning) == (2, 1)
    assert report.contested.tolist() == [1]
    assert report.cut.tolist() == [2]
    assert (report.seam_median, report.interior_median) == (8.5, 1.0)
    plain = report.as_dict()
    assert (plain["cut"], plain["cut_ids"], plain["mode"]) == (1, [2], "touch")


GRID = Grid((4, 6), (4, 3), (0, 1))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([[1]], "a list"),
        (np.ones((4, 3), np.uint8), r"\(4, 3\) for a block of \(4, 5\)"),
        (np.full((4, 5), np.nan), "NaN"),
        (np.ones((4, 5)), "float64"),
        (np.full((4, 5), -1), "negative label"),
        (np.full((4, 5), "a"), "not labels"),
    ],
)
def test_what_is_no_labels_is_refused(returned: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        segment_block(np.zeros((4, 5)), GRID[1], lambda a: returned, {}, GRID)
    assert caught.value.block == 1


def test_errors_of_the_function_keep_their_cause() -> None:
    def fail(array: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("too few cells")

    with pytest.raises(StageError, match="block 1: .*too few cells") as caught:
        segment_block(np.zeros((4, 5)), GRID[1], fail, {}, GRID)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_wrong_questions_are_refused(in_memory: Any) -> None:
    done = in_memory(np.ones((4, 4), bool), lambda a: a, (2, 2), 0, "touch")
    with pytest.raises(OptionError, match="no way to stitch"):
        done.again("glue")
    with pytest.raises(OptionError, match="threshold"):
        done.again("overlap", threshold=1.5)
    with pytest.raises(OptionError, match="connectivity 6"):
        done.again("touch", connectivity=6)
    with pytest.raises(UsageError, match="did not keep the centres"):
        done.again("owner")
    with pytest.raises(InputError, match="not one of the 1"):
        relabel(np.array([0, 2], np.uint32), done.lookup.slice(0))
    with pytest.raises(OptionError, match="at least one voxel"):
        Grid((4, 4), (0, 2), (0, 0))
    with pytest.raises(InputError, match="reads"):
        segment_block(np.zeros((2, 2)), GRID[0], np.array, {}, GRID)


def test_empty_blocks(in_memory: Any) -> None:
    for mode in ("touch", "overlap", "owner", "none"):
        done = in_memory(np.zeros((5, 7), bool), lambda a: a, (2, 3), 1, mode)
        assert done.lookup.count == 0
        assert not done.labels.any()
