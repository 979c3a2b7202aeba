"""Recordings that are drawn pixel by pixel, so that it is known what becomes of each object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from cytovox.testing import simulate_recording

__all__ = ["BACKGROUND", "Patch", "draw_recording"]

#: Grey value of what is not drawn.
BACKGROUND = 150
#: First and past-last row, first and past-last column, and by how much it is darker.
Patch = tuple[int, int, int, int, int]


def draw_recording(
    path: Path, frames: Sequence[Sequence[Patch]], *, shape: tuple[int, int] = (60, 120)
) -> Path:
    """Write a recording of flat frames with patches, of which later ones cover earlier ones.

    The background is flat where fewer than half of the frames have a patch.
    """
    simulate_recording(path, frames=len(frames), shape=shape, cells=0, save_truth=False)
    images = np.full((len(frames), *shape), BACKGROUND, np.uint8)
    for image, patches in zip(images, frames, strict=True):
        for top, bottom, left, right, darker in patches:
            image[top:bottom, left:right] = BACKGROUND - darker
    with h5py.File(path, "a") as h5:
        h5["events/image"][:] = images
        h5["events/frame"][:] = np.arange(len(frames)) + 101
    return path
