"""Real volumes read as the libraries of their formats read them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from cytovox.errors import InputError
from cytovox.read.open_volume import open_volume


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fib25_250/raw.tif", (250, 250, 250)),
        ("fib25_250/gt.tif", (250, 250, 250)),
        ("stardist3d/img3d.tif", (31, 61, 57)),
        ("stardist3d/mask3d.tif", (31, 61, 57)),
    ],
)
def test_tiff(shared_data: Path, name: str, shape: tuple[int, ...]) -> None:
    path = shared_data / "volumes" / name
    truth = tifffile.imread(path)
    with open_volume(path, fill_value=1) as volume:
        assert volume.shape == shape
        assert volume.axes == ("z", "y", "x")
        assert volume.dtype == truth.dtype
        np.testing.assert_array_equal(volume[10:20, 5:30, 7:40], truth[10:20, 5:30, 7:40])
        around = volume.read([(shape[0] - 3, shape[0] + 2), (-2, 10), (0, 10)])
        np.testing.assert_array_equal(around[:3, 2:], truth[-3:, :10, :10])
        assert (around[3:] == 1).all()
        assert (around[:, :2] == 1).all()


def test_hdf5(shared_data: Path) -> None:
    path = shared_data / "volumes" / "ovule" / "sample_ovule.h5"
    with h5py.File(path) as file:
        raw, label = file["raw"][:], file["label"][:]
    with open_volume(f"{path}:/raw") as volume:
        assert volume.voxel_size == pytest.approx((0.235, 0.15, 0.15))
        assert volume.units == "micrometer"
        assert volume.roi_voxel_size == (235, 150, 150)
        np.testing.assert_array_equal(volume[:], raw)
    with open_volume(f"{path}:label") as volume:
        np.testing.assert_array_equal(volume[5:9, 60:70, :], label[5:9, 60:70])
    with pytest.raises(InputError, match="/label"):
        open_volume(path)
