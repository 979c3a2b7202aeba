"""Frames as PNG, for the page."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..logic.fates import Analysis
from ..logic.frame_source import Frames

__all__ = ["LAYERS", "layers", "png", "sheet"]

#: What is shown of a frame, from top to bottom in one picture.
LAYERS = ("image", "background", "difference", "mask")
#: Grey value that stands for no difference, and steps of grey for each of difference.
_MIDDLE, _STEEP = 128, 2


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a grey or coloured image as PNG, made fast rather than small."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def layers(analysis: Analysis, row: int) -> npt.NDArray[np.uint8]:
    """Return what is shown of a frame, one below the other; black where there is none."""
    frames = analysis.frames
    image = frames.image[row]
    background: Any = np.zeros_like(image)
    difference: Any = np.zeros_like(image)
    if frames.image_bg is not None and frames.image_corr is not None:
        background = frames.image_bg[row]
        offset = 0 if frames.bg_off is None else frames.bg_off[row]
        scaled = _MIDDLE + _STEEP * (frames.image_corr[row] - offset)
        difference = np.clip(scaled, 0, 255).astype(np.uint8)
    mask = analysis.mask[row].astype(np.uint8) * 255
    return np.concatenate([image, background, difference, mask])


def sheet(frames: Frames, columns: int) -> npt.NDArray[np.uint8]:
    """Return all frames as one image, row by row, with so many side by side."""
    number, height, width = frames.image.shape
    rows = -(-number // columns)
    padded = np.zeros((rows * columns, height, width), np.uint8)
    padded[:number] = frames.image
    tiled = padded.reshape(rows, columns, height, width).swapaxes(1, 2)
    return tiled.reshape(rows * height, columns * width)
