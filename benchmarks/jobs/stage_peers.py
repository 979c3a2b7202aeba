"""The same stages by what dcnum is made of: its functions, called as it calls them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

warnings.simplefilter("ignore")

from dcnum.feat import feat_brightness, feat_contour, feat_texture  # noqa: E402
from dcnum.segm.segm_thresh import SegmentThresh  # noqa: E402
from dcnum.write import HDF5Writer  # noqa: E402
from scipy import ndimage  # noqa: E402

_EIGHT = np.ones((3, 3))
_PIXEL = 0.2645


def warm_up() -> None:
    """Let everything compile that does."""
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 10:25, 10:25] = True
    image = np.arange(1600, dtype=np.uint8).reshape(40, 40)
    found = feat_contour.moments_based_features(mask, pixel_size=_PIXEL, ret_contour=True)
    contours = found.pop("contour")
    feat_contour.volume_from_contours(contours, found["pos_x"], found["pos_y"], _PIXEL)
    images = image[np.newaxis]
    feat_brightness.brightness_features(images, mask, images, images.astype(np.int16), 0.0)
    feat_texture.haralick_texture_features(mask, images, images, images.astype(np.int16))


def time_batch(batch: Any, times: Any) -> None:
    """Time all stages on a batch; labels are ours, which are the same."""
    with times.of("segment", whose="peers"):
        SegmentThresh.segment_algorithm(batch.corr - batch.offset[:, None, None], thresh=-6)
    options = {"clear_border": True, "fill_holes": True, "closing_disk": 5}
    for i, mask in enumerate(batch.mask):
        with times.of("label", whose="peers"):
            ndimage.label(mask, structure=_EIGHT)
        with times.of("clean", whose="peers"):
            SegmentThresh.process_labels(batch.raw_labels[i].copy(), **options)
        _time_frame(batch, i, times)


def _time_frame(batch: Any, i: int, times: Any) -> None:
    numbers = batch.events.table[batch.events.frame == i, 2]
    if not len(numbers):
        return
    masks = batch.labels[i] == numbers[:, None, None]
    one = np.full(len(masks), i)  # these functions want an image for each mask
    image, background, corr = batch.image[one], batch.background[one], batch.corr[one]
    with times.of("contour", whose="peers"):
        found = feat_contour.moments_based_features(masks, pixel_size=_PIXEL, ret_contour=True)
    contours = found.pop("contour")
    with times.of("brightness", whose="peers"):
        feat_brightness.brightness_features(image, masks, background, corr, batch.offset[i])
    with times.of("texture", whose="peers"):
        feat_texture.haralick_texture_features(masks, image, background, corr)
    with times.of("volume", whose="peers"):
        feat_contour.volume_from_contours(contours, found["pos_x"], found["pos_y"], _PIXEL)


def write(path: Path, written: list[dict[str, Any]]) -> None:
    """Write events with the default filters."""
    with HDF5Writer(path, mode="w") as writer:
        for rows in written:
            for name, values in rows.items():
                writer.store_feature_chunk(name, values)
    path.unlink()
