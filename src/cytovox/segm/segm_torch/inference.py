"""Running a loaded model on images, the same way whatever surrounds them.

The numbers that a model computes may depend in their last bits on how many
images it gets at once. So that a mask depends on its image alone, and not on
how a recording is cut, the number is always the same: one on the CPU (where
more are no faster), the number that the model was made for, or a fixed one on
CUDA, with empty images as fillers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import StageError, UsageError
from ...kernels.labels import label_frames, process_frames
from ..segmenter import Images, Masks
from .torch_model import get_torch, one_thread

__all__ = [
    "CUDA_BATCH",
    "fit_shape",
    "masks_of_format_1",
    "masks_of_format_2",
    "postprocess_masks",
    "preprocess_images",
]

#: Images that CUDA gets at once.
CUDA_BATCH = 64
#: A pixel is foreground from this probability on.
THRESHOLD = 0.5

Model = Callable[[Any], Any]


def masks_of_format_1(model: Model, meta: dict[str, Any], images: Images) -> Masks:
    """Return the masks of a model of format 1."""
    pre = meta["preprocessing"]
    shape = _shape(pre["image_shape"])
    size = CUDA_BATCH if str(meta["device"]).startswith("cuda") else 1
    masks = np.empty((len(images), *shape), dtype=bool)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        ready = preprocess_images(batch, pre["norm_mean"], pre["norm_std"], shape)
        found = _run(model, meta, ready, size)
        masks[start : start + len(batch)] = found.reshape(len(batch), *shape) >= THRESHOLD
    return _back(masks, images)


def masks_of_format_2(model: Model, meta: dict[str, Any], images: Images) -> Masks:
    """Return the masks of a model of format 2, which brings its own normalisation.

    Parameters and the result are those of `masks_of_format_1`. Images of
    another shape than the model's are cropped and padded like for format 1,
    with the median cut to a whole grey value.
    """
    if images.dtype != np.uint8:
        raise UsageError(
            f"the model takes raw images of type uint8, not {images.dtype}",
            path=meta["path"],
        )
    shape = _shape(meta["image_shape"])
    fixed = CUDA_BATCH if str(meta["device"]).startswith("cuda") else 1
    size = int(meta.get("batch_size") or 0) or fixed
    masks = np.empty((len(images), *shape), dtype=bool)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        found = _run(model, meta, fit_shape(batch, shape), size)
        masks[start : start + len(batch)] = found.reshape(len(batch), *shape) != 0
    return _back(masks, images)


def _run(
    model: Model, meta: dict[str, Any], inputs: npt.NDArray[Any], size: int
) -> npt.NDArray[Any]:
    """Return what a model makes of a batch, which is filled up to its size."""
    torch = get_torch()
    count = len(inputs)
    if count < size:
        filler = np.zeros((size - count, *inputs.shape[1:]), dtype=inputs.dtype)
        inputs = np.concatenate([inputs, filler])
    on_cpu = str(meta["device"]) == "cpu"
    try:
        with torch.inference_mode(), one_thread(torch) if on_cpu else contextlib.nullcontext():
            # Slices of a shared slot may be read-only, which torch does not take.
            tensor = torch.from_numpy(np.require(inputs, requirements=["C", "W"])).to(
                meta["device"]
            )
            out = model(tensor)
            out = (out[0] if isinstance(out, tuple | list) else out).cpu().numpy()
    except (RuntimeError, AssertionError, TypeError) as err:
        raise StageError(
            "segment", f"the model did not take the images: {err}", path=meta["path"]
        ) from err
    if len(out) != size or out.size != size * inputs.shape[-1] * inputs.shape[-2]:
        raise StageError(
            "segment",
            f"the model returned the shape {out.shape} for images of {inputs.shape}",
            path=meta["path"],
        )
    return np.asarray(out[:count])


def _back(masks: Masks, images: Images) -> Masks:
    if masks.shape == images.shape:
        return masks
    return np.not_equal(postprocess_masks(masks, _shape(images.shape[1:])), 0)


def _shape(sides: Any) -> tuple[int, int]:
    height, width = sides
    return int(height), int(width)


def fit_shape(images: Images, image_shape: tuple[int, int]) -> npt.NDArray[Any]:
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
    images: Images,
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
    """Return where to take pixels from and where to put them, along one axis.

    What is cropped or padded is split evenly, the odd pixel behind. So from the
    target back to the size, it is the same pixels the other way round.
    """
    shared = min(size, target)
    before = abs(size - target) // 2
    whole, part = slice(0, shared), slice(before, before + shared)
    return (part, whole) if size > target else (whole, part)


def postprocess_masks(
    masks: npt.NDArray[Any], original_image_shape: tuple[int, int]
) -> npt.NDArray[np.uint16]:
    """Undo the cropping and padding that `preprocess_images` did."""
    masks = np.asarray(masks)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3:
        raise UsageError(f"masks have the shape (N, h, w), not {masks.shape}")
    labels = np.empty(masks.shape, dtype=np.uint16)
    label_frames(masks if masks.dtype == np.bool_ else masks != 0, labels)
    (h, w), (height, width) = masks.shape[1:], original_image_shape
    if (h, w) == (height, width):
        return labels
    if h < height or w < width:
        process_frames(labels, True, False, 0)
    out = np.zeros((len(labels), height, width), dtype=np.uint16)
    rows, cols = _overlap(h, height), _overlap(w, width)
    out[:, rows[1], cols[1]] = labels[:, rows[0], cols[0]]
    return out
