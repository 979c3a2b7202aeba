"""Shapes that kernels have to cope with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage as ndi

HEIGHT, WIDTH = 37, 53


def _random_blobs(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    masks = []
    for _ in range(count):
        smooth = ndi.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), rng.uniform(0.4, 4))
        masks.append(smooth > np.quantile(smooth, rng.uniform(0.3, 0.97)))
    return masks


def _special_shapes() -> list[np.ndarray]:
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot(yy - 17, xx - 26)
    masks = [
        radius < 12,
        (radius < 12) & (radius > 5),  # ring
        ((radius < 14) & (radius > 9)) | (radius < 4),  # disk in a ring
        np.abs(yy - xx + 8) < 1,  # thin diagonal
        (yy == 9) & (xx > 3) & (xx < 20),  # thin row
        (xx == 9) & (yy > 3) & (yy < 20),  # thin column
        ((xx == 9) & (yy > 3) & (yy < 20)) | ((yy == 19) & (xx > 8) & (xx < 30)),  # corner
        (yy == 9) & (xx == 9),  # one pixel
        (yy > 20),  # full-width bar at the border
        (yy > 20) & (yy < 25),  # full-width bar
        (yy < 3) | (xx < 2),  # row 0 and column 0
        (yy + xx) % 2 == 0,  # chess board
        np.ones((HEIGHT, WIDTH), bool),
        np.zeros((HEIGHT, WIDTH), bool),
        (np.abs(yy - 15) < 4) & (np.abs(xx - 15) < 9) | (yy == 15) & (xx < 45) & (xx > 4),  # spur
    ]
    return [np.array(mask, bool) for mask in masks]


@pytest.fixture(scope="session")
def masks() -> np.ndarray:
    """Random and special shapes, bool of shape (n, H, W)."""
    rng = np.random.default_rng(42)
    return np.array(_special_shapes() + _random_blobs(rng, 150))


@pytest.fixture(scope="session")
def blobs(masks: np.ndarray) -> np.ndarray:
    """Each single connected object of `masks`, bool of shape (n, H, W)."""
    found = []
    for mask in masks:
        labels, count = ndi.label(mask, np.ones((3, 3)))
        found.extend(labels == k for k in range(1, min(count, 6) + 1))
    return np.array(found)


@pytest.fixture(scope="session")
def images(blobs: np.ndarray) -> SimpleNamespace:
    """Grey images with background, as many as `blobs`."""
    rng = np.random.default_rng(7)
    spread = rng.choice([3, 20, 127], size=(len(blobs), 1, 1))
    image = np.clip(128 + rng.normal(size=blobs.shape) * spread, 0, 255).astype(np.uint8)
    image[::9] = 77  # uniform
    background = rng.integers(100, 140, size=blobs.shape).astype(np.uint8)
    background[::9] = 80
    background[1::2] = background[::2][: len(background[1::2])]  # shared by two frames
    return SimpleNamespace(
        image=image,
        image_bg=background,
        image_corr=image.astype(np.int16) - background,
        bg_off=rng.normal(size=len(blobs)),
    )
