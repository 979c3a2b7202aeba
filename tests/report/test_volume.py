"""Pictures and words about a segmented volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from cytovox.blockwise.volumes import segment_volume
from cytovox.errors import InputError
from cytovox.report.volume_picture import (
    colours_of,
    draw_volume,
    outlines,
    seam_sizes,
    slice_picture,
)


def test_colours_differ_and_stay() -> None:
    colours = colours_of(np.arange(1, 200))
    assert np.array_equal(colours[:5], colours_of(np.arange(1, 6)))
    steps = np.abs(np.diff(colours.astype(int), axis=0)).sum(axis=1)
    assert steps.min() > 80
    assert len(np.unique(colours, axis=0)) > 190


def test_outlines_are_in_objects_only() -> None:
    labels = np.zeros((8, 8), int)
    labels[1:5, 1:5] = 1
    labels[1:5, 5:7] = 2
    edge = outlines(labels)
    assert not edge[labels == 0].any()
    assert edge[2, 4]
    assert edge[2, 5]
    assert not edge[2, 2]
    picture = slice_picture(np.zeros((8, 8)), labels)
    assert np.array_equal(picture[2, 4], colours_of(np.array(1)))
    assert not picture[2, 2].any()


@pytest.mark.parametrize("shape", [(40, 50), (20, 30, 26)])
def test_picture_of_a_run(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    image = (rng.random(shape) < 0.2).astype(np.uint8) * 200
    np.save(tmp_path / "raw.npy", image)
    result = segment_volume(
        tmp_path / "raw.npy",
        tmp_path / "labels.zarr",
        "label",
        block=16,
        context=0,
        stitch="touch",
        workers=0,
        parameters={"threshold": 100},
    )
    voxels, at_seam = seam_sizes(result.output)
    assert voxels.size == result.objects
    assert voxels.sum() == np.count_nonzero(image)
    assert at_seam.sum() == result.report.at_seam
    pictures = [
        draw_volume(tmp_path / "raw.npy", result.output, tmp_path / f"{i}.png") for i in (0, 1)
    ]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    height, width, _ = imread(pictures[0]).shape
    assert width > height > 300


def test_labels_of_another_image(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 6), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((5, 7), np.uint8))
    with pytest.raises(InputError, match="voxels"):
        draw_volume(tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "c.png")
