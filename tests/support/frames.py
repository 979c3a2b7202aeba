"""Frames of Zstandard, read by the library that HDF5's plugins use too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

__all__ = ["length_of_frame"]


def length_of_frame(packed: bytes | npt.NDArray[np.uint8], images: npt.NDArray[np.uint8]) -> int:
    """Check that a frame holds these images, and return its length."""
    assert zstandard.get_frame_parameters(packed).content_size == images.nbytes
    unpacked: Any = zstandard.decompress(packed, max_output_size=max(1, images.nbytes))
    assert unpacked == images.tobytes()
    return len(packed)
