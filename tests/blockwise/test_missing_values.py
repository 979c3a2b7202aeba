"""NaN and infinity in a volume cost nothing but the voxels where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cytovox.blockwise.argmax_worker import ArgmaxWork
from cytovox.blockwise.blobs_function import blobs
from cytovox.blockwise.label_function import label
from cytovox.blockwise.mutex_watershed_function import mutex_watershed
from cytovox.blockwise.object_table import read_objects
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.blockwise.volumes import segment_volume
from cytovox.blockwise.watershed_function import watershed

CENTRES = [(15, 15), (15, 45), (45, 15), (45, 60)]
FUNCTIONS = [
    (label, {"threshold": 100}),
    (watershed, {"threshold": 100}),
    (watershed, {"threshold": 100, "seeds": "intensity", "relief": "intensity"}),
    (watershed, {"threshold": 100, "sigma": 0}),
    (blobs, {"sigma": 4, "threshold": 5}),
]


def spots(dtype: str = "f4") -> np.ndarray:
    y, x = np.mgrid[:60, :80]
    squares = [(y - a) ** 2 + (x - b) ** 2 for a, b in CENTRES]
    return sum(200 * np.exp(-square / 30) for square in squares).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize(("function", "options"), FUNCTIONS)
def test_nan_near_objects_loses_none(function, options, dtype):
    image = spots(dtype)
    expected = function(image, **options)
    # One voxel at the side of an object, and the end of the field of view.
    image[19, 19] = image[:, 68:] = np.nan
    found = function(image, **options)
    assert found.max() == 4
    assert len({found[centre] for centre in CENTRES} - {0}) == 4
    assert not found[np.isnan(image)].any()
    far = np.s_[:30, 30:58]  # no filter reaches from there to a NaN
    np.testing.assert_array_equal(found[far] > 0, expected[far] > 0)


@pytest.mark.parametrize(("function", "options"), FUNCTIONS)
def test_a_saturated_centre_is_part_of_its_object(function, options):
    image = spots()
    image[14:17, 14:17] = np.inf
    found = function(image, **options)
    assert found.max() == 4
    assert (found[14:17, 14:17] == found[12, 15]).all()
    assert found[12, 15] > 0


@pytest.mark.parametrize(("function", "options"), FUNCTIONS)
def test_minus_infinity_makes_no_object(function, options):
    image = spots()
    image[30, 30] = -np.inf
    assert function(image, **options).max() == 4


def test_dark_objects_beside_nan():
    image = -spots()
    image[19, 19] = np.nan
    image[14:17, 14:17] = -np.inf
    how = {"threshold": -100, "bright_inside": False}
    found = watershed(image, **how)
    assert found.max() == 4
    assert found[15, 15] > 0
    assert found[19, 19] == 0
    found = blobs(image, sigma=4, threshold=5, bright=False)
    assert found.max() == 4
    assert found[19, 19] == 0


@pytest.mark.parametrize(("function", "options"), FUNCTIONS)
def test_an_image_of_nan_has_no_object(function, options):
    assert function(np.full((9, 9), np.nan), **options).max() == 0


def test_nan_affinities_say_nothing():
    pytest.importorskip("mwatershed")
    affinities = np.full((3, 4, 6, 6), 0.9, np.float32)
    affinities[:, :, :, 2] = 0.1  # a border
    affinities[0, 1, 1, 1] = np.nan
    affinities[:, 3, 3, 4] = np.nan
    found = mutex_watershed(
        affinities, offsets=[[1, 0, 0], [0, 1, 0], [0, 0, 1]], min_affinity=0.5
    )
    assert found[3, 3, 4] == 0
    assert found[1, 1, 1] == found[0, 0, 0] > 0
    assert found[0, 0, 5] not in (0, found[0, 0, 0])


def test_threshold_and_argmax_take_nan_for_nothing():
    image = np.array([[np.nan, 1.0, 5.0], [2.0, np.nan, np.nan]])
    above = ThresholdWork(input="a", output="b", threshold=2)
    below = ThresholdWork(input="a", output="b", threshold=2, below=True)
    assert above.compute(image).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert below.compute(image).tolist() == [[0, 1, 0], [0, 0, 0]]
    assert ArgmaxWork(input="a", output="b").compute(image).tolist() == [1, 0, 0]


def two_squares(array: np.ndarray) -> np.ndarray:
    labels = np.zeros(array.shape, np.uint32)
    labels[:, :2], labels[:, 3:] = 1, 2
    return labels


def test_the_table_says_which_intensities_are_not_known(tmp_path: Path):
    image = np.arange(12, dtype=np.float32).reshape(2, 6)
    image[0, 1] = np.nan
    np.save(tmp_path / "image.npy", image)
    assert segment_volume(
        tmp_path / "image.npy", tmp_path / "labels.zarr", two_squares,
        block=(2, 6), context=0, stitch="touch", workers=0,
    )  # fmt: skip
    table, _ = read_objects(tmp_path / "labels.objects.parquet")
    columns = table.columns
    for name in ("mean", "sd", "min", "max", "p50"):
        assert np.isnan(columns[f"{name}_intensity"]).tolist() == [True, False]
    assert columns["mean_intensity"][1] == image[:, 3:].mean()
    assert columns["voxels"].tolist() == [4, 6]
