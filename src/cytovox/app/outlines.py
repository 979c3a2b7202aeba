"""Outlines of objects, as they are measured: polygons through the centres of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..kernels.contour import trace
from ..logic.fates import Analysis

__all__ = ["outline"]


def outline(analysis: Analysis, index: int) -> list[int]:
    """Return the corners of the outline of an object: x, y, x, y, ... in pixels of its frame."""
    found = analysis.objects
    row, label = int(found.frame[index]), int(found.label[index])
    top, bottom, left, right = found.box[index].tolist()
    # What nothing is left of is shown as it was segmented.
    labels = analysis.labels if label else analysis.raw_labels
    inside = labels[row, top:bottom, left:right] == (label or found.raw_label[index])
    patch = np.pad(inside, 1).astype(np.uint8)
    pixels = np.flatnonzero(patch)
    if not len(pixels):
        return []
    x, y = np.empty((2, 4 * len(pixels)), np.int32)
    number = trace(patch.reshape(-1), patch.shape[1], int(pixels[0]), left, top, x, y)
    return _corners(x[:number], y[:number])


def _corners(x: npt.NDArray[np.int32], y: npt.NDArray[np.int32]) -> list[int]:
    """Leave out points between others on a straight line."""
    points = np.stack([x, y], axis=1)
    steps = np.diff(points, axis=0, append=points[:1])
    turns = (steps != np.roll(steps, 1, axis=0)).any(axis=1)
    corners: list[int] = (points[turns] if turns.any() else points[:1]).reshape(-1).tolist()
    return corners
