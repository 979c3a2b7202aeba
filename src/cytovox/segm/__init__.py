"""Segmenters: from image to mask."""

from ..errors import SegmenterNotApplicableError
from .find_segmenters import (
    get_available_segmenters,
    get_segmenter,
    get_segmenters,
    load_segmenter_file,
)
from .segmenter import Segmenter
from .segmenter_manager_thread import SegmenterManagerThread
from .segmenter_mpo import MPOSegmenter
from .segmenter_stacks import STOSegmenter, UNISegmenter

__all__ = [
    "MPOSegmenter",
    "STOSegmenter",
    "Segmenter",
    "SegmenterManagerThread",
    "SegmenterNotApplicableError",
    "UNISegmenter",
    "get_available_segmenters",
    "get_segmenter",
    "get_segmenters",
    "load_segmenter_file",
]
