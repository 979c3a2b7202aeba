"""Features of masks, one group at a time.

cytovox measures all events of some frames at once. These functions take
masks of any origin, one image per mask or one for all, and call the same
kernels; so the numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...kernels.arrays import fitting
from ...kernels.brightness import BRIGHTNESS_NAMES, frame_median
from ...kernels.brightness import brightness_features as _brightness
from ...kernels.contour import trace
from ...kernels.event_boxes import find_events
from ...kernels.labels import process_frames
from ...kernels.measure import COLUMNS, measure_events
from ...kernels.moments import CONTOUR_NAMES
from ...kernels.texture import TEXTURE_NAMES, grey_levels, texture_features

__all__ = [
    "brightness_features",
    "brightness_names",
    "contour_single_opencv",
    "haralick_names",
    "haralick_texture_features",
    "moments_based_features",
    "vol_revolve",
    "volume_from_contours",
]

brightness_names = list(BRIGHTNESS_NAMES)
haralick_names = list(TEXTURE_NAMES)

Masks = npt.NDArray[Any]
Columns = dict[str, npt.NDArray[Any]]


def moments_based_features(
    mask: Masks, pixel_size: float, ret_contour: bool = False
) -> dict[str, Any]:
    """Return what follows from the contours of masks."""
    masks = _stack(mask)
    labels = (masks != 0).astype(np.uint16)
    events = find_events(labels, 0)
    table, valid = measure_events(
        events,
        labels,
        np.zeros(labels.shape, np.uint8),
        None,
        None,
        None,
        pixel_size=pixel_size,
        brightness=False,
        haralick=False,
        volume=False,
    )
    place = events.table[:, 0]
    found: dict[str, Any] = {}
    for name, values in zip(COLUMNS, table, strict=True):
        if name in CONTOUR_NAMES:
            found[name] = np.full(len(masks), math.nan)
            found[name][place] = values
    found["valid"] = np.zeros(len(masks), bool)
    found["valid"][place] = valid
    if ret_contour:
        found["contour"] = [
            contour_single_opencv(one) if good else None
            for one, good in zip(masks, found["valid"], strict=True)
        ]
    return found


def contour_single_opencv(mask: Masks) -> npt.NDArray[np.int32]:
    """Return the outer border of the object in a mask.

    Of several objects, the one whose first pixel is last in raster order
    counts.

    The name states the origin of the format; OpenCV is not used.
    """
    margin = np.pad(np.asarray(mask) != 0, 2)
    if not margin.any():
        raise UsageError("an empty mask has no contour")
    labels = margin.astype(np.uint16)[np.newaxis]
    # An object in a hole of another does not count, so holes are filled.
    process_frames(labels, False, True, 0)
    start = int(np.argmax(labels[0] == labels.max()))
    x, y = np.empty((2, 4 * int(np.count_nonzero(margin)) + 8), np.int32)
    n = trace(margin.astype(np.uint8).ravel(), margin.shape[1], start, -1, -1, x, y)
    return np.stack([x[:n], y[:n]], axis=1)


def volume_from_contours(
    contour: Sequence[npt.NDArray[Any] | None],
    pos_x: npt.NDArray[np.float64],
    pos_y: npt.NDArray[np.float64],
    pixel_size: float,
) -> Columns:
    """Return the volume of objects that are taken for bodies of revolution.

    The upper and the lower half of each contour are turned around the flow
    axis, and the two volumes are averaged.
    """
    volumes = np.full(np.shape(pos_x), math.nan)
    for i, points in enumerate(contour):
        if points is not None and len(points) >= 4:
            z = points[:, 0] - pos_x[i] / pixel_size
            r = points[:, 1] - pos_y[i] / pixel_size
            upper = vol_revolve(np.maximum(r, 0), z, pixel_size)
            lower = vol_revolve(np.maximum(-r, 0), z, pixel_size)
            volumes[i] = (upper - lower) / 2
    return {"volume": volumes}


def vol_revolve(r: npt.ArrayLike, z: npt.ArrayLike, point_scale: float = 1.0) -> float:
    """Return the volume that a closed polygon makes when turned around an axis."""
    r0 = np.asarray(r, float)
    dr = np.roll(r0, -1) - r0
    z0 = np.asarray(z, float)
    dz = np.roll(z0, -1) - z0
    cones = math.pi / 3 * dz * np.abs(3 * r0**2 + 3 * r0 * dr + dr**2)
    return float(np.sum(cones) * point_scale**3)


def brightness_features(
    image: npt.NDArray[np.uint8],
    mask: Masks,
    image_bg: npt.NDArray[np.uint8] | None = None,
    image_corr: npt.NDArray[np.int16] | None = None,
    bg_off: npt.ArrayLike | None = None,
) -> Columns:
    """Return the brightness of objects and of the background behind them."""
    masks = _stack(mask) != 0
    count = len(masks)
    images = _for_each(image, count)
    background = None if image_bg is None else _for_each(image_bg, count)
    corrected = _corrected(images, background, image_corr, count)
    offsets = np.zeros(count) if bg_off is None else np.broadcast_to(bg_off, (count,))
    table = np.full((len(brightness_names), count), math.nan)
    out = np.empty(len(brightness_names) - 1)
    for i, one in enumerate(masks):
        if background is not None:
            table[0, i] = frame_median(np.ascontiguousarray(background[i]).ravel()) + offsets[i]
        if one.any():
            known = corrected is not None
            # without a background these are not looked at
            values = images[i][one].astype(np.int16) if corrected is None else corrected[i][one]
            _brightness(images[i][one], values, float(offsets[i]), known, out)
            table[1:, i] = out
    return dict(zip(brightness_names, table, strict=True))


def haralick_texture_features(
    mask: Masks,
    image: npt.NDArray[np.uint8] | None = None,
    image_bg: npt.NDArray[np.uint8] | None = None,
    image_corr: npt.NDArray[np.int16] | None = None,
) -> Columns:
    """Return Haralick's texture features of objects."""
    masks = _stack(mask) != 0
    count = len(masks)
    if image_corr is None and (image is None or image_bg is None):
        raise UsageError("give either image_corr, or both image and image_bg")
    images = None if image is None else _for_each(image, count)
    background = None if image_bg is None else _for_each(image_bg, count)
    corrected = _corrected(images, background, image_corr, count)
    assert corrected is not None
    table = np.full((len(haralick_names), count), math.nan)
    counts = np.zeros(65536, np.int32)
    out = np.empty(len(haralick_names))
    for i, one in enumerate(masks):
        if one.any():
            margin = np.pad(one, 1)
            place = np.flatnonzero(margin).astype(np.int32)
            patch = np.zeros(margin.size, np.uint8)
            top = grey_levels(corrected[i][one], place, patch)
            width = margin.shape[1]
            texture_features(patch, width, place, top, counts, np.empty_like(place), out)
            table[:, i] = out
    return dict(zip(haralick_names, table, strict=True))


def _stack(mask: Masks) -> Masks:
    masks = np.asarray(mask)
    if masks.ndim != 3:
        raise UsageError(f"masks of shape {masks.shape} are not a stack", hint="give (N, H, W)")
    return masks


def _for_each(
    images: npt.ArrayLike, count: int, dtype: type[np.integer[Any]] = np.uint8
) -> npt.NDArray[Any]:
    """Return one image per mask, where there may be one for all."""
    stack = fitting(images, dtype)
    stack = stack[np.newaxis] if stack.ndim == 2 else stack
    return stack if len(stack) == count else np.broadcast_to(stack, (count, *stack.shape[1:]))


def _corrected(
    image: npt.NDArray[Any] | None,
    background: npt.NDArray[Any] | None,
    given: npt.NDArray[Any] | None,
    count: int,
) -> npt.NDArray[np.int16] | None:
    if given is not None:
        return _for_each(given, count, np.int16)
    if image is None or background is None:
        return None
    return np.asarray(image.astype(np.int16) - background, np.int16)
