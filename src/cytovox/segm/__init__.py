"""Segmenters: from image to mask."""

from ..errors import SegmenterNotApplicableError
from .registry import get_available_segmenters, get_segmenter, get_segmenters
from .segmenter import Segmenter
from .segmenter_uni import UNISegmenter

__all__ = [
    "Segmenter",
    "SegmenterNotApplicableError",
    "UNISegmenter",
    "get_available_segmenters",
    "get_segmenter",
    "get_segmenters",
]
