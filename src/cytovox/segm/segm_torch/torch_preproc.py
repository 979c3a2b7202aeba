"""From recorded images to what a model wants: shape and grey values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError

__all__ = ["fit_shape", "preprocess_images", "split_evenly"]


def split_evenly(size: int, target: int) -> tuple[int, int]:
    """Return how many pixels to change before and after, to get from one size to another."""
    difference = abs(size - target)
    return difference // 2, difference - difference // 2


def fit_shape(images: npt.NDArray[Any], image_shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Crop or pad a stack, each axis on its own, evenly on both sides."""
    if images.shape[1:] == tuple(image_shape):
        return images
    fitted = np.empty((len(images), *image_shape), dtype=images.dtype)
    if len(images) and any(n < t for n, t in zip(images.shape[1:], image_shape, strict=True)):
        medians = np.median(images.reshape(len(images), -1), axis=1)
        fitted[:] = medians.astype(images.dtype)[:, np.newaxis, np.newaxis]
    taken, put = zip(
        *(_overlap(n, t) for n, t in zip(images.shape[1:], image_shape, strict=True)), strict=True
    )
    fitted[:, put[0], put[1]] = images[:, taken[0], taken[1]]
    return fitted


def preprocess_images(
    images: npt.NDArray[Any],
    norm_mean: float | None,
    norm_std: float | None,
    image_shape: tuple[int, int] | None = None,
) -> npt.NDArray[np.float32]:
    """Make of images what a model of format 1 takes."""
    images = np.asarray(images)
    if images.ndim == 2:
        images = images[np.newaxis]
    if images.ndim != 3:
        raise UsageError(f"a stack of images has three axes, this has {images.ndim}")
    values = images.astype(np.float32)
    if image_shape is not None:
        height, width = image_shape
        values = fit_shape(values, (height, width))
    if norm_mean is not None and norm_std is not None:
        values = (values / np.float32(255) - np.float32(norm_mean)) / np.float32(norm_std)
    return np.ascontiguousarray(values[:, np.newaxis])


def _overlap(size: int, target: int) -> tuple[slice, slice]:
    """Return where to take pixels from and where to put them, along one axis."""
    before, _ = split_evenly(size, target)
    whole, part = slice(0, min(size, target)), slice(before, before + min(size, target))
    return (part, whole) if size > target else (whole, part)
