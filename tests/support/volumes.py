"""Volumes as arrays, and what they are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from cytovox.read.open_volume import open_volume

__all__ = ["components", "labels_of", "smooth_noise"]


def labels_of(place: str | Path) -> np.ndarray:
    """Return all voxels of a volume."""
    with open_volume(place) as volume:
        return volume[...]


def components(mask: np.ndarray, rank: int) -> tuple[np.ndarray, int]:
    """Label a whole mask; neighbours differ in at most ``rank`` coordinates."""
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, rank))


def smooth_noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return a grey image with spots of some voxels."""
    rng = np.random.default_rng(seed)
    return (ndimage.gaussian_filter(rng.random(shape), 1.2) * 1000).astype(np.uint16)
