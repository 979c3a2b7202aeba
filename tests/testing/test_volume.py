"""Simulated volumes are what their truth says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cytovox.errors import InputError, InputNotFoundError, OptionError, OutputExistsError
from cytovox.read.open_volume import open_volume
from cytovox.testing.volume_simulator import BLOB_THRESHOLD, simulate_volume
from cytovox.testing.volume_truth import VolumeTruth


@pytest.mark.parametrize("kind", ["blobs", "cells"])
@pytest.mark.parametrize(
    ("shape", "voxel_size"),
    [((40, 90, 110), None), ((20, 100, 90), (40, 10, 10)), ((150, 130), None), ((9, 9, 9), None)],
)
def test_truth_is_true(
    tmp_path: Path, kind: Any, shape: tuple[int, ...], voxel_size: tuple[float, ...] | None
) -> None:
    truth = simulate_volume(
        tmp_path / "a.zarr", shape=shape, seed=2, kind=kind, voxel_size=voxel_size, noise=24
    )
    with truth.open_image() as image, truth.open_labels() as labels:
        assert image.shape == labels.shape == truth.shape == shape
        assert image.voxel_size == tuple(voxel_size or [1] * len(shape))
        true, drawn = labels[:], image[:]
    ids = np.arange(1, len(truth) + 1)
    np.testing.assert_array_equal(np.unique(true[true > 0]), ids)
    np.testing.assert_array_equal(truth["voxels"], ndimage.sum_labels(true > 0, true, ids))
    centres = np.array(ndimage.center_of_mass(true > 0, true, ids)).reshape(len(ids), len(shape))
    found = ndimage.find_objects(true)
    for axis, name in enumerate("zyx"[-len(shape) :]):
        np.testing.assert_allclose(truth[name], centres[:, axis])
        np.testing.assert_array_equal(truth[f"{name}_start"], [f[axis].start for f in found])
        np.testing.assert_array_equal(truth[f"{name}_stop"], [f[axis].stop for f in found])
    touches = [
        any(s.start == 0 or s.stop == n for s, n in zip(f, shape, strict=True)) for f in found
    ]
    np.testing.assert_array_equal(truth["touches_border"], touches)
    if kind == "blobs":
        np.testing.assert_array_equal(drawn > BLOB_THRESHOLD, true > 0)
        for connectivity in (1, len(shape)):
            neighbours = ndimage.generate_binary_structure(len(shape), connectivity)
            assert ndimage.label(true, neighbours)[1] == len(truth)
    elif len(truth) > 5:
        assert (true > 0).mean() > 0.6


@pytest.mark.parametrize("kind", ["blobs", "cells"])
def test_same_whatever_the_block(tmp_path: Path, kind: Any) -> None:
    options: dict[str, Any] = {"shape": (40, 60, 70), "seed": 7, "kind": kind}
    first = simulate_volume(tmp_path / "a.zarr", **options)
    second = simulate_volume(tmp_path / "b.zarr", block=(17, 23, 31), **options)
    third = simulate_volume(tmp_path / "c.tif", **options)
    for other in (second, third):
        np.testing.assert_array_equal(other.table, first.table)
        for opened in ("open_image", "open_labels"):
            with getattr(first, opened)() as a, getattr(other, opened)() as b:
                np.testing.assert_array_equal(a[:], b[:])
    other = simulate_volume(tmp_path / "d.zarr", **{**options, "seed": 8})
    assert not np.array_equal(other.table, first.table)


def test_table_is_kept(tmp_path: Path) -> None:
    truth = simulate_volume(tmp_path / "a.zarr", shape=(30, 40, 50), seed=1, units="micrometer")
    again = VolumeTruth.load(tmp_path / "a.truth.csv")
    np.testing.assert_array_equal(again.table, truth.table)
    assert again.labels_path == truth.labels_path
    assert again.shape == (30, 40, 50)
    with open_volume(tmp_path / "a.zarr") as volume:
        assert volume.units == "micrometer"
    with pytest.raises(InputNotFoundError):
        VolumeTruth.load(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text("x\n")
    with pytest.raises(InputError, match="not a table"):
        VolumeTruth.load(tmp_path / "b.csv")


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    simulate_volume(tmp_path / "a.zarr", shape=(9, 9), seed=1)
    with pytest.raises(OutputExistsError):
        simulate_volume(tmp_path / "a.zarr", shape=(9, 9), seed=1)
    simulate_volume(tmp_path / "a.zarr", shape=(9, 9), seed=1, overwrite=True)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (9,)},
        {"shape": (9, 0)},
        {"kind": "cubes"},
        {"diameter": 3},
        {"filled": 2},
        {"seed": -1},
        {"voxel_size": (1, 1, 1)},
        {"shape": (2**20, 2**20, 2**20), "voxel_size": None},
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        simulate_volume(tmp_path / "a.zarr", **{"shape": (9, 9), **options})
