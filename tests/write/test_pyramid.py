"""Coarser scales hold labels that were there, in the right place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytovox.errors import OptionError, UsageError
from cytovox.kernels.downsample import downsample_mean, downsample_mode
from cytovox.read.open_volume import open_volume
from cytovox.write.pyramid import write_pyramid
from cytovox.write.volume_creation import create_labels, create_volume


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.uint32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.integers(0, 3)
    ),
    st.data(),
)
def test_mode(labels: np.ndarray, data: Any) -> None:
    factors = [data.draw(st.integers(1, 3)) for _ in labels.shape]
    made = downsample_mode(labels, factors)
    padded = np.pad(
        labels, [(0, -n % f) for n, f in zip(labels.shape, factors, strict=True)], mode="edge"
    )
    for at in np.ndindex(made.shape):
        window = padded[tuple(slice(i * f, i * f + f) for i, f in zip(at, factors, strict=True))]
        values, first, counts = np.unique(window, return_index=True, return_counts=True)
        best = counts == counts.max()
        assert made[at] == values[best][np.argmin(first[best])]


def test_mean_is_rounded() -> None:
    made = downsample_mean(np.array([[1, 2, 250], [2, 2, 253]], np.uint8), (2, 2))
    np.testing.assert_array_equal(made, [[2, 252]])
    assert made.dtype == np.uint8


@pytest.mark.parametrize("form", ["ome-zarr-0.5", "ome-zarr-0.4", "precomputed"])
def test_scales(tmp_path: Path, form: str) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (20, 130, 150), dtype=np.uint32)
    url = tmp_path / "a"
    with create_labels(
        url, shape=labels.shape, voxel_size=(40, 10, 10), units="nm", format=form, block=(64,) * 3
    ) as volume:
        volume.write([(0, 20), (0, 128), (0, 150)], labels[:, :128])
        volume.write([(0, 20), (128, 130), (0, 150)], labels[:, 128:])
    # z waits until y and x are as coarse
    shapes = [(20, 130, 150), (20, 65, 75), (20, 33, 38)]
    assert write_pyramid(url) == shapes
    assert write_pyramid(url, levels=4) == [*shapes, (10, 17, 19)]
    expected = labels
    for level, factors in enumerate([(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2)]):
        expected = downsample_mode(expected, factors)
        with open_volume(url, scale=level) as volume:
            np.testing.assert_array_equal(volume[:], expected)
            assert volume.voxel_size == (80 if level == 3 else 40, 10 * 2**level, 10 * 2**level)
            if form != "precomputed":
                # OME-Zarr says where the middle of the first voxel is
                shift = (2**level - 1) * 5
                assert volume.offset == (20 if level == 3 else 0, shift, shift)
    if form != "precomputed":
        assert zarr.open_array(url / "2", mode="r").shape == (20, 33, 38)
    # fewer scales than before leave nothing behind
    assert len(write_pyramid(url, levels=2, method="nearest")) == 2
    with pytest.raises(OptionError):
        open_volume(url, scale=2)


def test_as_many_scales_as_the_image(tmp_path: Path) -> None:
    image = tmp_path / "image.zarr"
    create_volume(image, shape=(130, 130, 130), dtype="u1").close()
    assert len(write_pyramid(image, levels=4, method="mean")) == 4
    create_labels(image / "labels" / "cells", shape=(130, 130, 130)).close()
    assert len(write_pyramid(image / "labels" / "cells")) == 4
    group: Any = zarr.open_group(image / "labels" / "cells", mode="r").attrs["ome"]
    assert "image-label" in group
    assert group["multiscales"][0]["type"] == "mode"


def test_channels_are_kept(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (2, 6, 70, 70), dtype=np.uint8)
    with create_volume(tmp_path / "a.zarr", shape=voxels.shape, dtype="u1") as volume:
        volume.write([(0, n) for n in voxels.shape], voxels)
    assert write_pyramid(tmp_path / "a.zarr", method="mean") == [(6, 70, 70), (3, 35, 35)]
    with open_volume(tmp_path / "a.zarr", scale=1) as volume:
        np.testing.assert_array_equal(volume[:], downsample_mean(voxels, (1, 2, 2, 2)))


def test_what_cannot_be(tmp_path: Path) -> None:
    create_labels(tmp_path / "a", shape=(8, 8, 8), format="zarr2").close()
    with pytest.raises(OptionError, match="no scales"):
        write_pyramid(tmp_path / "a")
    with pytest.raises(OptionError, match="median"):
        write_pyramid(tmp_path / "a", method="median")
    create_labels(
        tmp_path / "b", shape=(80, 80, 80), format="precomputed", offset=(1, 0, 0)
    ).close()
    with pytest.raises(UsageError, match="levels=1"):
        write_pyramid(tmp_path / "b", levels=2)
    assert write_pyramid(tmp_path / "b") == [(80, 80, 80)]
